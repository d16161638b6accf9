import json
import math

import pytest

from tradewind.trading.drift import MOST_KEPT, OTHER, Mix, Mixes, drift, kept, population_stability_index


def test_the_index_is_the_one_of_the_formula() -> None:
    before, now = {"a": 600, "b": 400}, {"a": 300, "b": 700}
    p, q = [600.5 / 1001, 400.5 / 1001], [300.5 / 1001, 700.5 / 1001]
    expected = sum((x - y) * math.log(x / y) for x, y in zip(p, q, strict=True))
    assert population_stability_index(before, now) == pytest.approx(expected)
    assert expected == pytest.approx(0.3758, abs=2e-3)


def test_equal_shares_are_no_drift_and_a_new_category_is_a_finite_one() -> None:
    assert population_stability_index({"a": 60, "b": 40}, {"a": 60, "b": 40}) == 0
    assert population_stability_index({"a": 60, "b": 40}, {"a": 6000, "b": 4000}) < 1e-3, "half a row is little"
    assert 0.25 < population_stability_index({"a": 1000}, {"a": 800, "b": 200}) < math.inf
    assert population_stability_index({"a": 9}, {"b": 9}) == population_stability_index({"b": 9}, {"a": 9})


def test_what_one_side_has_put_together_is_compared_together() -> None:
    before = {"a": 50, OTHER: 50}
    assert population_stability_index(before, {"a": 50, "x": 20, "y": 30}) == 0
    assert population_stability_index({"a": 50, "x": 20, "y": 30}, before) == 0
    assert population_stability_index(before, {"a": 5, "x": 95}) > 0.25


def test_a_status_has_room_for_what_is_kept() -> None:
    assert kept({"a": 1, "b": 2, "c": 2}) == {"b": 2, "c": 2, "a": 1}
    assert list(kept({"a": 1, "b": 2, "c": 2})) == ["b", "c", "a"]
    many = kept({f"S{n}": 100 - n for n in range(40)})
    assert len(many) == MOST_KEPT
    assert many[OTHER] == sum(100 - n for n in range(15, 40))
    long = kept({"黄" * 60 + str(n): 10 for n in range(9)})
    assert sum(long.values()) == 90
    assert len(json.dumps(long)) < 520
    assert kept({"x" * 600: 3}) == {OTHER: 3}


def test_a_mix_that_one_side_does_not_know_is_not_compared() -> None:
    before = Mixes({Mix.ACTION: {"hold": 10}, Mix.LABEL: {"hold": 10}, Mix.SYMBOL: {}})
    now = Mixes({Mix.ACTION: {"hold": 10}, Mix.SYMBOL: {"BTC": 10}, Mix.LABEL: {"good": 10}, Mix.REGIME: {"bull": 10}})
    found = drift(before, now)
    assert found.keys() == {Mix.ACTION, Mix.LABEL}
    assert found[Mix.ACTION] == 0
    assert found[Mix.LABEL] > 0.25
