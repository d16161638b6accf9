"""One chart as inline SVG: curves over the days of an experiment. Pure: numbers in, text out.

Belongs here: axes, ticks, labels that do not cover each other. Does not belong here: what the curves mean (report_page.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Final

WIDTH: Final = 880
HEIGHT: Final = 270
LEFT: Final = 62
RIGHT: Final = 128
TOP: Final = 14
BOTTOM: Final = 30
LABEL_GAP: Final = 15


@dataclass(frozen=True, slots=True)
class Line:
    """A named curve; `ys` may hold nan where there is nothing."""

    name: str
    colour: str
    xs: Sequence[float]
    ys: Sequence[float]
    dash: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """A level that a curve must reach, with its name."""

    name: str
    colour: str
    y: float


def draw_figure(
    title: str,
    t0: datetime,
    lines: Sequence[Line],
    *,
    tick: Callable[[float], str],
    bounds: Sequence[Bound] = (),
    whole_ticks: bool = False,
    floor_at: float | None = None,
    ceiling_at: float | None = None,
    mark: float | None = None,
    height: int = HEIGHT,
) -> str:
    """One chart over days since t0; `mark` is the day of the decision."""
    points = [(x, y) for line in lines for x, y in zip(line.xs, line.ys, strict=True) if isfinite(y)]
    if not points:
        return '<p class="hint">Nothing to draw yet.</p>'
    last = max(x for x, _ in points) or 1.0
    values = [y for _, y in points] + [bound.y for bound in bounds]
    low = min(values) if floor_at is None else min(floor_at, *values)
    high = max(values) if ceiling_at is None else max(ceiling_at, *values)
    ticks = _ticks(low, high, whole=whole_ticks)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    inner = height - TOP - BOTTOM

    def px(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * x / last, 1)

    def py(y: float) -> float:
        return round(TOP + inner * (1 - (y - low) / ((high - low) or 1.0)), 1)

    right = WIDTH - RIGHT
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(_summary(title, lines))}">']
    for value in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{py(value)}" y2="{py(value)}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{py(value) + 4}" text-anchor="end">{escape(tick(value))}</text>')
    for day in _date_ticks(last):
        date = t0 + timedelta(days=day)
        parts.append(f'<line class="axis" x1="{px(day)}" x2="{px(day)}" y1="{TOP + inner}" y2="{TOP + inner + 5}"/>')
        parts.append(f'<text x="{px(day)}" y="{height - 8}" text-anchor="middle">{date:%-d %b %y}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{TOP + inner}" y2="{TOP + inner}"/>')
    for bound in bounds:
        y = py(bound.y)
        parts.append(f'<line class="bound" stroke="var(--{bound.colour})" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
    if mark is not None and mark <= last:
        parts.append(f'<line class="mark" x1="{px(mark)}" x2="{px(mark)}" y1="{TOP}" y2="{TOP + inner}"/>')
    labels = [(py(bound.y), bound.name, bound.colour) for bound in bounds]
    for line in lines:
        drawn = [(px(x), py(y)) for x, y in zip(line.xs, line.ys, strict=True) if isfinite(y)]
        if not drawn:
            continue
        path = " ".join(f"{x},{y}" for x, y in drawn)
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        parts.append(f'<polyline class="line" stroke="var(--{line.colour})"{dash} points="{path}"/>')
        labels.append((drawn[-1][1], line.name, line.colour))
    for y, name, colour in _spread(labels, TOP + inner):
        parts.append(
            f'<text class="name" x="{right + 8}" y="{y + 4:g}" style="fill:var(--{colour})">{escape(name)}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)


def _spread(labels: Sequence[tuple[float, str, str]], bottom: float) -> list[tuple[float, str, str]]:
    """The labels from top to bottom, moved apart so that none covers another."""
    placed: list[tuple[float, str, str]] = []
    for y, name, colour in sorted(labels):
        placed.append((max(y, placed[-1][0] + LABEL_GAP) if placed else y, name, colour))
    over = placed[-1][0] - bottom if placed else 0
    if over <= 0:
        return placed
    moved: list[tuple[float, str, str]] = []
    for y, name, colour in reversed(placed):
        moved.insert(0, (min(y, moved[0][0] - LABEL_GAP) if moved else min(y, bottom), name, colour))
    return moved


def _ticks(low: float, high: float, *, whole: bool) -> list[float]:
    """Round values that enclose low and high, four to eight of them."""
    span = (high - low) or 1.0
    step = 10.0 ** floor(log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 6)
    if whole:
        step = max(1.0, ceil(step))
    first, last = floor(low / step), ceil(high / step)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _date_ticks(days: float) -> list[int]:
    step = next((s for s in (1, 2, 7, 14, 28, 56, 91, 182) if days / s <= 7), 365)
    return list(range(0, int(days) + 1, step))


def _summary(title: str, lines: Sequence[Line]) -> str:
    ends = [f"{line.name} ends at {line.ys[-1]:.3g}" for line in lines if len(line.ys) and isfinite(line.ys[-1])]
    return f"{title}: {', '.join(ends)}" if ends else title
