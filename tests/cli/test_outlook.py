"""What `tradewind get` and the report say of forecast and pairs, of the statuses that the operator writes."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tradewind.cli.experiment_file import experiment_of
from tradewind.cli.objects import render
from tradewind.cli.report_data import read_bundle
from tradewind.cli.report_page import render_page, view
from tradewind.core.ab_experiment.forecast import facts_of, underpowered
from tradewind.core.evidence import evidence_status
from tradewind.trading.evidence import TradeTable, judge
from tradewind.trading.evidence.forecast import Forecast, ForecastFacts, forecast

FIXTURES = Path(__file__).parents[1] / "fixtures" / "paired"
T0 = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 25, tzinfo=UTC)

Json = dict[str, Any]


def experiment(name: str, *, shadow: str = "both", before: bool = False, **evidence: Any) -> tuple[Json, Forecast]:
    """An experiment whose status has evidence and forecast as the operator writes them, at NOW or before its start."""
    body: Json = json.loads((FIXTURES / f"{name}.yaml").read_text())
    body["metadata"] |= {"uid": "u1", "namespace": "trading"}
    body["spec"]["evidence"] |= evidence
    basis = {"shadow": shadow, "boundary": "fixedHorizon"}
    body["status"] = {"phase": "Running", "t0": "2026-01-01T00:00:00Z", "maxHold": "24h", "basis": basis}
    spec = experiment_of(body).spec
    with (FIXTURES / f"{name}.csv").open(newline="") as lines:
        judgement = judge(TradeTable.from_csv(lines), T0, NOW, spec)
    facts = ForecastFacts(8.0) if before else facts_of(judgement.evidence, spec)
    assert facts is not None
    found = forecast(spec, facts)
    fact = underpowered(spec, found)
    told = {
        "effect": found.effect,
        "chance": found.chance,
        "expectedDaysLeft": found.expected_days_left,
        "detectable": found.detectable,
        "decisionsPerDay": facts.decisions_per_day,
        "shadows": [{"shadow": s, "chance": p.chance, "days": p.days} for s, p in found.by_shadow.items()],
    }
    told |= {"days": found.days} if found.days < 1e9 else {}
    told |= {} if before else {"block": judgement.evidence.blocks}
    body["status"] |= {
        "forecast": told,
        "conditions": [
            {
                "type": fact.type,
                "status": fact.status.value,
                "reason": str(fact.reason),
                "message": fact.message,
                "lastTransitionTime": "2026-01-25T00:00:00Z",
            }
        ],
    }
    if not before:
        status = evidence_status(judgement, spec).model_dump(mode="json", by_alias=True, exclude_none=True)
        body["status"]["evidence"] = status
    return body, found


def report_of(body: Json, name: str) -> Any:
    with (FIXTURES / f"{name}.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["decided_at"] < NOW.isoformat()]
    return read_bundle({"experiment": body, "trades": rows}, NOW)


def get(body: Json) -> str:
    return render([body], full=True)


def test_the_forecast_is_told_with_what_it_is_of() -> None:
    body, found = experiment("both_equal_futile")
    text, blocks = get(body), body["status"]["evidence"]["blocks"]
    assert (
        f"forecast, from the evidence of {blocks} blocks: a difference of 0.1 leads to a verdict within 84d in "
        f"{100 * found.chance:.0f} %"
    ) in text
    assert f"half of such experiments have theirs by day {found.days:.0f}; " in text
    assert f"; {found.expected_days_left:.0f} days left on average" in text
    rows = {row[0]: row[1:] for row in view(report_of(body, "both_equal_futile")).outlook_rows}
    chance, of = rows["Chance of a verdict within 84d"]
    assert chance == f"{100 * found.chance:.0f} %"
    assert of.endswith(f"from the evidence of {blocks} blocks")
    assert rows["Days left, on average"][0] == f"{found.expected_days_left:.0f}"
    assert rows["Smallest difference found"] == (f"{found.detectable:.2g}", "by maxDuration with a chance of 80 %")
    for shadow, prospect in found.by_shadow.items():
        assert rows[f"The same with shadow: {shadow}"][0] == f"{100 * prospect.chance:.0f} %"


def test_before_the_start_it_is_of_what_the_baseline_did() -> None:
    body, _ = experiment("both_better", before=True)
    assert "forecast, from what the baseline did before the start: " in get(body)
    assert "from what the baseline did before the start" in render_page(report_of(body, "both_better"))


def test_after_the_verdict_it_is_no_promise_any_more() -> None:
    body, _ = experiment("both_better")
    verdict = {"decision": "promote", "reason": "Better", "message": "", "time": "2026-01-25T00:00:00Z", "block": 17}
    body["status"]["verdict"] = verdict
    assert "forecast before the verdict, from the evidence of" in get(body)
    rows = {row[0]: row[1:] for row in view(report_of(body, "both_better")).outlook_rows}
    assert "Days left, on average" not in rows
    assert rows["Days that were left, on average"][1].endswith("the last forecast before the verdict")


def test_an_underpowered_experiment_says_what_would_help() -> None:
    body, found = experiment("unpaired", shadow="none", before=True, minEffect="0.05")
    assert found.underpowered
    [condition] = body["status"]["conditions"]
    remedy = condition["message"]
    assert "would need" in remedy
    assert f"underpowered: {remedy}" in get(body)
    text = render_page(report_of(body, "unpaired"))
    assert f"<strong>Underpowered.</strong> {remedy}" in text
    condition["status"] = "False"
    assert "underpowered: " not in get(body)
    assert "Underpowered." not in render_page(report_of(body, "unpaired"))


def test_a_day_that_never_comes_is_said_as_such() -> None:
    body, _ = experiment("unpaired", shadow="none", before=True)
    forecast = body["status"]["forecast"]
    for part in (forecast, *forecast["shadows"]):
        part.pop("days", None)
    for name in ("chance", "expectedDaysLeft", "detectable"):
        forecast.pop(name)
    assert "half of such experiments have theirs after more than 3,650 days" in get(body)
    rows = {row[0]: row[1:] for row in view(report_of(body, "unpaired")).outlook_rows}
    assert rows["Day of the verdict"][0] == "none in 3,650"
    assert rows["Smallest difference found"][0] == "none"


def test_with_not_inferior_it_is_made_for_equal_arms() -> None:
    body, found = experiment("not_inferior_equal")
    assert found.effect == 0.0
    assert ": arms that are equal lead to a verdict within" in get(body)
    rows = {row[0]: row[1:] for row in view(report_of(body, "not_inferior_equal")).outlook_rows}
    assert rows["Difference of interest"][0] == "none"
    assert "Smallest difference found" not in rows


def test_without_a_forecast_nothing_is_made_up() -> None:
    body, _ = experiment("both_better")
    del body["status"]["forecast"]
    assert "forecast" not in get(body)
    assert view(report_of(body, "both_better")).outlook_rows == ()
    assert "There is no forecast in the status" in render_page(report_of(body, "both_better"))


def test_get_tells_what_the_pairs_say() -> None:
    body, _ = experiment("both_better")
    pairs = body["status"]["evidence"]["pairs"]
    text = get(body)
    assert f"pairs: {pairs['number']} decisions have one (0 % have none), used at the last look: both papers" in text
    assert f"papers went the same way in {100 * pairs['alike']:.0f} %" in text
    assert f"slope of baseline and candidate {pairs['slopeBaseline']:+.2f} and {pairs['slopeCandidate']:+.2f}" in text
    assert f"real returns and papers correlate by {pairs['correlation']:+.2f}" in text
    days = body["status"]["evidence"]["blocks"]
    assert f"without pairs as much would have taken {pairs['unpairedDays']:.0f} days instead of {days}" in text


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("dependent", "not used: an arm's failures depend on whether it was drawn"),
        ("uninformative", "not used: papers say nothing of what trades earn"),
    ],
)
def test_get_says_why_pairs_are_not_used(why: str, says: str) -> None:
    body, _ = experiment("both_better")
    body["status"]["evidence"]["pairs"]["setAside"] = why
    assert says in get(body)
    assert "without pairs as much" not in get(body)


def test_get_says_that_there_is_no_pair_yet() -> None:
    body, _ = experiment("both_better")
    body["status"]["evidence"] |= {"pairs": {"number": 0}, "score": "unpaired"}
    assert "pairs: 0 decisions have one (unknown have none), used at the last look: none" in get(body)


def test_get_is_silent_about_pairs_where_none_are_looked_for() -> None:
    body, _ = experiment("unpaired", shadow="none")
    assert "pairs:" not in get(body)


@pytest.mark.parametrize("closed", [None, 0])
def test_an_arm_without_trades_has_no_win_rate(closed: int | None) -> None:
    body, _ = experiment("both_better")
    idle = {"name": "v1", "role": "candidate", "decisions": 9, "winRate": 0.0, "totalPnl": 0.0, "avgPnl": 0.0}
    idle |= {} if closed is None else {"closedTrades": closed}
    busy = {"name": "api", "role": "baseline", "decisions": 9, "closedTrades": 4, "winRate": 0.0, "totalPnl": -2.5}
    body["status"] |= {"arms": [busy, idle], "comparison": {"winRateDiff": 0.0, "pnlDiff": 2.5, "sharpeDiff": 0.0}}
    lines = get(body).splitlines()
    assert next(line for line in lines if "candidate" in line and " v1 " in line).count("no trades") == 4
    assert next(line for line in lines if " api " in line).count("no trades") == 0
    assert "  closed trades, candidate minus baseline: an arm has no trades" in lines
    idle |= {"closedTrades": 2}
    assert "win rate +0.0000, pnl +2.50 USD" in get(body)


def test_a_spec_that_cannot_be_read_is_shown_all_the_same() -> None:
    body, _ = experiment("both_better")
    body["spec"]["evidence"]["maxDuration"] = "soon"
    assert "ABExperiment both-better" in get(body)
