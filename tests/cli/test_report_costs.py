"""The report's costs: of the calls, of a decision, and of a month with one arm alone."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

from reports import NOW, bundle, data
from tradewind.cli.report_data import ReportData, read_bundle
from tradewind.cli.report_page import render_page as render


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
