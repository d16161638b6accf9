"""The page of a report: what the templates show, as text. Pure: data in, text out; equal data give equal text.

Belongs here: the parts of the page that have no module of their own. Does not belong here: layout and words around the
numbers (templates/), how a number is written (report_text.py), figures (report_charts.py), pairs (report_pairs.py), costs
(report_costs.py), the forecast (outlook.py), where the data come from (report_data.py) and what they mean (trading). Every
text goes through the templates' autoescape; nothing is marked as safe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from tradewind.cli.outlook import outlook_rows, underpowered
from tradewind.cli.report_charts import evidence_figure, profit_figure, share_figure
from tradewind.cli.report_costs import cost_rows, cost_tile, month_rows, saving_tile
from tradewind.cli.report_data import ArmLine, ReportData
from tradewind.cli.report_figure import Figure
from tradewind.cli.report_pairs import no_pairs, pair_rows, paper_figure
from tradewind.cli.report_scatter import Scatter
from tradewind.cli.report_text import NO_TRADES, Row, in_hours, number, part_of, signed, times
from tradewind.core.costs import Month
from tradewind.trading.evidence import LOSSES, LOST_REASONS, Judgement
from tradewind.trading.evidence.guardrails import shown
from tradewind.trading.evidence.verdict import primary_evidence

TONES: Final = {"promote": "good", "rollback": "bad"}
WORDS: Final = {
    "promote": "Promoted: the candidate becomes champion",
    "rollback": "Rolled back: the baseline stays",
    "inconclusive": "Inconclusive: the baseline stays",
    "abort": "Aborted: the baseline stays",
}


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
        no_pairs: why nothing is drawn of them; "": it is, or there is nothing to draw yet.
        month_rows: what 30 days cost with one arm alone, and what the candidate saves; empty: the rate is not known yet.
        outlook_rows: what the forecast says; empty: there is none.
        underpowered: why the experiment will hardly find what is of interest, and the remedy; "": it will, or nobody said.
        lost_rows: why decisions are no evidence, how many, and what to mend; empty: all are evidence.
        lost_share: how many of how many, and how many may be.
        look_rows: every seventh look: day, blocks, better, other metric not worse, worse.
        guardrail_rows: name, state, value, threshold, message.
        latency_rows: who, how, requests, median, 99th percentile.
        evidence, share, profit, paper: the figures; None where there is nothing to draw.
    """

    data: ReportData
    arms: tuple[ArmLine, ArmLine]
    tone: str
    verdict: str
    message: str
    tiles: tuple[tuple[str, str], ...]
    arm_rows: tuple[Row, ...]
    pair_rows: tuple[Row, ...]
    no_pairs: str
    month_rows: tuple[Row, ...]
    outlook_rows: tuple[Row, ...]
    underpowered: str
    lost_rows: tuple[Row, ...]
    lost_share: str
    look_rows: tuple[Row, ...]
    guardrail_rows: tuple[Row, ...]
    latency_rows: tuple[Row, ...]
    evidence: Figure | None
    share: Figure | None
    profit: Figure | None
    paper: Scatter | None


def environment() -> Environment:
    """The templates; every text is escaped, and a name that is not given is an error."""
    return Environment(
        loader=PackageLoader("tradewind.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(data: ReportData) -> str:
    """The whole HTML document."""
    return environment().get_template("report.html.jinja").render(page=view(data))


def view(data: ReportData) -> Page:
    """What the templates show of the data."""
    judgement, arms, status = data.judgement(), data.arms(), data.experiment.status
    verdict, month = status.verdict, data.month()
    alone = no_pairs(judgement, data.spec)
    return Page(
        data=data,
        arms=arms,
        tone=TONES.get(verdict.decision, "flat") if verdict else "flat",
        verdict=f"{WORDS[verdict.decision]} ({verdict.reason})"
        if verdict
        else f"No verdict yet ({status.phase or 'Running'})",
        message=verdict.message if verdict else judgement.verdict.message,
        tiles=_tiles(data, judgement, month),
        arm_rows=tuple(row for row in _arm_rows(data, judgement, arms, month) if any(row[1:])),
        pair_rows=pair_rows(judgement, data.spec),
        no_pairs=alone,
        month_rows=month_rows(arms, month),
        outlook_rows=outlook_rows(data.experiment.spec, status),
        underpowered=underpowered(status) or "",
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
        evidence=evidence_figure(data, judgement),
        share=share_figure(data),
        profit=profit_figure(data, arms),
        paper=None if alone else paper_figure(data, arms),
    )


def _tiles(data: ReportData, judgement: Judgement, month: Month | None) -> tuple[tuple[str, str], ...]:
    evidence = judgement.evidence
    primary, what = primary_evidence(evidence), evidence.primary.title
    interval = f"{signed(primary.lower, 3)} to {signed(primary.upper, 3)}"
    better = "not worse by more than its margin" if data.spec.not_inferior else "better"
    log_e = float(evidence.looks.better[-1]) if len(evidence.looks.better) else 0.0
    tiles = (
        (signed(primary.estimate, 3), f"{what}, candidate minus baseline ({interval})"),
        (times(log_e), f"evidence that it is {better}; {times(evidence.threshold_promote)} are needed"),
        (times(primary.log_e_worse), f"evidence that it is worse; {times(evidence.threshold_rollback)} roll back"),
        (f"{evidence.blocks}", f"blocks of {in_hours(data.spec.block_length)}, {len(data.rows):,} decisions"),
    )
    return (*tiles, cost_tile(data), saving_tile(month))


def _arm_rows(
    data: ReportData, judgement: Judgement, arms: tuple[ArmLine, ArmLine], month: Month | None
) -> tuple[Row, ...]:
    difference = data.comparison()
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
        counted("of these hold", lambda arm: part_of(arm.holds, arm.decisions)),
        counted("Trades", lambda arm: f"{arm.metrics.total_trades:,}" if arm.metrics.total_trades else NO_TRADES),
        earned("Win rate, %", lambda arm: 100 * arm.metrics.win_rate, ".1f", points),
        earned("Net profit, USD", lambda arm: arm.metrics.total_pnl, "+,.2f", difference.pnl_diff),
        earned("Mean of a trade, USD", lambda arm: arm.metrics.avg_pnl, "+,.3f", mean),
        earned("Sharpe ratio of trades × √252", lambda arm: arm.metrics.sharpe_ratio, "+.2f", difference.sharpe_diff),
        earned("Mean return of a decision, bp", lambda arm: arm.mean_return_bp, "+.2f", candidate.mean_return_bp - baseline.mean_return_bp),
        counted("Latency, median ms", lambda arm: number(arm.p50_ms)),
        counted("Latency, 99th percentile ms", lambda arm: number(arm.p99_ms)),
        counted("Errors", lambda arm: f"{arm.errors:,}"),
        counted("Answered by the fallback", lambda arm: f"{arm.fallbacks:,}"),
        *cost_rows(data, judgement, arms, month),
    )  # fmt: skip


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
            *(times(float(column[k])) for column in columns),
        )
        for k in shown
    )
