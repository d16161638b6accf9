"""Who the champion is, and which experiment holds the Endpoint."""

from datetime import datetime

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.api.common import ConditionStatus, VersionStatusRef
from tradewind.api.endpoint import Clock, Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import Fact, is_true
from tradewind.core.endpoint.seen import TERMINAL, Promotion, Reason, Seen
from tradewind.core.identity import is_meant, ref_to
from tradewind.core.model_version.rest import rests
from tradewind.trading.arm_health import ArmReason

_ARM_REASONS = frozenset(ArmReason)
FALLBACK = "FallbackAvailable"
"""Said once the fallback was missing or changed."""


def champion_of(endpoint: Endpoint, seen: Seen, now: datetime) -> tuple[VersionStatusRef | None, Fact]:
    """The champion: as stored in the status, else as stored in SQL if it still verifies, else the fallback at first.

    A first champion that no longer verifies binds nobody: while an Endpoint exists its champion does too, so this one was
    made anew under the name of another.
    """
    known = endpoint.status.champion_ref
    if known is None:
        if seen.database_error is not None:
            return None, Fact(
                "ChampionAvailable", None, Reason.DATABASE_UNREACHABLE, "the history of champions is not readable"
            )
        promotion = seen.promotion
        if promotion is not None and promotion.first:
            first = seen.versions.get(promotion.version)
            promotion = promotion if first is not None and is_meant(first, _recorded(promotion)) else None
        name = promotion.version if promotion else endpoint.spec.fallback
        version = seen.versions.get(name)
        if version is None:
            reason = Reason.CHAMPION_MISSING if promotion else Reason.VERSION_MISSING
            field_name = "the last promoted champion" if promotion else "spec.fallback"
            message = (
                f"{field_name} names ModelVersion {name!r}, which does not exist in {endpoint.namespace}: create it"
            )
            return None, Fact("ChampionAvailable", False, reason, message)
        if promotion and not is_meant(version, _recorded(promotion)):
            message = (
                f"ModelVersion {name} is not what was promoted: it says something else under the same name; restore the spec "
                "that was promoted"
            )
            return None, Fact("ChampionAvailable", False, Reason.CHAMPION_MISSING, message)
        known = ref_to(version, now.replace(microsecond=0))
    version = seen.versions.get(known.name)
    if version is not None and is_meant(version, known):
        known = ref_to(version, known.since)  # the same spec made anew has another uid
    return known, availability(endpoint, seen, known, known.name)


def availability(endpoint: Endpoint, seen: Seen, champion: VersionStatusRef, message: str) -> Fact:
    """Whether a champion exists and may be asked; `message` where it may."""
    version = seen.versions.get(champion.name)
    if version is None or not is_meant(version, champion):
        became = "is gone" if version is None else "is not what was promoted: it was made anew and says something else"
        missing = (
            f"the champion {champion.name} {became}; gateways go on asking what was promoted: restore the spec of "
            f"ModelVersion {champion.name}, or promote another version"
        )
        return Fact("ChampionAvailable", False, Reason.CHAMPION_MISSING, missing)
    if not may_answer(version):
        waits = f"the champion {champion.name} is not Ready; {endpoint.spec.fallback} answers for it"
        return Fact("ChampionAvailable", False, Reason.VERSION_NOT_READY, waits)
    return Fact("ChampionAvailable", True, Reason.CHAMPION_KNOWN, message)


def may_answer(version: ModelVersion) -> bool:
    """Whether there is something to ask. Whether it answers, the gateways find out by asking (health.py)."""
    ready = version.status.condition("Ready")
    if version.spec.external is not None:
        return ready is None or ready.status is not ConditionStatus.FALSE or ready.reason in _ARM_REASONS
    return ready is not None and (ready.status is ConditionStatus.TRUE or ready.reason in _ARM_REASONS)


def held_experiment(endpoint: Endpoint, seen: Seen) -> ABExperiment | None:
    """The experiment that holds the Endpoint, while it exists."""
    active = endpoint.status.active_experiment
    if active is None:
        return None
    held = next((e for e in seen.experiments if e.metadata.uid == active.uid), None)
    return held if held is not None and _may_hold(held) else None


def _may_hold(experiment: ABExperiment) -> bool:
    """Whether it has started or could: one that is being deleted, or cannot start after all, lets go."""
    if experiment.metadata.deletion_timestamp is not None:
        return False
    return experiment.status.t0 is not None or is_true(experiment.status.conditions, "Admissible")


def next_experiment(endpoint: Endpoint, seen: Seen) -> ABExperiment | None:
    """The experiment that runs already (this status was lost), else the oldest that could start.

    Nobody waits behind one that cannot.
    """
    wanted = Mode.REPLAY if endpoint.spec.clock is Clock.REPLAY else Mode.LIVE
    waiting = [e for e in seen.experiments if e.status.phase not in TERMINAL and e.spec.mode is wanted and _may_hold(e)]
    return min(waiting, key=lambda e: (e.status.t0 is None, str(e.metadata.creation_timestamp), e.name), default=None)


def is_as_seen(version: ModelVersion, ref: VersionStatusRef | None) -> bool:
    """Whether a version is still the artifact that a status speaks of, not another one under its name."""
    return ref is None or is_meant(version, ref)


def fallback_of(endpoint: Endpoint, seen: Seen) -> tuple[VersionStatusRef | None, Fact | None]:
    """The fallback as it was when the spec named it, and what is wrong with it now; None: nothing is, nor was."""
    name, known = endpoint.spec.fallback, endpoint.status.fallback_ref
    version = seen.versions.get(name)
    if known is not None and known.name != name:
        known = None
    if version is None:
        message = f"spec.fallback names ModelVersion {name!r}, which does not exist in {endpoint.namespace}: create it"
        return known, Fact(FALLBACK, False, Reason.VERSION_MISSING, f"{message}; until then nothing is routed anew")
    if known is not None and not is_meant(version, known):
        message = (
            f"the fallback {name} is not what it was when spec.fallback named it: it was made anew and says something else; "
            f"restore the spec of ModelVersion {name}, or name another version; until then nothing is routed anew"
        )
        return known, Fact(FALLBACK, False, Reason.VERSION_CHANGED, message)
    if rests(version) and (seen.routing is None or name not in seen.routing.arms):
        message = f"the fallback {name} was retired, and its predictor is started again; until it is Ready nothing is routed anew"
        return known, Fact(FALLBACK, False, Reason.VERSION_WAKING, message)
    said = endpoint.status.condition(FALLBACK) is not None
    return ref_to(version), Fact(FALLBACK, True, Reason.FALLBACK_KNOWN, name) if said else None


def was_recorded(version: ModelVersion, seen: Seen) -> bool:
    """Whether the newest stored promotion is that of this version by an experiment: what is stored is carried out."""
    promotion = seen.promotion
    if promotion is None or promotion.first or promotion.request is not None:
        return False
    return is_meant(version, _recorded(promotion))


def _recorded(promotion: Promotion) -> VersionStatusRef:
    return VersionStatusRef(name=promotion.version, sha256=promotion.sha256, spec_sha256=promotion.spec_sha256)


def was_promoted(experiment: ABExperiment) -> bool:
    """Whether its candidate is to be the champion: the verdict is given and the ramp, where there is one, is over."""
    verdict = experiment.status.verdict
    return (
        experiment.status.phase is ABExperimentPhase.SUCCEEDED and verdict is not None and verdict.decision == "promote"
    )
