"""Reading what callgrind has counted."""

import re


def costs(file, classify):
    """For each line of cost: what `classify(name, kind)` says of its source file and of its function, and
    the instructions. A file is the line's own, wherever the compiler has put it; calls aren't counted twice."""
    names = {"file": {}, "function": {}}
    here = {"file": None, "function": None}
    skip = False
    for line in file.open(errors="replace"):
        named = re.match(r"(c?)f([ilen])=\((\d+)\)(?: (.*))?", line)
        if named:
            called, kind, number, name = named.groups()
            kind = "function" if kind == "n" else "file"
            if name is not None:
                names[kind][number] = classify(name, kind)
            if not called:
                here[kind] = names[kind].get(number)
        elif line.startswith("calls="):
            skip = True  # the line after it is what was called
        elif line[:1] in "0123456789+-*":
            if not skip:
                yield here["file"], here["function"], int(line.split()[-1])
            skip = False
