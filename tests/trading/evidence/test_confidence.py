"""The e-process and its interval: published numbers, limits, and a scan instead of a bisection."""

import math

import numpy as np
import pytest

from tradewind.trading.evidence import log_e
from tradewind.trading.evidence.confidence import interval, log_e_path, normal_cdf


@pytest.mark.parametrize(
    ("score", "variance", "expected"),
    [(50, 100, 8.015194), (60, 300, 4.796484), (80, 504, 5.246173), (0, 100, 0.5 * math.log(60 / 160))],
)
def test_published_numbers(score, variance, expected) -> None:
    assert log_e(score, variance, 60) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("variance", "needed"), [(50, 3.393), (100, 2.994), (200, 2.813), (504, 2.770), (1500, 2.861)])
def test_boundary(variance, needed) -> None:
    z = np.arange(2.0, 4.0, 0.0001)
    path = log_e_path(z * math.sqrt(variance), np.full(len(z), float(variance)))
    assert z[np.argmax(path >= math.log(20))] == pytest.approx(needed, abs=6e-4)


def test_nothing_is_no_evidence() -> None:
    assert log_e(0.0, 0.0) == pytest.approx(0.0, abs=1e-15)


def test_far_below_zero_it_stays_finite_and_falls() -> None:
    path = log_e_path(-np.array([50.0, 61.9, 62.0, 100.0, 1e3, 1e6]), np.zeros(6))
    assert np.isfinite(path).all()
    assert path[-1] < path[0] < 0
    # The leading asymptotic term takes over at -8; it is too large by about 1/64 there.
    assert path[2] - path[1] == pytest.approx(0.0, abs=0.05)


def test_normal_cdf() -> None:
    assert [normal_cdf(x) for x in (-1.96, 0.0, 1.645)] == pytest.approx([0.024998, 0.5, 0.950015], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_the_first_refuted_shifts(seed) -> None:
    rng = np.random.default_rng(seed)
    infos = rng.uniform(0.0, 6.0, 60)
    scores = 0.3 * infos + rng.normal(0, 2.4, 60)
    bounds = interval(scores, infos, math.log(20))
    shifts = np.arange(0.0, 3.0, 0.0005)

    def first(side: int) -> float:
        moved = side * (scores - (bounds.estimate - side * shifts[:, None]) * infos)
        refuted = log_e_path(moved.sum(axis=1), (moved**2).sum(axis=1)) >= math.log(20)
        return shifts[np.argmax(refuted)]

    assert bounds.estimate == pytest.approx(scores.sum() / infos.sum())
    assert bounds.estimate - bounds.lower == pytest.approx(first(1), abs=6e-4)
    assert bounds.upper - bounds.estimate == pytest.approx(first(-1), abs=6e-4)


def test_few_blocks_have_no_bounds() -> None:
    bounds = interval(np.array([1.0, -0.5]), np.array([3.0, 3.0]), math.log(20))
    assert (bounds.lower, bounds.upper) == (-math.inf, math.inf)
    assert bounds.estimate == pytest.approx(0.5 / 6)


def test_no_information_has_no_estimate() -> None:
    bounds = interval(np.zeros(0), np.zeros(0), math.log(20))
    assert math.isnan(bounds.estimate)
    assert (bounds.lower, bounds.upper) == (-math.inf, math.inf)


def test_a_bound_that_only_just_exists_is_found() -> None:
    """Twelve equal blocks: the evidence peaks just above the level and falls again."""
    rng = np.random.default_rng(0)
    infos = np.full(12, 6.0)
    scores = rng.normal(0, 2.4, 12)
    scan = np.geomspace(1e-6, 1e6, 400_000)
    centred = scores - scores.mean()
    path = log_e_path(scan * infos.sum(), (centred**2).sum() + scan**2 * (infos**2).sum())
    alpha = math.exp(-(path.max() - 1e-5))
    bounds = interval(scores, infos, math.log(1 / alpha))
    assert bounds.estimate - bounds.lower == pytest.approx(scan[np.argmax(path >= math.log(1 / alpha))], rel=2e-3)
    assert interval(scores, infos, float(path.max()) + 1e-5).lower == -math.inf
