"""The table and the plot."""

import math


def ratio(row, name, other):
    if name not in row["peers"] or other not in row["peers"]:
        return ""
    return f'{row["peers"][name]["us_per_request"] / row["peers"][other]["us_per_request"]:.2f}'


def markdown(rows, peers):
    head = ["case", *(f"{p} µs (min–max)" for p in peers), "Transom / Envoy", "/ bare hop", "/ nginx"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [cost(row["peers"].get(p)) for p in peers]
        ratios = [ratio(row, "transom", p) for p in ("envoy", "hop", "nginx")]
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
    """Grouped bars, logarithmic, one group a case."""
    colours = {"hop": "#9aa5b1", "transom": "#2f6fde", "envoy": "#c2410c", "structured-proxy": "#0f766e", "nginx": "#7c3aed"}
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
            if name not in row["peers"]:
                continue
            value = row["peers"][name]["us_per_request"]
            out.append(f'<rect x="{x0 + j * bar}" width="{bar - 2}" y="{y(value):.1f}" height="{20 + height - y(value):.1f}" '
                       f'fill="{colours[name]}"><title>{row["title"]}, {name}: {value} µs</title></rect>')
        out.append(f'<text x="{x0 + len(peers) * bar / 2}" y="{height + 36}" text-anchor="middle">{row["case"]}</text>')
    for j, name in enumerate(peers):
        out.append(f'<rect x="{left + j * 130}" y="{height + 55}" width="10" height="10" fill="{colours[name]}"/>'
                   f'<text x="{left + 15 + j * 130}" y="{height + 64}">{name}</text>')
    out.append('</svg>')
    return "\n".join(out) + "\n"
