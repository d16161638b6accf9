import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tradewind.cli.report import add_parser
from tradewind.cli.report_data import ReportData, read_bundle
from tradewind.cli.report_page import render_page as render
from tradewind.cli.report_text import times

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stats"
PAIRED = FIXTURES.with_name("paired")
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
PROBE = Path(__file__).with_name("report_probe.html")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def bundle(table: str = "better_ladder", **status: Any) -> dict[str, Any]:
    with (FIXTURES / f"{table}.csv").open(newline="") as lines:
        trades = list(csv.DictReader(lines))
    return {
        "experiment": {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": "ABExperiment",
            "metadata": {"name": "v1-or-api", "namespace": "trading", "uid": "u-1"},
            "spec": {"endpointRef": {"name": "trader"}, "candidate": "v1", "baseline": "deepseek-api"},
            "status": {"phase": "Running", "t0": min(t["decided_at"] for t in trades)[:10] + "T00:00:00Z"} | status,
        },
        "trades": trades,
        "notes": ["Shares <b>matter</b>."],
        "facts": {
            "latency": {
                "standinArtificialDelayMs": [500, 2000],
                "standin": {"requests": 50, "p50Ms": 1251.2, "p99Ms": 2003.0},
                "predictor": {"requests": 50, "p50Ms": 21.5, "p99Ms": 44.0},
            }
        },
    }


PROMOTED: dict[str, Any] = {
    "phase": "Succeeded",
    "verdict": {
        "decision": "promote",
        "reason": "Better",
        "message": "shown",
        "time": "2026-02-20T00:00:00Z",
        "block": 26,
    },
}


def data(table: str = "better_ladder", **status: Any) -> ReportData:
    return read_bundle(bundle(table, **status), NOW)


class Page(HTMLParser):
    """Fails on tags that do not match; keeps elements with their attributes' names, texts and what could leave the file."""

    VOID = frozenset({"meta", "line", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.elements: list[tuple[str, ...]] = []
        self.texts = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.texts += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


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


def written(text: Callable[[str], str], **status: Any) -> ReportData:
    """A report with `text(field)` in each field that people, models or APIs write."""
    raw = bundle(
        guardrails=[{"name": text("guardrail"), "message": text("guardrail message"), "tripped": True}], **status
    )
    for number, row in enumerate(raw["trades"]):
        changed = "reported model" if number > len(raw["trades"]) // 2 else "first model"
        row |= {"answered_at": row["decided_at"], "error_kind": "timeout" if number == 9 else ""}
        row |= {"decision_id": f"{number} {text('id')}", "reported_model": text(changed)}
    other = bundle()["experiment"]
    other["status"]["verdict"] = PROMOTED["verdict"] | {
        "reason": text("other reason"),
        "message": text("other message"),
    }
    external = {"model": text("model"), "baseURL": text("url")}
    raw |= {
        "notes": [text("note")],
        "otherExperiments": [other],
        "modelVersions": [
            {"metadata": {"name": text("version")}, "spec": {"external": external}},
            {
                "metadata": {"name": "v1"},
                "spec": {"adapter": {"sha256": text("sha")}},
                "status": {"phase": text("phase")},
            },
        ],
        "trainingRun": {
            "status": {
                "dataset": {"perLabel": {text("label"): 1}, "sha256": text("data")},
                "result": {"torch": text("torch")},
            }
        },
    }
    report = read_bundle(raw, NOW)
    # Names have a form that no API server and no bundle lets through; the page does not rest on that.
    experiment = report.experiment.model_copy(
        update={
            "metadata": report.experiment.metadata.model_copy(update={"name": text("experiment")}),
            "spec": report.experiment.spec.model_copy(
                update={"candidate": text("candidate"), "baseline": text("baseline")}
            ),
        }
    )
    return replace(report, experiment=experiment)


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


def test_the_cost_of_the_calls_is_told_where_a_price_is_known() -> None:
    arms = [
        {"name": "deepseek-api", "role": "baseline", "costCNY": 12.5},
        {"name": "v1", "role": "candidate", "costCNY": 0.25},
    ]
    text = render(data(arms=arms))
    assert "<b>12.75 CNY</b><span>cost of the calls, baseline and candidate</span>" in text
    assert "<b>0.25 CNY</b><span>cost of the calls, candidate</span>" in render(data(arms=arms[1:]))
    assert '<th scope="row">Cost of the calls, CNY</th><td>12.50</td><td>0.25</td>' in text
    assert "no price is given" in render(data())


def priced(rent: str | None = "30", **changes: Any) -> ReportData:
    """An external baseline at 0.05 CNY a call, an own candidate, and what their calls cost."""
    api = {"baseURL": "https://api.example.com/v1", "model": "m", "pricePerCallCNY": "0.05"}
    own = {"uri": "pvc://models/v1", "sha256": "a" * 64, "baseModel": {"uri": "pvc://models/base"}}
    raw = bundle(arms=[{"name": "deepseek-api", "role": "baseline", "costCNY": 12.5}])
    raw["experiment"]["spec"]["costs"] = {} if rent is None else {"monthlyServerCNY": rent}
    raw["modelVersions"] = [
        {"metadata": {"name": name}, "spec": spec}
        for name, spec in (("deepseek-api", {"external": api}), ("v1", {"adapter": own}))
    ]
    return read_bundle(raw | changes, NOW)


def cells(text: str) -> dict[str, list[str]]:
    """Cells of each row of the page's tables by its heading."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', text)
    return {unescape(name): [unescape(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", rest)] for name, rest in rows}


def test_a_month_is_priced_at_the_experiments_own_rate_of_decisions() -> None:
    report = priced()
    days = (report.until - report.t0).days
    decisions = sum(row.trade.decided_at < report.t0 + timedelta(days=days) for row in report.rows)
    monthly = round(decisions / days * 30)
    shown, text = cells(render(report)), render(report)
    assert shown["Decisions in 30 days"] == [f"{monthly:,}", f"at the rate of the first {days} days"]
    assert shown["deepseek-api alone, CNY"] == [f"{0.05 * monthly:,.2f}", "0.05 CNY a call"]
    assert shown["v1 alone, CNY"] == ["30.00", "rent of its server"]
    saved = 0.05 * monthly - 30
    assert saved > 0
    assert shown["Saved by the candidate, CNY"] == [f"{saved:+,.2f}", "the candidate costs less"]
    assert f"<b>{saved:,.2f} CNY</b><span>what a month costs less if the candidate answers all</span>" in text
    baseline = report.arms()[0]
    assert shown["Cost of a decision, CNY"] == [f"{12.5 / baseline.decisions:.4f}", f"{30 / monthly:.4f}", ""]


def test_a_candidate_that_costs_more_is_said_to() -> None:
    text = render(priced("100000"))
    assert cells(text)["Saved by the candidate, CNY"][1] == "the candidate costs more"
    assert cells(text)["Saved by the candidate, CNY"][0].startswith("-9")
    assert re.search(r"<b>9[\d,.]+ CNY</b><span>what a month costs more if the candidate answers all</span>", text)


def test_a_saving_without_a_price_is_unknown_and_says_which_field_is_missing() -> None:
    text = render(priced(None))
    assert cells(text)["Saved by the candidate, CNY"] == ["unknown", "both prices are needed"]
    assert cells(text)["v1 alone, CNY"][0] == "unknown"
    assert "set costs.monthlyServerCNY" in cells(text)["v1 alone, CNY"][1]
    assert cells(text)["Cost of a decision, CNY"][1] == "unknown"
    assert "<b>unknown</b><span>what a month with the candidate saves</span>" in text


def test_the_server_of_the_endpoint_is_a_price_too() -> None:
    status = bundle()["experiment"]["status"] | {"maxHold": "24h"}
    costs = {"serverUSDPerHour": "0.01", "cnyPerUSD": "7"}
    endpoint = {"metadata": {"name": "trader"}, "spec": {"fallback": "deepseek-api", "costs": costs}}
    experiment = bundle()["experiment"] | {"status": status}
    assert cells(render(priced(None, endpoint=endpoint, experiment=experiment)))["v1 alone, CNY"][0] == "50.40"
    unread = endpoint | {"spec": {"costs": "none"}}
    assert cells(render(priced(None, endpoint=unread, experiment=experiment)))["v1 alone, CNY"][0] == "unknown"


def test_the_price_of_an_answer_is_shown_where_every_row_says_it() -> None:
    raw = bundle()
    for row in raw["trades"]:
        row["answer_cost_usd"] = "0.01" if row["arm"] == "baseline" else "0.0025"
    name = "Price of an answer, USD, as fixed at the start"
    assert cells(render(read_bundle(raw, NOW)))[name] == ["0.01", "0.0025", ""]
    next(row for row in raw["trades"] if row["arm"] == "candidate")["answer_cost_usd"] = ""
    assert cells(render(read_bundle(raw, NOW)))[name] == ["0.01", "", ""]
    assert name not in cells(render(data()))


def test_a_report_of_the_first_day_has_no_month_yet() -> None:
    raw = bundle()
    raw["trades"] = [row for row in raw["trades"] if row["decided_at"] < raw["experiment"]["status"]["t0"][:10] + "T9"]
    text = render(read_bundle(raw, NOW))
    assert "The rate of decisions is known after the first day." in text
    assert "Saved by the candidate, CNY" not in text


def test_the_evidence_of_not_inferior_is_called_so() -> None:
    raw = bundle()
    raw["experiment"]["spec"]["evidence"] = {"objective": "notInferior"}
    report = read_bundle(raw, NOW)
    decides = float(report.judgement().evidence.looks.better[-1])
    assert f"<b>{times(decides)}</b><span>evidence that it is not worse by more than its margin;" in render(report)
    assert "evidence that it is better;" in render(data())


def test_colours_can_be_told_from_their_ground_in_both_schemes() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    schemes = re.findall(r":root \{(.*?)\}", render(data()), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", scheme))
        on_card = ("ink", "soft", "baseline", "candidate", "better", "worse", "even")
        pairs = [(name, "card") for name in on_card] + [(f"{t}-ink", f"{t}-bg") for t in ("good", "bad", "flat")]
        for name, ground in [*pairs, ("soft", "page")]:
            dark, light = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def measure(pages: dict[str, str], widths: tuple[int, ...], folder: Path) -> list[dict[str, Any]]:
    """What a headless Chromium lays out, for each page in a frame of each width; one start for all."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is not installed: `apt-get install chromium`")
    frames = [
        f'<iframe name="{name}" style="border:0;width:{width}px;height:9000px" srcdoc="{escape(page)}"></iframe>'
        for name, page in pages.items()
        for width in widths
    ]
    (folder / "probe.html").write_text(PROBE.read_text().replace("<!-- frames -->", "".join(frames)))
    flags = ["--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder / 'profile'}"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [chromium, *flags, *sandbox, "--dump-dom", (folder / "probe.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answer = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert answer, f"no measurement: exit {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    return list(json.loads(unescape(answer[1])))


def paired(name: str = "v1", *, factor: float = 1.0, idle: bool = False) -> ReportData:
    """An experiment with pairs, its forecast and its prices; `factor` scales returns (papers by 1,000 at most), an idle candidate trades nothing."""
    experiment = json.loads((PAIRED / "both_better.yaml").read_text())
    experiment["metadata"] |= {"uid": "u1", "namespace": "trading"}
    experiment["spec"] |= {"costs": {"monthlyServerCNY": "2500", "baselinePricePerCallCNY": "0.1"}}
    shadows = [{"shadow": "none", "chance": 0.21, "days": 212}, {"shadow": "both", "chance": 0.93, "days": 31}]
    told = {
        "effect": 0.1,
        "chance": 0.61,
        "expectedDaysLeft": 12,
        "detectable": 0.13,
        "decisionsPerDay": 8,
        "block": 60,
    }
    remedy = f"a verdict in 61%; shadow: both would need 31 days instead of 212 ({name})"
    weak = {"type": "Underpowered", "status": "True", "reason": "Underpowered", "message": remedy}
    experiment["status"] = {
        "phase": "Running",
        "t0": "2026-01-01T00:00:00Z",
        "maxHold": "24h",
        "basis": {"shadow": "both", "boundary": "fixedHorizon"},
        "forecast": told | {"shadows": shadows},
        "conditions": [weak | {"lastTransitionTime": "2026-01-25T00:00:00Z"}],
    }
    with (PAIRED / "both_better.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row |= {
            f"paper_{arm}": f"{min(factor, 1e3) * float(row[f'paper_{arm}']):.9f}" for arm in ("baseline", "candidate")
        }
        row |= {"pnl_usd": f"{factor * float(row['pnl_usd']):.6f}"} if row["pnl_usd"] else {}
        if idle and row["arm"] == "candidate":
            row |= {"status": "hold", "closed_at": "", "notional_usd": "", "pnl_usd": ""}
    report = read_bundle({"experiment": experiment, "trades": rows}, NOW)
    spec = report.experiment.spec.model_copy(update={"candidate": name})
    return replace(report, experiment=report.experiment.model_copy(update={"spec": spec}))


@pytest.mark.browser
def test_phones_and_desks_show_it_whole_and_legible(tmp_path: Path) -> None:
    long_name = "lora-" + "deepseek-r1-distill-qwen-" * 2 + "1234567"
    one_arm = bundle(arms=[{"name": "v1", "role": "candidate", "costCNY": 1.5}])
    one_arm["trades"] = [row for row in one_arm["trades"] if row["arm"] == "baseline"]
    pages = {
        "decided": render(data(**PROMOTED)),
        "one arm": render(read_bundle(one_arm, NOW)),
        "long": render(written(lambda _: long_name)),
        "pairs": render(paired()),
        "pairs, long": render(paired(long_name)),
        "pairs, huge": render(paired(factor=9e5)),
        "pairs, idle": render(paired(idle=True)),
    }
    found = measure(pages, (390, 1280), tmp_path)
    assert [(page["name"], page["inner"]) for page in found] == [(name, w) for name in pages for w in (390, 1280)]
    for page in found:
        where = f"{page['name']} at {page['inner']} px"
        assert page["scroll"] <= page["inner"], where
        assert page["requests"] == 0, where
        assert len(page["figures"]) == (4 if page["name"].startswith("pairs") else 3), where
        for figure in page["figures"]:
            assert len(figure) >= 6, where
            for number, text in enumerate(figure):
                left, top, right, bottom = text["box"]
                assert text["px"] >= 10, (where, text)
                assert left >= 0, (where, text)
                assert right <= page["inner"], (where, text)
                covered = [
                    other["text"]
                    for other in figure[number + 1 :]
                    if left < other["box"][2]
                    and other["box"][0] < right
                    and top < other["box"][3]
                    and other["box"][1] < bottom
                ]
                assert not covered, (where, text["text"], covered)
        assert page["tables"], where
        for table in page["tables"]:
            assert table, f"{where}: a table outside of a container that scrolls"
            assert (table["overflow"], table["focus"]) == ("auto", 0), where
            assert table["right"] <= page["inner"], where
            assert table["table"] <= table["holder"], where
            if "told" in table["class"] and page["inner"] == 390 and "long" not in page["name"]:
                assert table["holder"] <= table["room"], (where, table)
        for dots in page["dots"]:
            assert dots["marks"] >= 0, where
            for side, edge, sign in zip(dots["box"], dots["plot"], (1, 1, -1, -1), strict=True):
                assert sign * (side - edge) >= -0.5, (where, dots)
        clouds = [dots for dots in page["dots"] if dots["marks"]]
        assert len(clouds) == (0 if not page["name"].startswith("pairs") else 1 if "idle" in page["name"] else 2), where
        for cloud in clouds:
            assert cloud["round"] >= 3.0, (where, cloud)  # a stroke without length is as wide as its ends


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


def run(*argv: str, fetch: Any = None) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(), fetch)
    args = parser.parse_args(["report", *argv])
    return int(args.run(args))


def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(bundle(**PROMOTED)))
    target = tmp_path / "out.html"
    assert run("v1-or-api", "--bundle", str(tmp_path / "bundle.json"), "-o", str(target)) == 0
    assert target.read_text().startswith("<!doctype html>")
    assert "verdict promote (Better)" in capsys.readouterr().out


def test_the_command_asks_the_cluster_where_no_file_is_given(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(namespace: str, name: str) -> dict[str, Any]:
        asked.append((namespace, name))
        return bundle()

    assert run("v1-or-api", "-n", "trading", "-o", str(tmp_path / "r.html"), fetch=fetch) == 0
    assert asked == [("trading", "v1-or-api")]


def test_the_command_explains_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(bundle()))
    assert run("another", "--bundle", str(tmp_path / "bundle.json"), "-o", str(tmp_path / "x")) == 2
    assert "asked was 'another'" in capsys.readouterr().err
    assert run("any") == 2
    assert "--bundle: missing" in capsys.readouterr().err
