"""What `status.forecast` and `status.evidence.pairs` say, in words, for `tradewind get` and the report.

Belongs here: which numbers are told, and what they are of. Does not belong here: the numbers themselves (trading/evidence), and
the pairs as a report recomputes them (report_pairs.py).
"""

from tradewind.api.ab_experiment import ABExperimentSpec
from tradewind.api.ab_experiment_status import ABExperimentStatus, ForecastStatus
from tradewind.cli.report_text import UNKNOWN, USED_AS_PAIR, Row, percent, signed, whole_days
from tradewind.trading.evidence import METRICS
from tradewind.trading.evidence.forecast import ENOUGH
from tradewind.trading.evidence.walk import LONGEST

_SET_ASIDE = {
    "dependent": "not used: an arm's failures depend on whether it was drawn (condition ShadowNotComparable)",
    "uninformative": "not used: papers say nothing of what trades earn (PaperUninformative)",
}


def rests_on(forecast: ForecastStatus) -> str:
    """What a forecast was made from."""
    if forecast.block is None:
        return "what the baseline did before the start"
    return f"the evidence of {forecast.block} {'block' if forecast.block == 1 else 'blocks'}"


def outlook_rows(spec: ABExperimentSpec, status: ABExperimentStatus) -> tuple[Row, ...]:
    """Rows of a table: what, number, what it says; empty without a forecast."""
    found = status.forecast
    if found is None:
        return ()
    past = status.verdict is not None
    half = "half of such experiments have a verdict by then, were maxDuration long enough"
    rows: list[Row] = [
        ("Difference of interest", *_effect(spec, found)),
        (
            f"Chance of a verdict within {spec.evidence.max_duration}",
            percent(found.chance),
            f"for the candidate, if the difference is that one; from {rests_on(found)}",
        ),
        (
            "Days that were left, on average" if past else "Days left, on average",
            whole_days(found.expected_days_left),
            "until the experiment ends, however it does" + (": the last forecast before the verdict" if past else ""),
        ),
        ("Day of the verdict", _day(found.days), half),
    ]
    if not _not_inferior(spec):
        detectable = "none" if found.detectable is None else f"{found.detectable:.2g}"
        rows.append(
            (
                "Smallest difference found",
                detectable,
                f"by maxDuration with a chance of {ENOUGH:.0%}".replace("%", " %"),
            )
        )
    if found.decisions_per_day is not None:
        rows.append(("Decisions a day", f"{found.decisions_per_day:,.4g}", "the rate that all this rests on"))
    rows += [
        (
            f"The same with shadow: {other.shadow}",
            percent(other.chance),
            f"chance from the start; half have a verdict by day: {_day(other.days)}",
        )
        for other in found.shadows
    ]
    return tuple(rows)


def outlook_lines(spec: ABExperimentSpec, status: ABExperimentStatus) -> list[str]:
    """The same in sentences; empty without a forecast."""
    found = status.forecast
    if found is None:
        return []
    when = "forecast before the verdict" if status.verdict is not None else "forecast"
    effect, _ = _effect(spec, found)
    what = "arms that are equal lead" if _not_inferior(spec) else f"a difference of {effect} leads"
    half = f"after more than {LONGEST:,} days" if found.days is None else f"by day {found.days:,.0f}"
    lines = [
        f"{when}, from {rests_on(found)}: {what} to a verdict within {spec.evidence.max_duration} in {percent(found.chance)}"
    ]
    lines.append(
        f"  half of such experiments have theirs {half}; {whole_days(found.expected_days_left)} days left on average"
    )
    if found.shadows:
        told = ", ".join(
            f"{other.shadow} {percent(other.chance)} (half by day: {_day(other.days)})" for other in found.shadows
        )
        lines.append(f"  from the start, by shadow: {told}")
    if (remedy := underpowered(status)) is not None:
        lines.append(f"  underpowered: {remedy}")
    return lines


def pair_lines(status: ABExperimentStatus) -> list[str]:
    """What the pairs say, in sentences; empty where the experiment looks for none."""
    evidence = status.evidence
    pairs = evidence.pairs if evidence is not None else None
    if evidence is None or pairs is None:
        return []
    use = _SET_ASIDE.get(pairs.set_aside or "", f"used at the last look: {USED_AS_PAIR[evidence.score or 'unpaired']}")
    lines = [f"pairs: {pairs.number or 0} decisions have one ({percent(pairs.share_without)} have none), {use}"]
    if not pairs.number:
        return lines
    slope = " and ".join(UNKNOWN if b is None else signed(b, 2) for b in (pairs.slope_baseline, pairs.slope_candidate))
    real = UNKNOWN if pairs.correlation is None else signed(pairs.correlation, 2)
    lines.append(
        f"  the arms' papers went the same way in {percent(pairs.alike)}; slope of baseline and candidate {slope}; real "
        f"returns and papers correlate by {real}"
    )
    if evidence.blocks and evidence.block_seconds and pairs.set_aside is None:
        days = evidence.blocks * evidence.block_seconds / 86_400
        lines.append(
            f"  without pairs as much would have taken {whole_days(pairs.unpaired_days)} days instead of {days:,.0f}"
        )
    return lines


def underpowered(status: ABExperimentStatus) -> str | None:
    """Why an experiment will hardly find what is of interest, and what would help; None: it will, or nobody said."""
    found = status.condition("Underpowered")
    return found.message if found is not None and found.status == "True" else None


def _not_inferior(spec: ABExperimentSpec) -> bool:
    return spec.evidence.objective == "notInferior"


def _effect(spec: ABExperimentSpec, found: ForecastStatus) -> tuple[str, str]:
    primary = next(metric for metric in METRICS if metric.name == spec.evidence.primary)
    if _not_inferior(spec):
        return "none", "what it is made for: arms that are equal, where the candidate need not be better"
    return f"{found.effect:g}", f"{primary.title}, evidence.minEffect: what it is made for"


def _day(days: float | None) -> str:
    return f"none in {LONGEST:,}" if days is None else f"{days:,.0f}"
