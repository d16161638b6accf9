"""A figure of points: where dots, lines and ticks lie. Pure: numbers in, geometry out.

Both axes have one scale, so that equal numbers lie on the diagonal. As in report_figure.py, places across are percent of the
plot and places down are px.

Belongs here: frame, thinning, axes. Does not belong here: what the points mean (report_pairs.py) and the SVG
(scatter.svg.jinja).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tradewind.cli.report_figure import SCALE, round_ticks

HEIGHT: Final = 300
MOST_DOTS: Final = 600
LARGEST: Final = 1e12
"""End of an axis at most."""
SMALLEST: Final = 1e-3
"""End of an axis at least."""

_ODD = (
    12.0  # times the median distance from 0: what lies beyond is drawn at the edge, or it would press the rest together
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points of one name, in an order of their own; what is not finite is left out.

    Attributes:
        name: who they are.
        tone: their colour and form in the style sheet.
        xs, ys: shape (points,).
        line: height at x = 0 and slope of the line through them; nan: none.
        end: what the legend says of them.
    """

    name: str
    tone: str
    xs: Floats
    ys: Floats
    line: tuple[float, float]
    end: str


@dataclass(frozen=True, slots=True)
class Dots:
    """A cloud as it is drawn: dots as a path, and the ends of its line as x, y, x, y; None: it has none."""

    name: str
    tone: str
    path: str
    line: tuple[float, float, float, float] | None
    end: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """What the template draws.

    Attributes:
        title: what is drawn, with its unit.
        across, up: names of the axes.
        height: of the plot in px.
        xs, ys: place and label of each tick.
        zero: place of 0, across and down.
        clouds: the dots.
        points: number of points that there are.
        drawn: number of dots, after thinning.
        outside: dots that lie beyond the frame and are drawn at its edge.
    """

    title: str
    across: str
    up: str
    height: int
    xs: tuple[tuple[float, str], ...]
    ys: tuple[tuple[float, str], ...]
    zero: tuple[float, float]
    clouds: tuple[Dots, ...]
    points: int
    drawn: int
    outside: int

    @property
    def note(self) -> str:
        """What is not drawn as it is; "" where all is."""
        said = []
        if self.drawn < self.points:
            said.append(
                f"{self.drawn:,} of {self.points:,} points are drawn, evenly over time; lines and numbers are of all."
            )
        if self.outside:
            one = self.outside == 1
            said.append(
                f"{self.outside:,} {'dot lies' if one else 'dots lie'} beyond the frame and {'is' if one else 'are'} drawn at its edge."
            )
        return " ".join(said)

    @property
    def summary(self) -> str:
        """The figure for those who do not see it."""
        ends = "; ".join(f"{cloud.name}: {cloud.end}" for cloud in self.clouds)
        return f"{self.up} against {self.across}, both from {self.xs[0][1]} to {self.xs[-1][1]}. {ends}"


def draw_scatter(title: str, across: str, up: str, clouds: Sequence[Cloud]) -> Scatter | None:
    """A figure of points with one scale for both axes; None where there is no point.

    Args:
        title: what is drawn, with its unit.
        across: name of the axis of x.
        up: name of the axis of y.
        clouds: the points; one without any is named in the legend alone.
    """
    known = [np.isfinite(cloud.xs) & np.isfinite(cloud.ys) for cloud in clouds]
    counts = [int(np.count_nonzero(mask)) for mask in known]
    if not sum(counts):
        return None
    pairs = [
        np.stack((cloud.xs[mask], cloud.ys[mask]))[:, _thinned(count, sum(counts) - count)]
        for cloud, mask, count in zip(clouds, known, counts, strict=True)
    ]
    end = _reach(np.concatenate([np.abs(pair).max(axis=0) for pair in pairs]))
    ticks = round_ticks(-end, end)
    frame = _Frame(ticks[-1])
    return Scatter(
        title=title,
        across=across,
        up=up,
        height=HEIGHT,
        xs=tuple((frame.across(tick), f"{tick:,g}") for tick in ticks),
        ys=tuple((frame.down(tick), f"{tick:,g}") for tick in ticks),
        zero=(frame.across(0.0), frame.down(0.0)),
        clouds=tuple(
            Dots(cloud.name, cloud.tone, frame.dots(pair), frame.segment(cloud.line, pair[0]), cloud.end)
            for cloud, pair in zip(clouds, pairs, strict=True)
        ),
        points=sum(counts),
        drawn=sum(pair.shape[1] for pair in pairs),
        outside=sum(int(np.count_nonzero((np.abs(pair) > frame.end).any(axis=0))) for pair in pairs),
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """A square of numbers from -end to end."""

    end: float

    def across(self, x: float) -> float:
        return round(50.0 * (1.0 + x / self.end), 2)

    def down(self, y: float) -> float:
        return round(0.5 * HEIGHT * (1.0 - y / self.end), 1)

    def dots(self, pair: Floats) -> str:
        """A path of strokes without length, which round ends make dots; what lies beyond the frame lies at its edge."""
        inside = np.clip(pair, -self.end, self.end)
        places = ((round(SCALE * self.across(float(x))), self.down(float(y))) for x, y in inside.T)
        return "".join(f"M{x},{y:g}h0" for x, y in dict.fromkeys(places))

    def segment(self, line: tuple[float, float], xs: Floats) -> tuple[float, float, float, float] | None:
        """The part of a line over the points that lies in the frame, as x, y, x, y; None where there is none."""
        height, slope = line
        if not (isfinite(height) and isfinite(slope)) or not len(xs):
            return None
        ends = [max(float(np.min(xs)), -self.end), min(float(np.max(xs)), self.end)]
        if slope:  # where it leaves the frame
            at = sorted(((-self.end - height) / slope, (self.end - height) / slope))
            ends = [max(ends[0], at[0]), min(ends[1], at[1])]
        if not ends[0] < ends[1] or (not slope and abs(height) > self.end):
            return None
        (x0, y0), (x1, y1) = ((x, min(max(height + slope * x, -self.end), self.end)) for x in ends)
        return SCALE * self.across(x0), self.down(y0), SCALE * self.across(x1), self.down(y1)


def _thinned(count: int, others: int) -> NDArray[np.int64]:
    """Which of so many points are drawn: evenly spaced, first and last among them; all where there is room beside the others."""
    room = max(MOST_DOTS // 2, MOST_DOTS - others)
    if count <= room:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, room)).astype(np.int64)


def _reach(sizes: Floats) -> float:
    """End of both axes: the largest size of a point, the larger of its two numbers, but for odd ones."""
    moved = sizes[sizes > 0.0]
    if not len(moved):
        return 1.0
    return float(np.clip(min(np.max(moved), _ODD * float(np.median(moved))), SMALLEST, LARGEST))
