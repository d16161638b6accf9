"""The report of an experiment with pairs: what they say, in words, recomputed from its rows."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tradewind.cli.report_data import ReportData, read_bundle
from tradewind.cli.report_page import render_page, view

FIXTURES = Path(__file__).parents[1] / "fixtures" / "paired"


def _data(name: str, shadow: str) -> ReportData:
    experiment: dict[str, Any] = json.loads((FIXTURES / f"{name}.yaml").read_text())
    experiment["metadata"] |= {"uid": "u1", "namespace": "trading"}
    experiment["status"] = {
        "phase": "Running",
        "t0": "2026-01-01T00:00:00Z",
        "maxHold": "24h",
        "basis": {"shadow": shadow, "boundary": "fixedHorizon"},
    }
    with (FIXTURES / f"{name}.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return read_bundle({"experiment": experiment, "trades": rows}, datetime(2026, 3, 27, tzinfo=UTC))


def test_the_pairs_are_a_table_in_words() -> None:
    data = _data("both_better", "both")
    rows = {row[0]: row[1:] for row in view(data).pair_rows}
    assert rows["Decisions with a pair"] == (
        "664",
        "0 % have none and count as they would alone",
    )  # the last day is not over
    assert rows["Used at the last look"][0] == "both papers"
    slope = rows["Slope, baseline and candidate"][0].split(" and ")
    assert all(0.8 < float(b) < 1.2 for b in slope)
    assert float(rows["Real return against own paper"][0]) > 0.8
    days, instead = rows["Days that would have told as much without pairs"]
    assert float(days.replace(",", "")) > 83
    assert instead == "instead of 83"
    assert "Pairs" in render_page(data)


def test_shadows_that_are_not_comparable_are_said_with_the_remedy() -> None:
    rows = {row[0]: row[1:] for row in view(_data("slow_shadow_is_set_aside", "both")).pair_rows}
    assert rows["Used at the last look"][0].startswith("none: pairs are not used: an arm fails more often in one role")


@pytest.mark.parametrize("name", ["unpaired", "one_odd_profit_unpaired"])
def test_without_pairs_there_is_no_table(name: str) -> None:
    data = _data(name, "none")
    assert view(data).pair_rows == ()
    assert "Decisions with a pair" not in render_page(data)
