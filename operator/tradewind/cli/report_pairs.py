"""What a report says of the pairs: a table in words, and the real trades against their papers as a figure.

Belongs here: which numbers are shown, and what they mean. Does not belong here: the numbers themselves (trading/evidence), and
the geometry of the figure (report_scatter.py).
"""

from math import isfinite

from tradewind.cli.report_data import ArmLine, ReportData
from tradewind.cli.report_scatter import Cloud, Scatter, draw_scatter
from tradewind.cli.report_text import NO_TRADES, UNKNOWN, USED_AS_PAIR, Row, percent, signed, whole_days
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import EvidenceSpec, Judgement, Pairing, set_aside

_BP = 1e4


def pair_rows(judgement: Judgement, spec: EvidenceSpec) -> tuple[Row, ...]:
    """What the pairs say; empty where the experiment looks for none."""
    evidence, pairs = judgement.evidence, judgement.evidence.about_pairs
    if pairs is None:
        return ()
    if evidence.score is Pairing.UNPAIRED:
        aside = set_aside(judgement)
        why = aside[1] if aside is not None else "no decision of a complete block has a pair yet"
    else:
        why = "what the evidence is sharpened with"
    days = evidence.blocks * spec.block_length.days
    return (
        (
            "Decisions with a pair",
            f"{pairs.pairs:,}",
            f"{percent(pairs.share_without)} have none and count as they would alone",
        ),
        ("Used at the last look", USED_AS_PAIR[evidence.score], why),
        (
            "Papers went the same way",
            percent(pairs.alike),
            "both gained, both lost or both held: how alike the arms are",
        ),
        (
            "Slope, baseline and candidate",
            f"{signed(pairs.slope[0], 2)} and {signed(pairs.slope[1], 2)}",
            f"as the score uses it: what an outcome changes by where {_predictor(spec)} changes by 1",
        ),
        ("Real return against own paper", signed(pairs.correlation, 2), "correlation over the trades"),
        (
            "Days that would have told as much without pairs",
            whole_days(pairs.unpaired_days),
            f"instead of {days}",
        ),
        ("Days saved by the pairs", *_saved(pairs.unpaired_days, days, used=evidence.score is not Pairing.UNPAIRED)),
    )


def _predictor(spec: EvidenceSpec) -> str:
    return {Pairing.BOTH: "its own paper", Pairing.CANDIDATE: "the candidate's paper"}.get(
        spec.pairing, "the market's move"
    )


def _saved(unpaired_days: float, days: int, *, used: bool) -> tuple[str, str]:
    if not used:
        return "none", "no pair is used"
    if not isfinite(unpaired_days):
        return UNKNOWN, "not known before both ways tell something"
    saved = round(unpaired_days) - days
    if saved < 0:
        return "none", f"the pairs cost {-saved:,} of {days:,} days"
    return f"{saved:,}", "days without pairs less days with them"


def no_pairs(judgement: Judgement, spec: EvidenceSpec) -> str:
    """Why there is no figure of the pairs, in a sentence; "" where there may be one."""
    pairs = judgement.evidence.about_pairs
    if pairs is None:
        return (
            "This experiment looks for no pairs: the arm that is not drawn is not asked (traffic.shadow: none). How many days "
            "pairs would save is what `tradewind simulate` and status.forecast say."
        )
    if not pairs.pairs:
        return "No decision of a complete block has a pair yet. Papers need spec.paper of the Endpoint, or reports of them."
    if spec.pairing is Pairing.MARKET:
        return "The market's move stands in for papers, so there is no paper to draw."
    return ""


def paper_figure(data: ReportData, arms: tuple[ArmLine, ArmLine]) -> Scatter | None:
    """Real against paper return of the drawn arm's trades, in basis points; None where no trade has a paper."""
    found = data.paper_trades()

    def cloud(arm: ArmLine) -> Cloud:
        candidate = arm.arm is Arm.CANDIDATE
        mine, line = found.candidate == candidate, found.line(candidate=candidate)
        count = int(mine.sum())
        if not arm.metrics.total_trades:
            end = NO_TRADES
        elif not count:
            end = "no trade with a paper"
        else:
            end = f"{count:,} {'trade' if count == 1 else 'trades'}, slope {signed(line[1], 2)}"
        return Cloud(
            name=f"{arm.version} ({arm.arm.value})",
            tone=arm.arm.value,
            xs=_BP * found.paper[mine],
            ys=_BP * found.real[mine],
            line=(_BP * line[0], line[1]),
            end=end,
        )

    net = ", net of the answer's price" if data.spec.reading.reference_notional is not None else ""
    return draw_scatter(
        "Real return of each trade against that of its paper, in basis points",
        "paper, bp",
        f"real{net}, bp",
        [cloud(arm) for arm in arms],
    )
