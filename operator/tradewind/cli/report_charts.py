"""The figures of a report: which curves over the days of an experiment are drawn, and from which numbers.

Belongs here: what is drawn. Does not belong here: its geometry (report_figure.py), its layout (templates/), and the figure of
the pairs (report_pairs.py).
"""

from datetime import timedelta

from tradewind.cli.report_data import ArmLine, ReportData
from tradewind.cli.report_figure import Bound, Figure, Line, days_since, draw_figure
from tradewind.cli.report_text import DECADES, NO_TRADES, in_days, times, usd
from tradewind.trading.evidence import Judgement, Status


def evidence_figure(data: ReportData, judgement: Judgement) -> Figure | None:
    """Evidence on a scale of decades: 20 times is 1.3."""
    evidence, looks = judgement.evidence, judgement.evidence.looks
    length = in_days(data.spec.block_length)
    days = [(data.first_block + k + 1) * length for k in range(len(looks.better))]
    others = [
        Line(f"{metric.title} not worse", "even", days, (looks.not_worse[metric.name] * DECADES).tolist())
        for metric in data.spec.others
    ]
    promote, rollback = evidence.threshold_promote, evidence.threshold_rollback
    return draw_figure(
        "Evidence after each block, as a multiple of even odds",
        days_since(data.t0),
        [
            Line("better", "better", days, (looks.better * DECADES).tolist()),
            *others,
            Line("worse", "worse", days, (looks.worse * DECADES).tolist()),
        ],
        bounds=[
            Bound(f"{times(promote)}: promote", "better", promote * DECADES),
            Bound(f"{times(rollback)}: roll back", "worse", rollback * DECADES),
        ],
        tick=lambda decade: times(decade / DECADES),
        whole_ticks=True,
        mark=None if evidence.block is None else (evidence.block + 1) * length,
    )


def share_figure(data: ReportData) -> Figure | None:
    """The candidate's share of the decisions in each block."""
    weights: dict[int, float] = {}
    for row in data.rows:
        weights[(row.trade.decided_at - data.t0) // data.spec.block_length] = row.trade.candidate_weight
    length = in_days(data.spec.block_length)
    blocks = sorted(weights)
    xs = [edge for block in blocks for edge in (block * length, (block + 1) * length)]
    ys = [100 * weights[block] for block in blocks for _ in range(2)]
    return draw_figure(
        "Candidate's share of decisions, in percent",
        days_since(data.t0),
        [Line("candidate", "candidate", xs, ys)],
        tick=lambda share: f"{share:g} %",
        reach=(0, 50),
        height=150,
    )


def profit_figure(data: ReportData, arms: tuple[ArmLine, ArmLine]) -> Figure | None:
    """Cumulated net profit of each arm over the days; None where no arm has a closed trade."""
    lines = []
    last = max(((row.trade.closed_at or row.trade.decided_at) for row in data.rows), default=data.t0)
    for arm in arms:
        closed = sorted(
            (row.trade.closed_at, row.trade.pnl_usd or 0.0)
            for row in data.rows
            if row.trade.arm is arm.arm and row.trade.status is Status.CLOSED and row.trade.closed_at is not None
        )
        sums = [0.0]
        for _, pnl in closed:
            sums.append(sums[-1] + pnl)
        whens = (data.t0, *(when for when, _ in closed), last) if closed else ()
        days = [(when - data.t0) / timedelta(days=1) for when in whens]
        lines.append(Line(f"{arm.version} ({arm.arm.value})", arm.arm.value, days, [*sums, sums[-1]] if closed else []))
    return draw_figure(
        "Cumulated net profit, in USD",
        days_since(data.t0),
        lines,
        tick=lambda amount: f"{amount:,g} $",
        value=usd,
        empty=NO_TRADES,
    )
