"""The page of a report: its numbers as text, and its figures. Pure: data in, text out; equal data give equal text.

Belongs here: what the templates show and how a number is written. Does not belong here: layout and words around the
numbers (templates/), the geometry of a figure (report_figure.py), where the data come from (report_data.py) and what they
mean (trading). Every text goes through the templates' autoescape; nothing is marked as safe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import exp, isfinite, log
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from tradewind.cli.report_data import ArmLine, ReportData
from tradewind.cli.report_figure import Bound, Figure, Line, draw_figure
from tradewind.trading.evidence import LOSSES, LOST_REASONS, EvidenceSpec, Judgement, Pairing, Status, set_aside
from tradewind.trading.evidence.guardrails import shown
from tradewind.trading.evidence.verdict import primary_evidence

TONES: Final = {"promote": "good", "rollback": "bad"}
WORDS: Final = {
    "promote": "Promoted: the candidate becomes champion",
    "rollback": "Rolled back: the baseline stays",
    "inconclusive": "Inconclusive: the baseline stays",
    "abort": "Aborted: the baseline stays",
}
DECADES: Final = 1 / log(10)
NO_TRADES: Final = "no trades"

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What the templates show beside the data themselves, every number as text.

    Attributes:
        data: names, notes, provenance and other experiments.
        arms: baseline and candidate.
        tone: style of the verdict.
        verdict: with its reason.
        message: why, in a sentence.
        tiles: a number and what it is.
        arm_rows: what, baseline, candidate, difference; "" where there is nothing to say.
        pair_rows: what the pairs say, and in words what that is; empty: the experiment looks for none.
        lost_rows: why decisions are no evidence, how many, and what to mend; empty: all are evidence.
        lost_share: how many of how many, and how many may be.
        look_rows: every seventh look: day, blocks, better, other metric not worse, worse.
        guardrail_rows: name, state, value, threshold, message.
        latency_rows: who, how, requests, median, 99th percentile.
        evidence, share, profit: the figures; None where there is nothing to draw.
    """

    data: ReportData
    arms: tuple[ArmLine, ArmLine]
    tone: str
    verdict: str
    message: str
    tiles: tuple[tuple[str, str], ...]
    arm_rows: tuple[Row, ...]
    pair_rows: tuple[Row, ...]
    lost_rows: tuple[Row, ...]
    lost_share: str
    look_rows: tuple[Row, ...]
    guardrail_rows: tuple[Row, ...]
    latency_rows: tuple[Row, ...]
    evidence: Figure | None
    share: Figure | None
    profit: Figure | None


def render_page(data: ReportData) -> str:
    """The whole HTML document."""
    environment = Environment(
        loader=PackageLoader("tradewind.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(page=view(data))


def view(data: ReportData) -> Page:
    """What the templates show of the data."""
    judgement, arms, status = data.judgement(), data.arms(), data.experiment.status
    verdict = status.verdict
    return Page(
        data=data,
        arms=arms,
        tone=TONES.get(verdict.decision, "flat") if verdict else "flat",
        verdict=f"{WORDS[verdict.decision]} ({verdict.reason})"
        if verdict
        else f"No verdict yet ({status.phase or 'Running'})",
        message=verdict.message if verdict else judgement.verdict.message,
        tiles=_tiles(data, judgement),
        arm_rows=tuple(row for row in _arm_rows(data, judgement, arms) if any(row[1:])),
        pair_rows=_pair_rows(judgement, data.spec),
        lost_rows=_lost_rows(judgement),
        lost_share=_lost_share(data, judgement),
        look_rows=_look_rows(data, judgement),
        guardrail_rows=tuple(
            (g.name, "tripped" if g.tripped else "kept", *(shown(g.name, x) for x in (g.value, g.threshold)), g.message)
            for g in status.guardrails
        ),
        latency_rows=tuple(
            (line.what, line.how, f"{line.requests:,}", f"{line.p50_ms:,.1f}", f"{line.p99_ms:,.1f}")
            for line in data.latency
        ),
        evidence=_evidence_figure(data, judgement),
        share=_share_figure(data),
        profit=_profit_figure(data, arms),
    )


def _tiles(data: ReportData, judgement: Judgement) -> tuple[tuple[str, str], ...]:
    evidence = judgement.evidence
    primary, what = primary_evidence(evidence), evidence.primary.title
    interval = f"{_signed(primary.lower, 3)} to {_signed(primary.upper, 3)}"
    tiles = (
        (_signed(primary.estimate, 3), f"{what}, candidate minus baseline ({interval})"),
        (_times(primary.log_e_better), f"evidence that it is better; {_times(evidence.threshold_promote)} are needed"),
        (_times(primary.log_e_worse), f"evidence that it is worse; {_times(evidence.threshold_rollback)} roll back"),
        (f"{evidence.blocks}", f"blocks of {_hours(data.spec.block_length)}, {len(data.rows):,} decisions"),
    )
    costs = _costs(data)
    if not costs:
        return (*tiles, ("unknown", "cost of the calls; no price is given"))
    return (*tiles, (f"{sum(costs.values()):,.2f} CNY", f"cost of the calls, {' and '.join(costs)}"))


def _costs(data: ReportData) -> dict[str, float]:
    """Cost of an arm's calls in CNY, of those with a known price."""
    return {arm.role: arm.cost_cny for arm in data.experiment.status.arms if arm.cost_cny is not None}


def _arm_rows(data: ReportData, judgement: Judgement, arms: tuple[ArmLine, ArmLine]) -> tuple[Row, ...]:
    difference, costs = data.comparison(), _costs(data)
    both = all(arm.metrics.total_trades for arm in arms)

    def earned(name: str, number: Callable[[ArmLine], float], style: str, diff: float) -> Row:
        """A row of numbers that an arm without trades does not have."""
        cells = (f"{number(arm):{style}}" if arm.metrics.total_trades else NO_TRADES for arm in arms)
        return (name, *cells, f"{diff:+{style.lstrip('+')}}" if both else "")

    def counted(name: str, number: Callable[[ArmLine], str]) -> Row:
        return (name, *(number(arm) for arm in arms), "")

    baseline, candidate = arms
    mean = candidate.metrics.avg_pnl - baseline.metrics.avg_pnl
    points = 100 * difference.win_rate_diff
    return (
        counted("Decisions", lambda arm: f"{arm.decisions:,}"),
        counted("of these hold", lambda arm: _share(arm.holds, arm.decisions)),
        counted("Trades", lambda arm: f"{arm.metrics.total_trades:,}" if arm.metrics.total_trades else NO_TRADES),
        earned("Win rate, %", lambda arm: 100 * arm.metrics.win_rate, ".1f", points),
        earned("Net profit, USD", lambda arm: arm.metrics.total_pnl, "+,.2f", difference.pnl_diff),
        earned("Mean of a trade, USD", lambda arm: arm.metrics.avg_pnl, "+,.3f", mean),
        earned("Sharpe ratio of trades × √252", lambda arm: arm.metrics.sharpe_ratio, "+.2f", difference.sharpe_diff),
        earned("Mean return of a decision, bp", lambda arm: arm.mean_return_bp, "+.2f", candidate.mean_return_bp - baseline.mean_return_bp),
        counted("Latency, median ms", lambda arm: _number(arm.p50_ms)),
        counted("Latency, 99th percentile ms", lambda arm: _number(arm.p99_ms)),
        counted("Errors", lambda arm: f"{arm.errors:,}"),
        counted("Answered by the fallback", lambda arm: f"{arm.fallbacks:,}"),
        ("Exposure, USD hours", *_exposure_hours(judgement, arms), ""),
        ("Cost of the calls, CNY", *(f"{costs[arm.arm]:,.2f}" if arm.arm in costs else "" for arm in arms), ""),
        ("Cost of a decision, CNY", *_cost_of_decisions(arms, costs), ""),
    )  # fmt: skip


def _exposure_hours(judgement: Judgement, arms: tuple[ArmLine, ArmLine]) -> tuple[str, str]:
    """What each arm had in the market, times how long: an arm that holds longer uses more of the capital."""
    first, second = (
        f"{found.notional_hours:,.0f}" if arm.metrics.total_trades else NO_TRADES
        for arm, found in zip(arms, (judgement.exposures.baseline, judgement.exposures.candidate), strict=True)
    )
    return first, second


def _cost_of_decisions(arms: tuple[ArmLine, ArmLine], costs: dict[str, float]) -> tuple[str, str]:
    first, second = (
        f"{costs[arm.arm] / arm.decisions:,.4f}" if arm.arm in costs and arm.decisions else "" for arm in arms
    )
    return first, second


def _pair_rows(judgement: Judgement, spec: EvidenceSpec) -> tuple[Row, ...]:
    """What the pairs say; empty where the experiment looks for none."""
    evidence, pairs = judgement.evidence, judgement.evidence.about_pairs
    if pairs is None:
        return ()
    aside = set_aside(judgement)
    used = {
        Pairing.BOTH: "both papers",
        Pairing.CANDIDATE: "the candidate's paper",
        Pairing.MARKET: "the market's move",
        Pairing.UNPAIRED: "none: " + (aside[1] if aside else "no decision has a pair yet"),
    }[evidence.score]
    days = evidence.blocks * spec.block_length.days
    return (
        (
            "Decisions with a pair",
            f"{pairs.pairs:,}",
            f"{_percent(pairs.share_without)} have none and count as they would alone",
        ),
        ("Used at the last look", used, "what the evidence is sharpened with"),
        (
            "Papers went the same way",
            _percent(pairs.alike),
            "both gained, both lost or both held: how alike the arms are",
        ),
        (
            "Slope, baseline and candidate",
            f"{_signed(pairs.slope[0], 2)} and {_signed(pairs.slope[1], 2)}",
            "what a real return changes by where its paper changes by 1; 1 is a perfect paper, 0 a useless one",
        ),
        ("Real return against own paper", _signed(pairs.correlation, 2), "correlation over the trades"),
        (
            "Days that would have told as much without pairs",
            f"{pairs.unpaired_days:,.0f}" if isfinite(pairs.unpaired_days) else "unknown",
            f"instead of {days}",
        ),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if isfinite(share) else "unknown"


def _lost_rows(judgement: Judgement) -> tuple[Row, ...]:
    counts = judgement.lost.by_reason
    return tuple(
        (f"Decisions {LOSSES[reason].what}", f"{counts[reason]:,}", LOSSES[reason].mend)
        for reason in LOST_REASONS
        if counts.get(reason)
    )


def _lost_share(data: ReportData, judgement: Judgement) -> str:
    lost, corrected = judgement.lost, judgement.corrected
    return (
        f"{lost.lost:,} of {lost.decisions:,} decisions ({100 * lost.share:.1f} %) are no evidence; above "
        f"{100 * data.spec.max_lost_share:g} % promotion waits. Decisions that continue a position are not counted. "
        f"{corrected:,} {'row was' if corrected == 1 else 'rows were'} corrected after {'it' if corrected == 1 else 'they'} "
        "counted: labels and accounts follow the correction, the evidence keeps what was known in time."
    )


def _look_rows(data: ReportData, judgement: Judgement) -> tuple[Row, ...]:
    looks = judgement.evidence.looks
    count = len(looks.better)
    shown = sorted({*range(6, count, 7), *([count - 1] if count else [])})
    columns = (looks.better, np.minimum.reduce([*looks.not_worse.values()]), looks.worse)
    return tuple(
        (
            f"{data.t0 + (data.first_block + k + 1) * data.spec.block_length:%Y-%m-%d}",
            str(data.first_block + k + 1),
            *(_times(float(column[k])) for column in columns),
        )
        for k in shown
    )


# --- figures ---------------------------------------------------------------------------------------------------------


def _evidence_figure(data: ReportData, judgement: Judgement) -> Figure | None:
    """Evidence on a scale of decades: 20 times is 1.3."""
    evidence, looks = judgement.evidence, judgement.evidence.looks
    length = _days(data.spec.block_length)
    days = [(data.first_block + k + 1) * length for k in range(len(looks.better))]
    others = [
        Line(f"{metric.title} not worse", "even", days, (looks.not_worse[metric.name] * DECADES).tolist())
        for metric in data.spec.others
    ]
    promote, rollback = evidence.threshold_promote, evidence.threshold_rollback
    return draw_figure(
        "Evidence after each block, as a multiple of even odds",
        data.t0,
        [
            Line("better", "better", days, (looks.better * DECADES).tolist()),
            *others,
            Line("worse", "worse", days, (looks.worse * DECADES).tolist()),
        ],
        bounds=[
            Bound(f"{_times(promote)}: promote", "better", promote * DECADES),
            Bound(f"{_times(rollback)}: roll back", "worse", rollback * DECADES),
        ],
        tick=lambda decade: _times(decade / DECADES),
        whole_ticks=True,
        mark=None if evidence.block is None else (evidence.block + 1) * length,
    )


def _share_figure(data: ReportData) -> Figure | None:
    weights: dict[int, float] = {}
    for row in data.rows:
        weights[(row.trade.decided_at - data.t0) // data.spec.block_length] = row.trade.candidate_weight
    length = _days(data.spec.block_length)
    blocks = sorted(weights)
    xs = [edge for block in blocks for edge in (block * length, (block + 1) * length)]
    ys = [100 * weights[block] for block in blocks for _ in range(2)]
    return draw_figure(
        "Candidate's share of decisions, in percent",
        data.t0,
        [Line("candidate", "candidate", xs, ys)],
        tick=lambda share: f"{share:g} %",
        reach=(0, 50),
        height=150,
    )


def _profit_figure(data: ReportData, arms: tuple[ArmLine, ArmLine]) -> Figure | None:
    lines = []
    last = max(((row.trade.closed_at or row.trade.decided_at) for row in data.rows), default=data.t0)
    for arm in arms:
        closed = sorted(
            (row.trade.closed_at, row.trade.pnl_usd or 0.0)
            for row in data.rows
            if row.trade.arm is arm.arm and row.trade.status is Status.CLOSED and row.trade.closed_at is not None
        )
        if not closed:
            continue
        sums = [0.0]
        for _, pnl in closed:
            sums.append(sums[-1] + pnl)
        days = [(when - data.t0) / timedelta(days=1) for when in (data.t0, *(when for when, _ in closed), last)]
        lines.append(Line(f"{arm.version} ({arm.arm.value})", arm.arm.value, days, [*sums, sums[-1]]))
    return draw_figure("Cumulated net profit, in USD", data.t0, lines, tick=lambda usd: f"{usd:,g} $", value=_usd)


# --- numbers as text -------------------------------------------------------------------------------------------------


def _days(length: timedelta) -> float:
    return length / timedelta(days=1)


def _hours(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):g} h"


def _usd(amount: float) -> str:
    return f"{amount:+,.2f} $"


def _times(log_e: float) -> str:
    """Evidence as a multiple of even odds: e to the logarithm."""
    if not isfinite(log_e):
        return "none"
    value = exp(min(log_e, 300.0))
    if not 1e-3 <= value < 1e6:
        return f"10^{log_e * DECADES:.0f}×"
    return f"{value:,.0f}×" if value >= 1000 else f"{value:.3g}×"


def _signed(number: float, digits: int) -> str:
    return f"{number:+.{digits}f}" if isfinite(number) else "unknown"


def _number(number: float | None) -> str:
    return "" if number is None or not isfinite(number) else f"{number:,.4g}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
