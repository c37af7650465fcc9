"""Curves of queries per second over recall, as SVG written by hand: no library is needed to draw them."""

import math

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 84, 190, 44, 52
RECALL_MIN = 0.8
# By library; what differs within one differs by its stroke.
COLORS = {
    "quiver": "#d62728",
    "hnswlib": "#1f77b4",
    "faiss": "#2ca02c",
    "usearch": "#9467bd",
    "svs": "#e08214",
    "zvec": "#17a2b8",
    "hnsw_rs": "#7f7f7f",
}
STROKES = ["", "7 3", "2 3", "9 3 2 3"]


class Curve:
    """Points of (recall, queries per second), by growing recall."""

    def __init__(self, name, library, points):
        self.name, self.library = name, library
        self.points = shown(sorted(points))


def shown(points):
    """What lies right of RECALL_MIN, with the place where the line crosses it."""
    kept = [point for point in points if point[0] >= RECALL_MIN]
    left = [point for point in points if point[0] < RECALL_MIN]
    if kept and left and kept[0][0] > RECALL_MIN:
        (x0, y0), (x1, y1) = left[-1], kept[0]
        share = (RECALL_MIN - x0) / (x1 - x0)
        kept.insert(0, (RECALL_MIN, math.exp(math.log(y0) + share * (math.log(y1) - math.log(y0)))))
    return kept


def ticks(low, high):
    """1, 2 and 5 times powers of ten between the bounds."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = (digit * 10**power for power in powers for digit in (1, 2, 5))
    return [value for value in values if low <= value <= high]


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def svg(title, curves):
    curves = [curve for curve in curves if curve.points]
    speeds = [speed for curve in curves for _, speed in curve.points] or [100, 1000]
    low, high = min(speeds) / 1.15, max(speeds) * 1.15
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(recall):
        return LEFT + (recall - RECALL_MIN) / (1 - RECALL_MIN) * (right - LEFT)

    def y(speed):
        return bottom - math.log(speed / low) / math.log(high / low) * (bottom - TOP)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escaped(title)}</text>',
    ]
    for step in range(round((1 - RECALL_MIN) * 40) + 1):
        recall = RECALL_MIN + step / 40
        out.append(f'<path d="M{x(recall):.1f} {TOP}V{bottom}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{x(recall):.1f}" y="{bottom + 18}" text-anchor="middle">{recall:.3f}</text>')
    for speed in ticks(low, high):
        out.append(f'<path d="M{LEFT} {y(speed):.1f}H{right}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(speed) + 4:.1f}" text-anchor="end">{speed:,}</text>')
    out.append(f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" stroke="#888"/>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">recall at 10</text>')
    middle = (TOP + bottom) / 2
    out.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        "queries per second, one thread</text>"
    )
    variants = {}
    for place, curve in enumerate(curves):
        variant = variants.setdefault(curve.library, [])
        variant.append(curve.name)
        stroke = STROKES[(len(variant) - 1) % len(STROKES)]
        width = 3 if curve.library == "quiver" else 1.6
        look = f'stroke="{COLORS.get(curve.library, "#000")}" stroke-width="{width}"'
        look += f' stroke-dasharray="{stroke}"' if stroke else ""
        path = "L".join(f"{x(recall):.1f} {y(speed):.1f}" for recall, speed in curve.points)
        out.append(f'<path d="M{path}" fill="none" stroke-linejoin="round" {look}/>')
        color = COLORS.get(curve.library, "#000")
        out.extend(
            f'<circle cx="{x(recall):.1f}" cy="{y(speed):.1f}" r="{width * 0.9 + 0.6:.1f}" fill="{color}"/>'
            for recall, speed in curve.points
            if recall > RECALL_MIN
        )
        row = TOP + 10 + 20 * place
        out.append(f'<path d="M{right + 18} {row}h34" {look}/>')
        out.append(f'<text x="{right + 60}" y="{row + 4}">{escaped(curve.name)}</text>')
    return "\n".join([*out, "</svg>", ""])
