"""The page of a report: figures, tables, one template. Pure: data in, text out; equal data give equal text.

Belongs here: layout and words. Does not belong here: the drawing of a figure (report_figure.py), where the data come from
(report_data.py) and what they mean (trading).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape
from importlib.resources import files
from math import exp, isfinite
from string import Template
from typing import Final

import numpy as np

from tradewind.cli.report_data import ArmLine, ReportData
from tradewind.cli.report_figure import Bound, Line, draw_figure
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import Judgement, MetricEvidence, Status

TONES: Final = {"promote": "good", "rollback": "bad"}
WORDS: Final = {
    "promote": "Promoted: the candidate becomes champion",
    "rollback": "Rolled back: the baseline stays",
    "inconclusive": "Inconclusive: the baseline stays",
    "abort": "Aborted: the baseline stays",
}
DECADES: Final = 1 / np.log(10)


def render_page(data: ReportData) -> str:
    """The whole HTML document."""
    judgement = data.judgement()
    verdict = data.experiment.status.verdict
    baseline, candidate = data.arms()
    page = Template(files("tradewind.cli").joinpath("report.html").read_text(encoding="utf-8"))
    phase = str(data.experiment.status.phase or "Running")
    return page.substitute(
        title=escape(f"Experiment {data.experiment.name}"),
        heading=escape(f"{candidate.version} against {baseline.version}"),
        lead=escape(
            f"Experiment {data.experiment.name} on endpoint {data.experiment.spec.endpoint_ref.name}, "
            f"{data.experiment.spec.mode.value.lower()} from {_day(data.t0)} to {_day(data.until)}"
        ),
        tone=TONES.get(verdict.decision, "flat") if verdict else "flat",
        verdict=escape(f"{WORDS[verdict.decision]} ({verdict.reason})" if verdict else f"No verdict yet ({phase})"),
        message=escape(verdict.message if verdict else judgement.verdict.message),
        tiles=_tiles(data, judgement),
        sections="\n".join(filter(None, _sections(data, judgement))),
        footer=escape(
            f"Generated {data.generated_at:%Y-%m-%d %H:%M} UTC from {len(data.rows)} decisions. Every number of the "
            "evidence is recomputed from the trade table; `tradewind evaluate` gives the same."
        ),
    )


def _tiles(data: ReportData, judgement: Judgement) -> str:
    evidence = judgement.evidence
    primary = evidence.sharpe if evidence.primary.value == "sharpe" else evidence.win_rate
    what = "per-decision Sharpe" if evidence.primary.value == "sharpe" else "win rate"
    tiles = (
        (_signed(primary.estimate, 3), f"{what}, candidate minus baseline ({_interval(primary)})"),
        (_times(primary.log_e_better), f"evidence that it is better; {_times(evidence.threshold_promote)} are needed"),
        (_times(primary.log_e_worse), f"evidence that it is worse; {_times(evidence.threshold_rollback)} roll back"),
        (f"{evidence.blocks}", f"blocks of {_hours(data.spec.block_length)}, {len(data.rows):,} decisions"),
    )
    return "".join(
        f'<div class="tile"><b>{escape(number)}</b><span>{escape(text)}</span></div>' for number, text in tiles
    )


def _sections(data: ReportData, judgement: Judgement) -> Iterable[str]:
    yield _card(
        "Evidence",
        "Looked at after each block and valid at every look: a curve that crosses its dashed line decides, and a "
        "candidate that is no better crosses it by chance less often than the level says.",
        _evidence_figure(data, judgement) + _evidence_table(data, judgement),
    )
    yield _card(
        "Share of decisions",
        "Probability that a decision is drawn for the candidate, as it was committed before any arm was asked.",
        _weight_figure(data),
    )
    yield _card(
        "Net profit of each arm",
        "Sum over the decisions that each arm was drawn for. The arms get different shares, so the curves do not compare "
        "them; the evidence does.",
        _equity_figure(data),
    )
    yield _card("Arms", "Shown, never tested: pooled numbers are confounded by the moving shares.", _arms_table(data))
    if data.latency:
        rows = [
            (line.what, line.how, str(line.requests), f"{line.p50_ms:,.1f}", f"{line.p99_ms:,.1f}")
            for line in data.latency
        ]
        yield _card(
            "Latency",
            "Outside of the experiment.",
            _table(("Who", "How", "Requests", "Median ms", "99th percentile ms"), rows, frozenset({1})),
        )
    guardrails = data.experiment.status.guardrails
    if guardrails:
        rows = [
            (g.name, "tripped" if g.tripped else "kept", _number(g.value), _number(g.threshold), g.message)
            for g in guardrails
        ]
        yield _card("Guardrails", "", _table(("Guardrail", "State", "Value", "Trips at", ""), rows, frozenset({1, 4})))
    if data.others:
        yield _card("Other experiments", "", _words([(name, f"{what}. {why}") for name, what, why in data.others]))
    if data.provenance:
        yield _card("Provenance", "", _words(data.provenance))
    if data.notes:
        yield _card("What to know", "", "".join(f"<p>{escape(note)}</p>" for note in data.notes))


# --- figures ---------------------------------------------------------------------------------------------------------


def _evidence_figure(data: ReportData, judgement: Judgement) -> str:
    """Evidence on a scale of decades: 20 times is 1.3."""
    evidence, looks = judgement.evidence, judgement.evidence.looks
    days = _block_ends(data, len(looks.better))
    other = "win rate not worse" if evidence.primary.value == "sharpe" else "Sharpe not worse"
    return draw_figure(
        "Evidence after each block, as a multiple",
        data.t0,
        [
            Line("better", "better", days, looks.better * DECADES),
            Line(other, "even", days, looks.not_worse * DECADES, dash="2 4"),
            Line("worse", "worse", days, looks.worse * DECADES, dash="8 4"),
        ],
        bounds=[
            Bound(f"{_times(evidence.threshold_promote)}: promote", "better", evidence.threshold_promote * DECADES),
            Bound(f"{_times(evidence.threshold_rollback)}: roll back", "worse", evidence.threshold_rollback * DECADES),
        ],
        tick=lambda decade: f"{10**decade:g}\u00d7",
        whole_ticks=True,
        mark=None if evidence.block is None else (evidence.block + 1) * _days(data.spec.block_length),
    )


def _weight_figure(data: ReportData) -> str:
    weights: dict[int, float] = {}
    for row in data.rows:
        weights[(row.trade.decided_at - data.t0) // data.spec.block_length] = row.trade.candidate_weight
    length = _days(data.spec.block_length)
    blocks = sorted(weights)
    xs = [edge for block in blocks for edge in (block * length, (block + 1) * length)]
    ys = [100 * weights[block] for block in blocks for _ in range(2)]
    return draw_figure(
        "Candidate's share of decisions in percent",
        data.t0,
        [Line("candidate", "candidate", xs, ys)],
        tick=lambda share: f"{share:g} %",
        floor_at=0,
        ceiling_at=50,
        height=190,
    )


def _equity_figure(data: ReportData) -> str:
    lines = []
    last = max(((row.trade.closed_at or row.trade.decided_at) for row in data.rows), default=data.t0)
    for arm in Arm:
        closed = sorted(
            (row.trade.closed_at, row.trade.pnl_usd or 0.0)
            for row in data.rows
            if row.trade.arm is arm and row.trade.status is Status.CLOSED and row.trade.closed_at is not None
        )
        xs = [0.0, *((when - data.t0) / timedelta(days=1) for when, _ in closed), (last - data.t0) / timedelta(days=1)]
        ys = [0.0, *np.cumsum([pnl for _, pnl in closed]).tolist()]
        ys.append(ys[-1])
        lines.append(Line(arm.value, arm.value, xs, ys))
    return draw_figure("Cumulated net profit in USD", data.t0, lines, tick=lambda usd: f"{usd:,.0f} $")


# --- tables ----------------------------------------------------------------------------------------------------------


def _arms_table(data: ReportData) -> str:
    arms = data.arms()
    difference = data.comparison()
    rows: list[tuple[str, ...]] = [
        ("Decisions", *(f"{arm.decisions:,}" for arm in arms), ""),
        ("of these hold", *(_share(arm.holds, arm.decisions) for arm in arms), ""),
        ("Trades", *(f"{arm.metrics.total_trades:,}" for arm in arms), ""),
        ("Win rate", *(f"{100 * arm.metrics.win_rate:.1f} %" for arm in arms), f"{100 * difference.win_rate_diff:+.1f}"),
        ("Net profit, USD", *(f"{arm.metrics.total_pnl:+,.2f}" for arm in arms), f"{difference.pnl_diff:+,.2f}"),
        ("Mean of a trade, USD", *(f"{arm.metrics.avg_pnl:+,.3f}" for arm in arms), _diff(arms, "avg")),
        ("Sharpe ratio of trades \u00d7 \u221a252", *(f"{arm.metrics.sharpe_ratio:+.2f}" for arm in arms), f"{difference.sharpe_diff:+.2f}"),
        ("Mean return of a decision, bp", *(f"{arm.mean_return_bp:+.2f}" for arm in arms), _diff(arms, "bp")),
        ("Latency, median ms", *(_number(arm.p50_ms) for arm in arms), ""),
        ("Latency, 99th percentile ms", *(_number(arm.p99_ms) for arm in arms), ""),
        ("Errors", *(f"{arm.errors:,}" for arm in arms), ""),
        ("Answered by the fallback", *(f"{arm.fallbacks:,}" for arm in arms), ""),
    ]  # fmt: skip
    rows = [row for row in rows if any(row[1:])]
    heads = "".join(
        f'<th scope="col"><span class="dot" style="background:var(--{arm.arm.value})"></span>{escape(arm.version)}</th>'
        for arm in arms
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr><th></th>{heads}<th scope="col">Difference</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _evidence_table(data: ReportData, judgement: Judgement) -> str:
    looks = judgement.evidence.looks
    count = len(looks.better)
    shown = sorted({*range(6, count, 7), *([count - 1] if count else [])})
    rows = [
        (
            _day(data.t0 + (k + 1) * data.spec.block_length),
            str(k + 1),
            _times(float(looks.better[k])),
            _times(float(looks.not_worse[k])),
            _times(float(looks.worse[k])),
        )
        for k in shown
    ]
    table = _table(("End of block", "Blocks", "Better", "Other metric not worse", "Worse"), rows)
    return f"<details><summary>The same as numbers, every seventh block</summary>{table}</details>" if rows else ""


def _card(title: str, hint: str, body: str) -> str:
    told = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f'<section class="card"><h2>{escape(title)}</h2>{told}{body}</section>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: frozenset[int] = frozenset()) -> str:
    """A table of numbers; the columns in `words` hold text and are set to the left."""
    head = "".join(f'<th scope="col"{_left(k, words)}>{escape(text)}</th>' for k, text in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{_left(k, words)}>{escape(cell)}</td>" for k, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _left(column: int, words: frozenset[int]) -> str:
    return ' class="word"' if column in words else ""


def _words(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows)
    return f'<table class="words"><tbody>{body}</tbody></table>'


# --- numbers as text -------------------------------------------------------------------------------------------------


def _block_ends(data: ReportData, count: int) -> list[float]:
    return [(k + 1) * _days(data.spec.block_length) for k in range(count)]


def _days(length: timedelta) -> float:
    return length / timedelta(days=1)


def _hours(length: timedelta) -> str:
    hours = length / timedelta(hours=1)
    return f"{hours:g} h"


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"


def _times(log: float) -> str:
    """Evidence as a multiple of even odds: e to the logarithm."""
    if not isfinite(log):
        return "none"
    value = exp(min(log, 300.0))
    return f"{value:.3g}\u00d7" if 1e-3 <= value < 1e6 else f"10^{log * DECADES:.0f}\u00d7"


def _interval(metric: MetricEvidence) -> str:
    return f"{_signed(metric.lower, 3)} to {_signed(metric.upper, 3)}"


def _signed(number: float, digits: int) -> str:
    return f"{number:+.{digits}f}" if isfinite(number) else "unknown"


def _number(number: float | None) -> str:
    return "" if number is None or not isfinite(number) else f"{number:,.4g}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _diff(arms: Sequence[ArmLine], what: str) -> str:
    baseline, candidate = arms
    if what == "avg":
        return f"{candidate.metrics.avg_pnl - baseline.metrics.avg_pnl:+,.3f}"
    return f"{candidate.mean_return_bp - baseline.mean_return_bp:+.2f}"
