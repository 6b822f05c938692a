#!/usr/bin/env python3
"""Where a request's instructions go: all of the process, by part, and the stages of the pure path.

    benches/peers/parts.py [--cases get,post,list,batch] [--save]

Counted by callgrind while h2load sends requests; what the kernel does is not among them. An instruction is
counted where its source is, wherever the compiler has put it; the standard library's where it is called.
`--save` writes docs/instructions.md, with the table of benches/stages/run beside it.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter

from callgrind import costs
from cases import CASES
from peers import ENVIRONMENT, HERE, ROOT, WORK, set_up
from run import Field, load, machine
from telemetry import ADMIN, COUNTED, FIRST_PORT, LOG, Level

PARTS = {
    "sockets, TLS, HTTP/1.1's and HTTP/2's rules (`listener`)": r"/src/listener/|transom::listener",
    "parse and reply: HTTP/1.1 to the client (hyper, httparse)": r"/hyper-1[^/]*/src/(proto/h1|server)|/httparse|hyper::proto::h1|hyper::server",
    "match (`route`)": r"/src/route/|transom::route",
    "bind, metadata, statuses (`transcode`, `protocol`)": r"/src/(transcode|protocol|schema)/|transom::(transcode|protocol|schema)",
    "encode and decode (`codec`)": r"/src/codec/|transom::codec|/(zmij|itoa|simdutf8|memchr)-",
    "call: HTTP/2 to the service (h2, hyper)": r"/h2-0|/hyper-1|h2::|hyper::",
    "call: pool, balancing, retries (`upstream`)": r"/src/upstream/|transom::upstream",
    "one request from end to end (`exchange`)": r"/src/(exchange|client_body|memory|drain|failure|gather|live|rt)[/.]|transom::(exchange|client_body|memory|drain|failure|gather|live|rt)",
    "metrics, access log (`telemetry`)": r"/src/telemetry/|transom::telemetry",
    "tasks, timers, sockets (tokio)": r"/(tokio|mio|futures)[a-z-]*-\d|tokio::|mio::|futures",
    "headers and their maps (http, bytes)": r"/(http|bytes|http-body)[a-z-]*-\d|http::|bytes::",
    "allocator (mimalloc)": r"mimalloc|/(alloc|free|page|segment|heap|init)[a-z-]*\.c|^mi_|_mi_",
    "copies and system calls (libc)": r"/sysdeps/|/string/|/nptl/|/socket/|mem(cpy|move|set|cmp)|libc",
}
KNOWN = [(name, re.compile(pattern)) for name, pattern in PARTS.items()]
REST = "the rest"


def part(name, kind):
    if kind == "function":
        # The crate and module that it is of, not those of the types that it is made for.
        owner = re.match(r"(?:<(?:[&\w<> ,']* as )?)?(?:\w+::)?\w+(?:::\w+)*", name)
        name = owner.group().removeprefix("<") if owner else name
    return next((of for of, pattern in KNOWN if pattern.search(name)), None)


def read(file):
    """Instructions by part: of the line's own source first, else of the function that it is in."""
    found = Counter()
    for of_file, of_function, cost in costs(file, part):
        found[of_file or of_function or REST] += cost
    return found


def count(case, field):
    out = WORK / f"parts-{case}.out"
    under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "-q"]
    level = Level(FIRST_PORT, ADMIN + LOG, field, under)
    control = ["callgrind_control", "-i"]
    try:
        load(level.port, case, 200, field.load_cpus)
        subprocess.run([*control, "on", str(level.process.pid)], check=True, capture_output=True)
        done, _ = load(level.port, case, COUNTED, field.load_cpus)
        subprocess.run([*control, "off", str(level.process.pid)], check=True, capture_output=True)
    finally:
        level.stop()
    found = Counter()
    for file in out.parent.glob(out.name + "*"):
        found += read(file)
        file.unlink()
    if not found:
        sys.exit(f"{case}: callgrind has counted nothing")
    return {name: cost / done for name, cost in found.items()}


def table(found):
    lines = ["| part | " + " | ".join(CASES[c].title for c in found) + " |", "| --- |" + " ---: |" * len(found)]
    for name in [*PARTS, REST]:
        lines.append(f"| {name} | " + " | ".join(f"{found[c].get(name, 0):,.0f}" for c in found) + " |")
    return "\n".join([*lines, "| all | " + " | ".join(f"{sum(found[c].values()):,.0f}" for c in found) + " |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=ENVIRONMENT)
    parser.add_argument("--cases", default="get,post,list,batch,get-h2")
    parser.add_argument("--save", action="store_true", help="write docs/instructions.md")
    options = parser.parse_args()
    cases = options.cases.split(",")
    if unknown := [c for c in cases if c not in CASES]:
        parser.error(f"unknown: {', '.join(unknown)}; cases are {', '.join(CASES)}")
    set_up(["transom"])
    stages = ""
    if options.save:
        stages = subprocess.run([ROOT / "benches" / "stages" / "run"], stdout=subprocess.PIPE, text=True, check=True).stdout
    with Field() as field:
        parts = table({case: count(case, field) for case in cases})
    print(parts)
    if options.save:
        page = (HERE / "instructions.md.in").read_text()
        for key, value in {"STAGES": stages.strip(), "PARTS": parts, "COUNTED": f"{COUNTED:,}", "CPU": machine()["cpu"]}.items():
            page = page.replace(f"@{key}@", value)
        (ROOT / "docs" / "instructions.md").write_text(page)


if __name__ == "__main__":
    main()
