"""The report of an experiment with pairs: what they say, in words and as a figure, recomputed from its rows."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradewind.cli.report_data import ReportData, read_bundle
from tradewind.cli.report_page import render_page, view
from tradewind.cli.report_pairs import pair_rows

FIXTURES = Path(__file__).parents[1] / "fixtures" / "paired"
FIGURE = 'id="paper-title"'

Trade = dict[str, str]


def _bundle(name: str, shadow: str, change: Callable[[Trade], Trade] = dict) -> dict[str, Any]:
    experiment: dict[str, Any] = json.loads((FIXTURES / f"{name}.yaml").read_text())
    experiment["metadata"] |= {"uid": "u1", "namespace": "trading"}
    experiment["status"] = {
        "phase": "Running",
        "t0": "2026-01-01T00:00:00Z",
        "maxHold": "24h",
        "basis": {"shadow": shadow, "boundary": "fixedHorizon", "referenceNotionalUSD": 800},
    }
    with (FIXTURES / f"{name}.csv").open(newline="") as lines:
        rows = [change(row) for row in csv.DictReader(lines)]
    return {"experiment": experiment, "trades": rows}


def _data(name: str, shadow: str, change: Callable[[Trade], Trade] = dict) -> ReportData:
    return read_bundle(_bundle(name, shadow, change), datetime(2026, 3, 27, tzinfo=UTC))


def _hold(row: Trade) -> Trade:
    """The candidate trades nothing, really or on paper."""
    drawn = row["arm"] == "candidate"
    nothing = {"status": "hold", "closed_at": "", "notional_usd": "", "pnl_usd": ""} if drawn else {}
    return row | nothing | {"paper_candidate": "0"}


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
    assert float(rows["Days saved by the pairs"][0].replace(",", "")) == float(days.replace(",", "")) - 83
    assert "Pairs" in render_page(data)


@pytest.mark.parametrize(
    ("name", "shadow"),
    [("both_better", "both"), ("candidate_paper_flatters", "candidate"), ("three_symbols", "both")],
)
def test_the_table_says_what_the_judgement_of_the_same_rows_says(name: str, shadow: str) -> None:
    data = _data(name, shadow)
    pairs = data.judgement().evidence.about_pairs
    assert pairs is not None
    rows = {row[0]: row[1:] for row in view(data).pair_rows}
    assert rows["Decisions with a pair"][0] == f"{pairs.pairs:,}"
    assert rows["Papers went the same way"][0] == f"{100 * pairs.alike:.0f} %"
    assert rows["Slope, baseline and candidate"][0] == f"{pairs.slope[0]:+.2f} and {pairs.slope[1]:+.2f}"
    assert rows["Real return against own paper"][0] == f"{pairs.correlation:+.2f}"
    predictor = {"both": "its own paper", "candidate": "the candidate's paper"}[shadow]
    assert predictor in rows["Slope, baseline and candidate"][1]


@pytest.mark.parametrize(
    ("name", "shadow"), [("both_better", "both"), ("candidate_better_at_ten_percent", "candidate")]
)
def test_the_figure_draws_the_trades_that_the_judgement_speaks_of(name: str, shadow: str) -> None:
    data = _data(name, shadow)
    figure, pairs, end = view(data).paper, data.judgement().evidence.about_pairs, "2026-03-25"
    assert figure is not None
    assert pairs is not None
    together: list[tuple[float, float]] = []
    for cloud, arm in zip(figure.clouds, ("baseline", "candidate"), strict=True):
        rows = [
            row for row in _bundle(name, shadow)["trades"] if row["arm"] == arm and row["decided_at"] < end
        ]  # without the newest day, which is not over
        traded = [row for row in rows if row["status"] == "closed" and row[f"paper_{arm}"]]
        points = [(float(r[f"paper_{arm}"]), float(r["pnl_usd"]) / float(r["notional_usd"])) for r in traded]
        paper, real = np.array(points).T
        slope = float(np.polyfit(paper, real, 1)[0])
        assert cloud.end == f"{len(points)} trades, slope {slope:+.2f}"
        assert f"<b>{cloud.end}</b>" in render_page(data)
        together += points
    assert pairs.correlation == pytest.approx(float(np.corrcoef(np.array(together).T)[0, 1]), abs=1e-12)
    assert figure.points == len(together) > 600


def test_an_odd_profit_does_not_press_the_other_trades_together() -> None:
    figure = view(_data("one_odd_profit", "both")).paper
    assert figure is not None
    assert "1 dot lies beyond the frame and is drawn at its edge." in figure.note
    assert figure.note in unescape(render_page(_data("one_odd_profit", "both")))


def test_a_return_net_of_the_answers_price_is_said_to_be() -> None:
    figure = view(_data("net_of_cost", "both")).paper
    assert figure is not None
    assert figure.up == "real, net of the answer's price, bp"


def test_a_candidate_that_trades_nothing_has_no_trades_anywhere() -> None:
    data = _data("both_better", "both", _hold)
    text, figure, profit = render_page(data), view(data).paper, view(data).profit
    assert figure is not None
    assert profit is not None
    assert [cloud.end == "no trades" for cloud in figure.clouds] == [False, True]
    assert figure.clouds[1].path == ""
    assert figure.clouds[1].line is None
    assert [curve.end == "no trades" for curve in profit.curves] == [False, True]
    assert "candidate): no trades" in profit.summary
    cells = re.findall(r'<th scope="row">(.*?)</th><td>.*?</td><td>(.*?)</td>', text)
    earned = dict(cells)
    for name in ("Trades", "Win rate, %", "Net profit, USD", "Exposure, USD hours", "Mean return of a decision, bp"):
        assert earned[name] == "no trades"
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_without_any_trade_there_is_a_sentence_and_no_empty_figure() -> None:
    def nothing(row: Trade) -> Trade:
        return _hold(row | {"arm": "candidate"}) | {"arm": row["arm"], "paper_baseline": "0"}

    text = render_page(_data("both_better", "both", nothing))
    assert "No closed trade of a complete block has a paper of its own yet" in text
    assert FIGURE not in text


def test_shadows_that_are_not_comparable_are_said_with_the_remedy() -> None:
    rows = {row[0]: row[1:] for row in view(_data("slow_shadow_is_set_aside", "both")).pair_rows}
    used, why = rows["Used at the last look"]
    assert used == "none"
    assert why.startswith("pairs are not used: an arm fails more often in one role")
    assert rows["Days saved by the pairs"] == ("none", "no pair is used")


def test_papers_that_say_nothing_are_said_to_be_set_aside() -> None:
    draw = np.random.default_rng(3)

    def noise(row: Trade) -> Trade:
        papers = draw.normal(0, 0.01, 2)
        return row | {"paper_baseline": f"{papers[0]:.8f}", "paper_candidate": f"{papers[1]:.8f}"}

    rows = {row[0]: row[1:] for row in view(_data("both_better", "both", noise)).pair_rows}
    used, why = rows["Used at the last look"]
    assert used == "none"
    assert why.startswith("pairs are not used: what answers earn on paper says nothing of what trades earn")
    assert rows["Days saved by the pairs"] == ("none", "no pair is used")


def test_pairs_that_cost_days_are_said_to() -> None:
    judged = _data("both_better", "both").judgement()
    facts = judged.evidence.about_pairs
    assert facts is not None
    fewer = replace(judged, evidence=replace(judged.evidence, about_pairs=replace(facts, unpaired_days=79.4)))
    saved = {row[0]: row[1:] for row in pair_rows(fewer, _data("both_better", "both").spec)}["Days saved by the pairs"]
    assert saved == ("none", "the pairs cost 4 of 83 days")


@pytest.mark.parametrize("name", ["unpaired", "one_odd_profit_unpaired"])
def test_without_pairs_there_is_a_sentence_and_no_table(name: str) -> None:
    data = _data(name, "none")
    assert view(data).pair_rows == ()
    text = render_page(data)
    assert "This experiment looks for no pairs" in text
    assert "Decisions with a pair" not in text
    assert FIGURE not in text


def test_before_the_first_pair_there_is_a_sentence_that_says_what_is_missing() -> None:
    blank = {"paper_baseline": "", "paper_candidate": "", "paper_at": "", "shadow_failed": "timeout"}
    text = render_page(_data("both_better", "both", lambda row: row | blank))
    assert "No decision of a complete block has a pair yet. Papers need spec.paper of the Endpoint" in text
    assert FIGURE not in text


def test_the_markets_move_is_no_paper() -> None:
    data = _data("market_better", "none")
    text = unescape(render_page(data))
    assert "The market's move stands in for papers, so there is no paper to draw." in text
    assert FIGURE not in text
    assert "where the market's move changes by 1" in text


@pytest.mark.parametrize("factor", [1e-9, 1e3])
def test_tiny_and_huge_returns_are_drawn_inside_the_frame(factor: float) -> None:
    def scaled(row: Trade) -> Trade:
        sizes = {name: f"{factor * float(row[name] or 0):.20f}" for name in ("pnl_usd", "paper_baseline")}
        return row | sizes | {"paper_candidate": f"{factor * float(row['paper_candidate']):.20f}"}

    data = _data("both_better", "both", scaled)
    text, figure = render_page(data), view(data).paper
    assert figure is not None
    assert not re.search(r"\b(nan|inf|None)\b", text)
    for cloud in figure.clouds:
        for x, y in re.findall(r"M([-\d.e+]+),([-\d.e+]+)h0", cloud.path):
            assert 0 <= float(x) <= 1000
            assert 0 <= float(y) <= figure.height


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_the_first_rows_of_an_experiment_already_have_a_page(rows: int) -> None:
    bundle = _bundle("both_better", "both")
    text = render_page(read_bundle(bundle | {"trades": bundle["trades"][:rows]}, datetime(2026, 1, 2, tzinfo=UTC)))
    assert "No decision of a complete block has a pair yet" in text
    assert not re.search(r"\b(nan|inf|None)\b", text)
