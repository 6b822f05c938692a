"""The table and the plot."""

import math


def ratio(row, name, other):
    if name not in row["peers"] or other not in row["peers"]:
        return ""
    return f'{row["peers"][name]["us_per_request"] / row["peers"][other]["us_per_request"]:.2f}'


def markdown(rows, peers):
    head = ["case", *(f"{p} µs (min–max)" for p in peers), "Transom / Envoy", "/ bare hop", "/ structured-proxy", "/ nginx"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [cost(row["peers"].get(p)) for p in peers]
        ratios = [ratio(row, "transom", p) for p in ("envoy", "hop", "structured-proxy", "nginx")]
        lines.append("| " + " | ".join([row["title"], *cells, *ratios]) + " |")
    return "\n".join(lines)


def cost(cell):
    return f'{cell["us_per_request"]:.1f} ({cell["min"]:.1f}–{cell["max"]:.1f})' if cell else ""


def others(found):
    """The figures that aren't CPU per request."""
    lines = ["| | " + " | ".join(found["peers"]) + " |", "|" + " --- |" * (len(found["peers"]) + 1)]
    for title, cells in found["rows"].items():
        lines.append(f"| {title} | " + " | ".join(cells.get(p, "") for p in found["peers"]) + " |")
    return "\n".join(lines)


def svg(rows, peers):
    """Bars, logarithmic, a group for each case with more than one peer."""
    colours = {"hop": "#9aa5b1", "transom": "#2f6fde", "envoy": "#c2410c", "structured-proxy": "#0f766e", "nginx": "#7c3aed"}
    bar, gap, left, top, height = 11, 12, 80, 50, 260
    rows = [r for r in rows if len(r["peers"]) > 1] or rows
    most = max(c["us_per_request"] for r in rows for c in r["peers"].values())
    high = math.log10(max(most, 10)) + 0.05
    width = left + sum(len(r["peers"]) * bar + gap for r in rows) + 20
    floor = top + height
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {floor + 170}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="{left}" y="20" font-size="13">CPU per request, µs; each line is ten times the one below; less is better</text>']
    y = lambda value: floor - math.log10(max(value, 1)) / high * height
    for power in range(math.floor(high) + 1):
        out.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(10 ** power):.1f}" y2="{y(10 ** power):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{y(10 ** power) + 4:.1f}" text-anchor="end">{10 ** power:,} µs</text>')
    x = left + 6
    for row in rows:
        middle = x + len(row["peers"]) * bar / 2
        for name in (p for p in peers if p in row["peers"]):
            value = row["peers"][name]["us_per_request"]
            out.append(f'<rect x="{x}" width="{bar - 1}" y="{y(value):.1f}" height="{floor - y(value):.1f}" '
                       f'fill="{colours[name]}"><title>{row["title"]}, {name}: {value} µs</title></rect>')
            x += bar
        out.append(f'<text x="{middle + 4}" y="{floor + 14}" text-anchor="end" '
                   f'transform="rotate(-40 {middle + 4} {floor + 14})">{row["title"]}</text>')
        x += gap
    for j, name in enumerate(peers):
        out.append(f'<rect x="{left + j * 130}" y="28" width="10" height="10" fill="{colours[name]}"/>'
                   f'<text x="{left + 15 + j * 130}" y="37">{name}</text>')
    out.append('</svg>')
    return "\n".join(out) + "\n"
