"""Curves as small SVG files: two axes, straight or logarithmic, one line for each series; nothing to install."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import attrs
from harness import HERE

FOLDER = HERE / "plots"
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 48, 52
COLOURS = ("#2f6fb0", "#c8553d", "#3d8b57", "#8a5fb0", "#b08a2f")

Points = Sequence[tuple[float, float]]


@attrs.frozen
class Axis:
    """What an axis shows. A straight one begins at 0."""

    title: str
    log: bool = False

    def bounds(self, values: Sequence[float]) -> tuple[float, float]:
        if not self.log:
            return 0.0, max(values) * 1.1 or 1.0
        low, high = math.log10(min(values)), math.log10(max(values))
        return low - 0.1, max(high, low + 0.1) + 0.1

    def place(self, value: float, bounds: tuple[float, float]) -> float:
        """Return where between 0 and 1 a value lies."""
        low, high = bounds
        return ((math.log10(value) if self.log else value) - low) / (high - low)

    def ticks(self, bounds: tuple[float, float], values: Sequence[float]) -> list[float]:
        low, high = bounds
        if self.log:
            powers = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
            return powers if len(powers) > 1 else sorted({min(values), max(values)})
        power = 10.0 ** math.floor(math.log10(high))
        step = next(power * factor for factor in (2, 1, 0.5, 0.2) if high / (power * factor) >= 3)
        return [number * step for number in range(int(high / step) + 1)]


def write(name: str, title: str, x: Axis, y: Axis, series: Mapping[str, Points]) -> str:
    """Write a plot and return the line of Markdown that shows it."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.svg").write_text(draw(title, x, y, series), encoding="utf-8")
    return f"![{title}](plots/{name}.svg)"


def draw(title: str, x: Axis, y: Axis, series: Mapping[str, Points]) -> str:
    """Return the plot as SVG; it has no ground, so that it can be read on a light page and on a dark one."""
    across = [point[0] for points in series.values() for point in points]
    up = [point[1] for points in series.values() for point in points]
    over, under = x.bounds(across), y.bounds(up)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        left = LEFT + x.place(point[0], over) * (WIDTH - LEFT - RIGHT)
        return round(left, 1), round(HEIGHT - BOTTOM - y.place(point[1], under) * (HEIGHT - TOP - BOTTOM), 1)

    floor = HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#808080">',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for tick in x.ticks(over, across):
        left = LEFT + x.place(tick, over) * (WIDTH - LEFT - RIGHT)
        parts.append(f'<path d="M{left:.1f} {TOP}V{floor}" stroke="#80808033"/>')
        parts.append(f'<text x="{left:.1f}" y="{floor + 18}" text-anchor="middle">{_number(tick)}</text>')
    for tick in y.ticks(under, up):
        height = HEIGHT - BOTTOM - y.place(tick, under) * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#80808033"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x.title)}</text>')
    turned = f'transform="rotate(-90)" x="{-(TOP + floor) / 2}" y="16"'
    parts.append(f'<text {turned} text-anchor="middle">{escape(y.title)}</text>')
    for number, points in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [at(point) for point in points]
        line = "L".join(f"{left} {height}" for left, height in placed)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{left}" cy="{height}" r="3.5" fill="{colour}"/>' for left, height in placed]
    spans = [
        f'<tspan fill="{COLOURS[number % len(COLOURS)]}" dx="12">{escape(name)}</tspan>'
        for number, name in enumerate(series)
    ]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="34" text-anchor="end">{"".join(spans)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _number(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:.3g}"
