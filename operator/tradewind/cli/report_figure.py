"""One chart over days, steps or shares: where its ticks, curves and bounds lie. Pure: numbers in, geometry out.

Across, places are percent of the plot, so that it grows with the page while its texts keep their size; down, they are px.
Why no plotting library: docs/dependencies.md.

Belongs here: axes and ticks. Does not belong here: what the curves mean (report_charts.py, report_training.py,
report_version.py) and the SVG
(figure.svg.jinja).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from math import ceil, floor, isfinite, log10
from typing import Final

HEIGHT: Final = 230
SCALE: Final = 10
"""Units of a curve's x in a percent of the width."""


@dataclass(frozen=True, slots=True)
class Line:
    """A named curve.

    Attributes:
        tone: its colour and dash in the style sheet.
        xs, ys: shape (points,); `ys` may hold nan where there is nothing.
        said: what the legend says of it; None: where it ends.
        dotted: whether each point is marked.
    """

    name: str
    tone: str
    xs: Sequence[float]
    ys: Sequence[float]
    said: str | None = None
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """A level that a curve must reach, with its name."""

    name: str
    tone: str
    y: float


@dataclass(frozen=True, slots=True)
class Axis:
    """What lies across: where its ticks are up to the last value, and a value as text."""

    ticks: Callable[[float], Sequence[float]]
    label: Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line as it is drawn: its points, what the legend says of it, the same for those who do not see it, and its marks as a path."""

    name: str
    tone: str
    points: str
    end: str
    told: str
    dots: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """What the template draws; places across in percent of the width, down in px of the height, each with its label."""

    title: str
    height: int
    places: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    bounds: tuple[tuple[float, Bound], ...]
    curves: tuple[Curve, ...]
    mark: tuple[float, str] | None

    @property
    def summary(self) -> str:
        """The figure for those who do not see it."""
        ends = ", ".join(curve.told for curve in self.curves)
        return f"From {self.places[0][1]}: {ends}" + "".join(f"; dashed {bound.name}" for _, bound in self.bounds)


def draw_figure(
    title: str,
    across: Axis,
    lines: Sequence[Line],
    *,
    tick: Callable[[float], str],
    value: Callable[[float], str] | None = None,
    bounds: Sequence[Bound] = (),
    whole_ticks: bool = False,
    reach: tuple[float, ...] = (),
    mark: float | None = None,
    height: int = HEIGHT,
    empty: str = "",
) -> Figure | None:
    """One chart, None where there is nothing to draw.

    Args:
        title: what is drawn, with its unit.
        across: what the curves are over.
        lines: curves over it; one without a finite value is left out, or named in the legend alone.
        tick: a value of the axis as text.
        value: the end of a curve as text; absent: `tick`.
        bounds: levels drawn across.
        whole_ticks: ticks at whole numbers only.
        reach: values that the axis shows in any case.
        mark: where something was decided.
        height: of the plot in px.
        empty: what the legend says of a line without a finite value; "": nothing, it is left out.
    """
    drawn = [
        (line, points)
        for line in lines
        if (points := [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if isfinite(y)])
    ]
    if not drawn:
        return None
    last = max(x for _, points in drawn for x, _ in points) or 1.0
    values = [*(y for _, points in drawn for _, y in points), *(bound.y for bound in bounds), *reach]
    ticks = round_ticks(min(values), max(values), whole=whole_ticks)
    low, high = ticks[0], ticks[-1]

    def percent(place: float) -> float:
        return round(100 * place / last, 2)

    def down(y: float) -> float:
        return round(height * (high - y) / (high - low), 1)

    def curve(line: Line, points: Sequence[tuple[float, float]]) -> Curve:
        places = [place for place, _ in groupby(f"{round(SCALE * percent(x))},{down(y):g}" for x, y in points)]
        end = (value or tick)(points[-1][1]) if line.said is None else line.said
        told = f"{line.name} ends at {end}" if line.said is None else f"{line.name}: {end}".removesuffix(": ")
        dots = "".join(f"M{place}h0" for place in places) if line.dotted else ""
        return Curve(line.name, line.tone, " ".join(places), end, told, dots)

    return Figure(
        title=title,
        height=height,
        places=tuple((percent(place), across.label(place)) for place in across.ticks(last)),
        ticks=tuple((down(y), tick(y)) for y in ticks),
        bounds=tuple((down(bound.y), bound) for bound in sorted(bounds, key=lambda bound: -bound.y)),
        curves=(
            *(curve(line, points) for line, points in drawn),
            *(
                Curve(line.name, line.tone, "", empty, f"{line.name}: {empty}")
                for line in lines
                if empty and not _drawable(line)
            ),
        ),
        mark=(percent(mark), across.label(mark)) if mark is not None and mark <= last else None,
    )


def _drawable(line: Line) -> bool:
    return any(isfinite(y) for y in line.ys)


def days_since(t0: datetime) -> Axis:
    """Days, as dates."""
    return Axis(_date_ticks, lambda day: f"{t0 + timedelta(days=day):%-d %b %y}")


def steps() -> Axis:
    """Whole numbers from 0."""
    return Axis(
        lambda last: [tick for tick in round_ticks(0, last, whole=True) if tick <= last], lambda step: f"{step:,.0f}"
    )


def shares() -> Axis:
    """Shares up to a whole, as percent."""
    return Axis(lambda last: round_ticks(0.0, last), lambda share: f"{100 * share:.0f} %")


def round_ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round values that enclose low and high, two to eight of them."""
    span = (high - low) or 1.0
    step = 10.0 ** floor(log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 6)
    if whole:
        step = max(1.0, ceil(step))
    first, last = floor(low / step), ceil(high / step)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def _date_ticks(days: float) -> list[int]:
    step = next((s for s in (1, 2, 7, 14, 28, 56, 91, 182) if days / s <= 7), 365)
    return list(range(0, int(days) + 1, step))
