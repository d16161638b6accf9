import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reports import FIXTURES, NOW, PROMOTED, Page, bundle, data, run, written
from tradewind.cli.report_data import read_bundle
from tradewind.cli.report_page import render_page as render
from tradewind.cli.report_text import times

EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


@pytest.mark.parametrize("table", ["better_ladder", "worse", "null", "catastrophe", "selective_better"])
def test_the_page_is_whole_and_reaches_for_nothing_outside(table: str) -> None:
    text = render(data(table))
    assert Page(text).links == []
    assert "http" not in text
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "$" not in re.sub(r"-?[\d,]+ \$", "", text)


def test_equal_data_give_equal_text() -> None:
    assert render(data()) == render(data())


def test_the_verdict_is_told_first_with_its_reason() -> None:
    text = render(data(**PROMOTED))
    assert "Promoted: the candidate becomes champion (Better)" in text
    assert 'class="card verdict good"' in text
    assert "No verdict yet (Running)" in render(data())


def test_the_evidence_is_recomputed_from_the_trades() -> None:
    evidence = data(**PROMOTED).judgement().evidence
    assert evidence.block == EXPECTED["cases"]["better_ladder"]["block"] == 26
    assert f"<b>{evidence.metrics['sharpe'].estimate:+.3f}</b>" in render(data(**PROMOTED))


def test_what_is_no_evidence_is_told_with_what_to_mend() -> None:
    lost = {"followUp": 12, "openedInside": 0, "refused": 40, "late": 0, "decisions": 2000}
    told = data(evidence={"lost": lost})
    told = replace(told, rows=tuple(replace(r, trade=replace(r.trade, corrected=True)) for r in told.rows))
    text = unescape(Page(render(told)).texts)
    assert "40 of 2,000 decisions (2.0 %) are no evidence; above 10 % promotion waits." in text
    assert "Decisions with refused reports40read field and bound" in text
    assert "rows were corrected after they counted" in text
    assert "opened a trade inside" not in text
    assert "0 of 2,016 decisions (0.0 %) are no evidence" in Page(render(data())).texts


def test_the_arms_table_counts_what_the_trades_say() -> None:
    report = data("selective_better")
    baseline, candidate = report.arms()
    with (FIXTURES / "selective_better.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    mine = [row for row in rows if row["arm"] == "candidate"]
    closed = [float(row["pnl_usd"]) for row in mine if row["status"] == "closed"]
    assert (baseline.version, candidate.version) == ("deepseek-api", "v1")
    assert candidate.decisions == len(mine)
    assert candidate.holds == sum(row["status"] == "hold" for row in mine) > 0
    assert candidate.metrics.total_pnl == pytest.approx(sum(closed))
    assert candidate.metrics.win_rate == pytest.approx(sum(pnl > 0 for pnl in closed) / len(closed))


def test_the_baselines_decisions_before_the_start_give_the_budget_and_count_for_no_arm() -> None:
    raw, start = bundle(), datetime(2025, 12, 1, tzinfo=UTC)
    for number in range(60):
        decided = start + timedelta(hours=12 * number)
        prior = {"decision_id": f"p{number}", "arm": "baseline", "candidate_weight": "0.0", "status": "closed"}
        times = {"decided_at": decided.isoformat(), "closed_at": (decided + timedelta(hours=4)).isoformat()}
        raw["trades"].append(prior | times | {"notional_usd": "1000", "pnl_usd": str(10 if number % 2 else -10)})
    before, after = data(), read_bundle(raw, NOW)
    assert [arm.decisions for arm in after.arms()] == [arm.decisions for arm in before.arms()]
    names = [result.guardrail.reason for result in before.judgement().guardrails]
    assert "RiskBudget" not in names
    assert {result.guardrail.reason for result in after.judgement().guardrails} == {*names, "RiskBudget"}


def test_errors_in_the_rows_trip_the_watch_in_the_report() -> None:
    raw = bundle("null", verdict=PROMOTED["verdict"] | {"decision": "rollback"}, phase="RolledBack")
    for number, row in enumerate(raw["trades"]):
        row |= {
            "latency_ms": "40",
            "error_kind": "timeout" if number % 4 == 0 else "",
            "answered_at": row["decided_at"],
        }
    assert read_bundle(raw, NOW).judgement().verdict.reason == "ErrorRate"


@pytest.mark.parametrize("status", [{}, PROMOTED])
def test_no_text_becomes_an_element_or_an_attribute(status: dict[str, Any]) -> None:
    shown: list[str] = []

    def hostile(field: str) -> str:
        shown.append(f"<script>{field}</script>\"onload='x'>&lt;{{{{7*7}}}}")
        return shown[-1]

    decided = {key: dict(value) if key == "verdict" else value for key, value in status.items()}
    if decided:
        decided["verdict"] |= {"message": hostile("message"), "reason": hostile("reason")}
    page = Page(render(written(hostile, **decided)))
    plain = Page(render(written(lambda field: field, **status)))
    assert page.elements == plain.elements
    unseen = ("<script>id<", "<script>first model")
    # The message quotes what the API called itself: it stands there as repr writes it.
    reported = "" if decided else "<script>reported model"
    assert reported in page.texts
    assert not [t for t in shown if not t.startswith((*unseen, "<script>reported")) and t not in page.texts]


@pytest.mark.parametrize("missing", ["candidate", "baseline"])
def test_an_arm_without_trades_is_said_to_have_none(missing: str) -> None:
    raw = bundle()
    raw["trades"] = [row for row in raw["trades"] if row["arm"] != missing]
    text = render(read_bundle(raw, NOW))
    for name in ("Trades", "Win rate, %", "Net profit, USD", "Mean of a trade, USD", "Mean return of a decision, bp"):
        cells = re.findall(rf'<th scope="row">{re.escape(name)}</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>', text)
        assert cells, name
        baseline, candidate, difference = cells[0]
        assert (baseline if missing == "baseline" else candidate) == "no trades"
        assert (candidate if missing == "baseline" else baseline) != "no trades"
        assert difference == ""


def test_the_evidence_of_not_inferior_is_called_so() -> None:
    raw = bundle()
    raw["experiment"]["spec"]["evidence"] = {"objective": "notInferior"}
    report = read_bundle(raw, NOW)
    decides = float(report.judgement().evidence.looks.better[-1])
    assert f"<b>{times(decides)}</b><span>evidence that it is not worse by more than its margin;" in render(report)
    assert "evidence that it is better;" in render(data())


def test_an_artificial_delay_is_called_so() -> None:
    assert "artificial delay of 500 to 2000 ms" in render(data())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"experiment": None}, "experiment: missing from the bundle"),
        ({"trades": [{"decision_id": "a"}]}, "trades: row 1 cannot be read"),
        ({"endpoint": {"kind": "Endpoint"}}, "endpoint: "),
    ],
)
def test_a_bundle_that_cannot_be_read_is_explained(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_bundle(bundle() | change, NOW)


def test_an_experiment_that_has_not_begun_has_no_report() -> None:
    raw = bundle()
    raw["experiment"]["status"] = {"phase": "Pending"}
    with pytest.raises(ValueError, match="has not started"):
        render(read_bundle(raw, NOW))


def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(bundle(**PROMOTED)))
    target = tmp_path / "out.html"
    assert run("v1-or-api", "--bundle", str(tmp_path / "bundle.json"), "-o", str(target)) == 0
    assert target.read_text().startswith("<!doctype html>")
    assert "verdict promote (Better)" in capsys.readouterr().out


def test_the_command_asks_the_cluster_where_no_file_is_given(tmp_path: Path) -> None:
    asked: list[tuple[str, str, str]] = []

    def fetch(kind: str, namespace: str, name: str) -> dict[str, Any]:
        asked.append((kind, namespace, name))
        return bundle()

    assert run("v1-or-api", "-n", "trading", "-o", str(tmp_path / "r.html"), fetch=fetch) == 0
    assert asked == [("ABExperiment", "trading", "v1-or-api")]


def test_the_command_explains_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(bundle()))
    assert run("another", "--bundle", str(tmp_path / "bundle.json"), "-o", str(tmp_path / "x")) == 2
    assert "asked was 'another'" in capsys.readouterr().err
    assert run("any") == 2
    assert "--bundle: missing" in capsys.readouterr().err
