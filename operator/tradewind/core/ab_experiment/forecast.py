"""What an experiment can find, said before it starts and once a block while it runs.

Belongs here: facts about rate and pairs, and the words. Does not belong here: the forecast itself (trading/evidence/forecast.py).
"""

import math
from dataclasses import replace

from tradewind.api.ab_experiment_status import ABExperimentStatus, ForecastStatus, ShadowForecast
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import Turn
from tradewind.core.conditions import Fact
from tradewind.core.evidence import shadow_of
from tradewind.schema.durations import format_duration
from tradewind.trading.evidence import Basis, Evidence, EvidenceSpec
from tradewind.trading.evidence.forecast import (
    AGREEMENT,
    CORRELATION,
    ENOUGH,
    Forecast,
    ForecastFacts,
    Prospect,
    forecast,
)
from tradewind.trading.evidence.walk import LONGEST, SoFar

_ENOUGH_PAIRS = 30


def before_start(turn: Turn, status: ABExperimentStatus) -> ABExperimentStatus:
    """The status with what the baseline's own decisions say of the experiment to come; nothing where they are too few."""
    past = turn.seen.past
    facts = past.facts if past is not None and turn.seen.endpoint is not None else None
    if facts is None:
        return status
    spec, versions = turn.spec, turn.seen.versions
    baseline, candidate = versions.get(turn.baseline_name or ""), versions.get(turn.experiment.spec.candidate)
    if baseline is not None and candidate is not None:  # who will be asked beside, where the spec leaves it open
        shadow = shadow_of(turn.experiment.spec.traffic.shadow, baseline, candidate)
        spec = replace(spec, basis=Basis(shadow=shadow))
    return status if spec.too_short is not None else _with(turn, status, spec, facts, block=None)


def at_look(turn: Turn, status: ABExperimentStatus, evidence: Evidence, spec: EvidenceSpec) -> ABExperimentStatus:
    """The status with what the evidence says of the rest; anew once a block, and as it was before there is any.

    Args:
        turn: the turn.
        status: as it is so far.
        evidence: of the look.
        spec: what it was judged by.
    """
    known = status.forecast
    facts = facts_of(evidence, spec)
    if facts is None or (known is not None and known.block == evidence.blocks):
        return status
    return _with(turn, status, spec, facts, block=evidence.blocks)


def facts_of(evidence: Evidence, spec: EvidenceSpec) -> ForecastFacts | None:
    """What the evidence says of the decisions to come; None before there is a complete block with rows."""
    arms = evidence.baseline, evidence.candidate
    decisions = sum(arm.decisions for arm in arms)
    if not evidence.blocks or not decisions:
        return None
    metric, pairs = evidence.metrics[evidence.primary.name], evidence.about_pairs
    agreement, correlation = AGREEMENT, CORRELATION
    if pairs is not None and pairs.pairs >= _ENOUGH_PAIRS:
        if math.isfinite(pairs.alike):  # arms that have nothing to do with each other go the same way half of the time
            agreement = min(max(2.0 * pairs.alike - 1.0, 0.0), 1.0)
        if math.isfinite(pairs.correlation):
            correlation = min(max(pairs.correlation, 0.0), 1.0)
    return ForecastFacts(
        decisions_per_day=decisions / (evidence.blocks * spec.block_length.days),
        holds=1.0 - sum(arm.trades for arm in arms) / decisions,
        agreement=agreement,
        correlation=correlation,
        so_far=SoFar(evidence.blocks, metric.score - spec.shift * metric.info, metric.variance, metric.info),
    )


def _with(
    turn: Turn, status: ABExperimentStatus, spec: EvidenceSpec, facts: ForecastFacts, *, block: int | None
) -> ABExperimentStatus:
    found = forecast(spec, facts)
    told = ForecastStatus(
        effect=found.effect,
        chance=_rounded(found.chance),
        days=_rounded(found.days),
        expected_days_left=_rounded(found.expected_days_left),
        detectable=_rounded(found.detectable),
        decisions_per_day=_rounded(facts.decisions_per_day),
        shadows=tuple(
            ShadowForecast(shadow=shadow, chance=_rounded(prospect.chance), days=_rounded(prospect.days))
            for shadow, prospect in found.by_shadow.items()
        ),
        block=block,
    )
    return turn.says(status.model_copy(update={"forecast": told}), [underpowered(spec, found)])


def underpowered(spec: EvidenceSpec, found: Forecast) -> Fact:
    """Whether the experiment will hardly find what is of interest, and what would help, in numbers."""
    what = "equal arms" if spec.not_inferior else f"a difference of {found.effect:g}"
    chance = f"{what}: a verdict within {format_duration(spec.max_duration)} in {found.chance:.0%} of such experiments"
    if not found.underpowered:
        return Fact("Underpowered", False, Reason.POWERED, f"{chance}, half of them by day {found.days:.0f}")
    return Fact("Underpowered", True, Reason.UNDERPOWERED, f"{chance}; {_remedy(spec, found)}")


def _remedy(spec: EvidenceSpec, found: Forecast) -> str:
    needed = f"{found.days:.0f} days" if math.isfinite(found.days) else f"more than {LONGEST} days"
    for shadow, prospect in found.by_shadow.items():  # the one that asks less comes first
        if shadow != spec.shadow and _helps(prospect, found):
            return f"shadow: {shadow} would need {prospect.days:.0f} days instead of {needed.removesuffix(' days')}"
    least = f"; a difference of {found.detectable:.2g} would be found" if math.isfinite(found.detectable) else ""
    instead = "" if spec.not_inferior else least
    return f"half of them would need {needed}{instead}: raise evidence.maxDuration, or decide more often"


def _helps(prospect: Prospect, found: Forecast) -> bool:
    return prospect.chance >= ENOUGH and prospect.days < found.days


def _rounded(number: float) -> float | None:
    """To four digits, so that a status does not change by noise; None where it is not finite."""
    return float(f"{number:.4g}") if math.isfinite(number) else None
