"""The geometry of a figure of points: what is drawn, what is thinned out, and what no number may do."""

import math
import re

import numpy as np
import pytest

from tradewind.cli.report_scatter import HEIGHT, MOST_DOTS, Cloud, Scatter, draw_scatter

NOWHERE = (math.nan, math.nan)


def cloud(
    xs: list[float] | np.ndarray, ys: list[float] | np.ndarray, line: tuple[float, float] = NOWHERE, name: str = "arm"
) -> Cloud:
    return Cloud(name, "candidate", np.asarray(xs, float), np.asarray(ys, float), line, "said")


def drawn(*clouds: Cloud) -> Scatter:
    found = draw_scatter("title", "x, bp", "y, bp", clouds)
    assert found is not None
    return found


def dots(path: str) -> list[tuple[float, float]]:
    found = [(float(x), float(y)) for x, y in re.findall(r"M([^,]+),([^h]+)h0", path)]
    assert "".join(f"M{x:g},{y:g}h0" for x, y in found) == path  # nothing but dots
    return found


def test_equal_numbers_lie_on_the_diagonal_and_both_axes_have_one_scale() -> None:
    figure = drawn(cloud([-40, 0, 10, 40], [-40, 0, 10, 40]))
    assert [label for _, label in figure.xs] == [label for _, label in figure.ys]
    for x, y in dots(figure.clouds[0].path):
        assert y == pytest.approx(HEIGHT * (1 - x / 1000), abs=0.2)


def test_up_is_more() -> None:
    figure = drawn(cloud([0, 0], [-5, 5]))
    low, high = dots(figure.clouds[0].path)
    assert low[1] > high[1]
    assert [place for place, _ in figure.ys] == sorted((place for place, _ in figure.ys), reverse=True)


def test_without_a_finite_point_there_is_no_figure() -> None:
    assert draw_scatter("t", "x", "y", []) is None
    assert draw_scatter("t", "x", "y", [cloud([], [])]) is None
    assert draw_scatter("t", "x", "y", [cloud([math.nan, 1.0, math.inf], [1.0, math.nan, 2.0])]) is None


def test_what_is_not_finite_is_left_out_and_not_counted() -> None:
    figure = drawn(cloud([1, math.nan, 2, math.inf, 3], [1, 2, -math.inf, 3, 3]))
    assert (figure.points, figure.drawn) == (2, 2)
    assert len(dots(figure.clouds[0].path)) == 2


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-9, 1.0, 1e9, 1e18, 1e300])
def test_no_size_of_numbers_draws_outside_of_the_frame(size: float) -> None:
    draw = np.random.default_rng(1)
    xs, ys = draw.normal(0, 1, (2, 50)) * size
    figure = drawn(cloud(xs, ys, (0.1 * size, 0.9)), cloud([-size], [size * 3]))
    assert re.search(r"nan|inf", f"{figure}") is None
    places = [place for place, _ in (*figure.xs, *figure.ys)]
    assert len(set(figure.xs)) == len(figure.xs) >= 2
    assert all(0 <= place <= HEIGHT for place in places)
    for part in figure.clouds:
        assert all(0 <= x <= 1000 and 0 <= y <= HEIGHT for x, y in dots(part.path))
        if part.line is not None:
            assert 0 <= min(part.line[::2]) <= max(part.line[::2]) <= 1000
            assert 0 <= min(part.line[1::2]) <= max(part.line[1::2]) <= HEIGHT


@pytest.mark.parametrize("line", [(0.0, 1.0), (30.0, 0.0), (-20.0, -1.5), (0.0, 40.0), (5.0, 1e-12)])
def test_a_line_is_drawn_where_it_lies_and_ends_at_the_frame(line: tuple[float, float]) -> None:
    figure = drawn(cloud([-100, 0, 100], [-90, 10, 100], line))
    end = float(figure.xs[-1][1])
    segment = figure.clouds[0].line
    assert segment is not None
    for x, y in (segment[:2], segment[2:]):
        across, up = end * (x / 500 - 1), end * (1 - 2 * y / HEIGHT)
        assert up == pytest.approx(line[0] + line[1] * across, abs=0.02 * end)
        assert abs(across) <= 100.001  # over the points alone


@pytest.mark.parametrize("line", [NOWHERE, (1e9, 0.0), (1e9, 1.0), (math.inf, 1.0), (0.0, math.nan)])
def test_a_line_that_does_not_come_by_is_none(line: tuple[float, float]) -> None:
    assert drawn(cloud([-100, 0, 100], [-90, 10, 100], line)).clouds[0].line is None


def test_many_points_are_thinned_out_alike_each_time_and_the_figure_says_so() -> None:
    draw = np.random.default_rng(2)
    many, few = draw.normal(0, 10, (2, 5000)), draw.normal(0, 10, (2, 40))
    first, second = (drawn(cloud(*many), cloud(*few)) for _ in range(2))
    assert first == second
    assert first.points == 5040
    assert first.drawn == MOST_DOTS
    assert len(dots(first.clouds[1].path)) == 40  # nothing is taken from the few
    assert f"{MOST_DOTS} of 5,040 points are drawn" in first.note
    both = drawn(cloud(*many), cloud(*many))
    assert both.drawn == MOST_DOTS
    assert drawn(cloud(*few)).note == ""


def test_odd_points_lie_at_the_edge_and_are_counted() -> None:
    draw = np.random.default_rng(3)
    xs, ys = draw.normal(0, 10, (2, 200))
    xs[7], ys[9] = -1e5, 1e6
    figure = drawn(cloud(xs, ys))
    assert float(figure.xs[-1][1]) < 200
    assert figure.outside == 2
    assert "2 dots lie beyond the frame and are drawn at its edge." in figure.note
    assert 0.0 in {x for x, _ in dots(figure.clouds[0].path)}
    assert 0.0 in {y for _, y in dots(figure.clouds[0].path)}


def test_numbers_of_two_sizes_are_no_odd_points() -> None:
    """Papers in another unit than the trades: all points are alike, so none of them is odd."""
    xs, ys = np.random.default_rng(4).normal(0, 1, (2, 300)) * np.array([[1.0], [1e6]])
    assert drawn(cloud(xs, ys)).outside == 0


def test_those_who_do_not_see_it_are_told_axes_ends_and_slopes() -> None:
    figure = drawn(cloud([-40, 40], [-40, 40], name="v1"), cloud([], [], name="v2"))
    assert figure.summary == "y, bp against x, bp, both from -40 to 40. v1: said; v2: said"
