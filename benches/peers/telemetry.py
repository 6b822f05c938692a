#!/usr/bin/env python3
"""What telling costs: CPU per request of Transom with more and more of metrics, access log and traces.

    benches/peers/telemetry.py [--rounds 60] [--seconds 0.2] [--cases get,list] [--instructions] [--save]

One process for each level on the same core, each level all of the one before it and more; rounds go from
level to level in turn, and a ratio is that of two levels in one round, so a machine that slows down slows
both. CPU is that of all threads of the process (the log's and the exporter's too), in nanoseconds of the
scheduler's. The access log goes to a pipe that is read, metrics are scraped every second, spans go to a
collector that takes them. `--instructions` counts those of the program under callgrind beside it, which
are the same whatever else the machine does, and how many are spent in the telemetry's own lines.
"""

import argparse
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

from callgrind import costs
from cases import CASES
from peers import BACKEND, ENVIRONMENT, HERE, PLAIN, PROFILE, ROOT, WORK, certificate, set_up, transom, unused, wait_for
from run import Field, load, machine

ADMIN = "admin: { address: \"127.0.0.1:@ADMIN@\" }\n"
LOG = "log: { access: { format: json, output: stdout } }\n"
TRACE = f"trace: {{ endpoint: \"http://127.0.0.1:{PLAIN}\", protocol: http/protobuf, sample: @SHARE@ }}\n"
# A level is the one before it and more. Counting itself can't be turned off.
LEVELS = {
    "off": "",
    "metrics scraped": ADMIN,
    "and a JSON access log": ADMIN + LOG,
    "and 1 % of traces": ADMIN + LOG + TRACE.replace("@SHARE@", "0.01"),
    "and all traces": ADMIN + LOG + TRACE.replace("@SHARE@", "1"),
}
DEFAULT_CASES = ("get", "post", "list", "get-h2", "plain")
FIRST_PORT, ADMIN_PORT = 19701, 50
COUNTED = 2000  # requests under callgrind


def levels():
    """Those that this program can do."""
    config = WORK / "telemetry-try.yaml"
    known = {}
    for number, (name, more) in enumerate(LEVELS.items()):
        write(config, FIRST_PORT + number, more)
        tried = subprocess.run([transom(), "check", "-c", config], capture_output=True, text=True)
        if "unknown key" in tried.stdout:
            print(f"left out, this program doesn't know it: {name}")
            continue
        if tried.returncode:
            sys.exit(tried.stdout + tried.stderr)
        known[name] = (FIRST_PORT + number, more)
    return known


def write(config, port, more):
    values = {"PORT": port, "TLS_PORT": port + 200, "BACKEND": BACKEND, "PLAIN": PLAIN, "PROTOS": WORK / "shop",
              "SERVICES": '"shop.v1.Shop"', "WORK": WORK, "WORKERS": 1, "ADMIN": port + ADMIN_PORT}
    text = (HERE / "transom.yaml").read_text() + more
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    config.write_text(text)


class Level:
    """A gateway, who reads its log and who scrapes it."""

    def __init__(self, port, more, field, under=()):
        self.port, self.scraped, self.until_scrape = port, ADMIN in more, 1
        config = WORK / f"{port}-telemetry.yaml"
        write(config, port, more)
        unused(port)
        command = ["taskset", "-c", str(field.proxy_cpu), *under, transom(), "run", "-c", config]
        with open(WORK / f"{port}.log", "wb") as log:
            self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=log, cwd=ROOT)
        readers = ",".join(map(str, field.load_cpus))
        self.reader = subprocess.Popen(["taskset", "-c", readers, "wc", "-l"], stdin=self.process.stdout,
                                       stdout=subprocess.PIPE, text=True)
        self.process.stdout.close()
        wait_for(port, self.process, "transom")

    def cpu_us(self):
        """Of all its threads."""
        total = 0
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
        return total / 1000

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + ADMIN_PORT}/metrics", timeout=60) as answer:
            return answer.read().decode()

    @contextmanager
    def being_scraped(self):
        """Each second that it is under load, however short the loads are."""
        over, begun = threading.Event(), time.monotonic()

        def scrape():
            nonlocal begun
            while not over.wait(max(self.until_scrape - (time.monotonic() - begun), 0)):
                self.metrics()
                self.until_scrape, begun = 1, time.monotonic()

        scraper = threading.Thread(target=scrape)
        if self.scraped:
            scraper.start()
        try:
            yield
        finally:
            over.set()
            if self.scraped:
                scraper.join()
            self.until_scrape -= time.monotonic() - begun

    def lost(self):
        """Lines and spans that were dropped: with them the cost would be understated."""
        if not self.scraped:
            return 0
        lines = [l for l in self.metrics().splitlines() if "dropped" in l and not l.startswith("#")]
        return sum(float(l.rsplit(" ", 1)[1]) for l in lines)

    def stop(self):
        """How many lines it has told."""
        self.process.send_signal(signal.SIGINT)  # which doesn't wait for load balancers
        self.process.wait()
        return int(self.reader.communicate()[0])


def measure(running, cases, rounds, seconds, cpus):
    samples = {(level, case): [] for case in cases for level in running}
    counts = {}
    for number in range(rounds + 1):
        for case in cases:
            # The same number of requests for all levels, and another level first each time.
            names = list(running)
            names = names[number % len(names):] + names[:number % len(names)]
            for name in names:
                level = running[name]
                before = level.cpu_us()
                with level.being_scraped():
                    done, rate = load(level.port, case, counts.get(case, 1000), cpus)
                used = level.cpu_us() - before
                if number:
                    samples[name, case].append(used / done)
                elif name == names[-1]:
                    counts[case] = max(int(rate * seconds), 500)
        print(f"round {number} of {rounds}" if number else "warmed up", flush=True)
    return samples


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def calm(costs):
    """Of the calmest tenth of the rounds: what else a machine does only ever adds."""
    return sorted(costs)[len(costs) // 10]


def table(samples, names, cases):
    head = ["level", *(CASES[c].title for c in cases)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    base = names[0]
    for name in names:
        cells = [name]
        for case in cases:
            costs = samples[name, case]
            text = f"{statistics.median(costs):.1f} µs"
            if name != base:
                low, middle, high = quartiles([a / b for a, b in zip(costs, samples[base, case])])
                text += f", **{(middle - 1) * 100:+.1f} %** ({(low - 1) * 100:+.1f} to {(high - 1) * 100:+.1f})"
                text += f", calm {(calm(costs) / calm(samples[base, case]) - 1) * 100:+.1f} %"
            cells.append(text)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def instructions(level, case, cpus, out):
    """Per request, by where they are: (all, in the telemetry's own lines)."""
    control = ["callgrind_control", "-i"]
    load(level.port, case, 200, cpus)
    subprocess.run([*control, "on", str(level.process.pid)], check=True, capture_output=True)
    with level.being_scraped():
        done, _ = load(level.port, case, COUNTED, cpus)
    subprocess.run([*control, "off", str(level.process.pid)], check=True, capture_output=True)
    level.stop()
    total = own = 0
    for file in out.parent.glob(out.name + "*"):
        of_all, of_own = read_callgrind(file)
        total, own = total + of_all, own + of_own
        file.unlink()
    return total / done, own / done


OWN = re.compile(r"/telemetry/|/told\.rs|telemetry::|told::")


def read_callgrind(file):
    """Instructions, and those of telemetry's functions and lines, wherever either is inlined. What they
    call elsewhere (copying, the allocator) isn't among them."""
    total, own = 0, 0
    for of_file, of_function, cost in costs(file, lambda name, _: bool(OWN.search(name))):
        total += cost
        own += cost if of_file or of_function else 0
    return total, own


def count(known, cases, field):
    lines = ["| level | " + " | ".join(CASES[c].title for c in cases) + " |", "|" + " --- |" * (len(cases) + 1)]
    bases = {}
    for name, (port, more) in known.items():
        cells = [name]
        for case in cases:
            out = WORK / f"callgrind-{port}-{case}.out"
            under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "-q"]
            total, own = instructions(Level(port, more, field, under), case, field.load_cpus, out)
            bases.setdefault(case, total)
            cells.append(f"{total:,.0f}, {(total / bases[case] - 1) * 100:+.1f} %, {own / total * 100:.1f} % of them "
                         "telemetry's own")
            print(f"{name}, {case}: {cells[-1]}", flush=True)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save(options, costs, counted):
    m = machine()
    page = (HERE / "telemetry.md.in").read_text()
    values = {"TABLE": costs, "INSTRUCTIONS": counted, "ROUNDS": options.rounds, "SECONDS": options.seconds,
              "PROFILE": PROFILE, "COUNTED": f"{COUNTED:,}", "MACHINE": f'{m["cpu"]}, {m["cores"]} cores'}
    for key, value in values.items():
        page = page.replace(f"@{key}@", str(value))
    (ROOT / "docs" / "telemetry.md").write_text(page)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=ENVIRONMENT)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--cases", default=",".join(DEFAULT_CASES))
    parser.add_argument("--instructions", action="store_true", help="count them too (callgrind)")
    parser.add_argument("--built", action="store_true", help="build nothing")
    parser.add_argument("--save", action="store_true", help="write docs/telemetry.md (counts them too)")
    options = parser.parse_args()
    cases = options.cases.split(",")
    if unknown := [c for c in cases if c not in CASES]:
        parser.error(f"unknown: {', '.join(unknown)}; cases are {', '.join(CASES)}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("rounds and seconds are more than 0")
    if not options.built:
        set_up(["transom"])
    certificate()
    known = levels()
    with Field() as field:
        running = {name: Level(*level, field) for name, level in known.items()}
        try:
            samples = measure(running, cases, options.rounds, options.seconds, field.load_cpus)
            lost = {name: level.lost() for name, level in running.items()}
        finally:
            told = {name: level.stop() for name, level in running.items()}
        counted = ""
        if options.instructions or options.save:
            counted = count(known, [c for c in cases if c in ("get", "list")] or cases[:1], field)
    costs = table(samples, list(running), cases)
    print(costs, counted, f"lines told: {told}", f"dropped: {lost}", sep="\n\n")
    if any(lost.values()):
        sys.exit("lines or spans were dropped: their cost isn't whole")
    if options.save:
        save(options, costs, counted)


if __name__ == "__main__":
    main()
