"""Who has the places of an Endpoint: its champion, the one before, and the experiment that holds it.

Belongs here: the places as they are, and after the promotion that an experiment has earned. Does not belong here: changes by
hand (by_hand.py), and what follows for the routing (routing.py).
"""

from dataclasses import dataclass, replace
from datetime import datetime

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import VersionStatusRef
from tradewind.api.endpoint import Endpoint
from tradewind.core.conditions import Fact
from tradewind.core.decision import Effect, RecordPromotion
from tradewind.core.endpoint.holders import (
    availability,
    champion_of,
    held_experiment,
    is_as_seen,
    may_answer,
    next_experiment,
    was_promoted,
    was_recorded,
)
from tradewind.core.endpoint.seen import TERMINAL, Reason, Seen
from tradewind.core.identity import ref_to


@dataclass(frozen=True)
class Places:
    """Who is champion, and which experiment holds the Endpoint.

    Attributes:
        effects: the record of a promotion that takes place now, and of the first champion.
        experiment_fact: why decisions are not drawn for the experiment; None: it is drawn for, or there is none.
        promotes: an experiment's promotion takes place now.
    """

    champion: VersionStatusRef | None
    previous: VersionStatusRef | None
    champion_fact: Fact
    active: ABExperiment | None
    effects: tuple[Effect, ...] = ()
    experiment_fact: Fact | None = None
    promotes: bool = False


def places_of(endpoint: Endpoint, seen: Seen, now: datetime) -> Places:
    """The places as they are, or after the promotion that the held experiment has earned."""
    champion, champion_fact = champion_of(endpoint, seen, now)
    held = held_experiment(endpoint, seen)
    active = held if held is not None and held.status.phase not in TERMINAL else next_experiment(endpoint, seen)
    first = _first_champion(endpoint, seen, champion)
    places = Places(champion, _previous(endpoint, seen, champion), champion_fact, active, first)
    if held is None or champion is None or not was_promoted(held) or champion.name == held.spec.candidate:
        return places
    version = seen.versions.get(held.spec.candidate)
    if version is None or not is_as_seen(version, held.status.candidate_ref):
        # What was not tested is not promoted; the Endpoint waits until a person says how to go on.
        message = (
            f"ABExperiment {held.name} promoted {held.spec.candidate}, which no longer exists as it was tested: "
            f"restore it, or delete ABExperiment {held.name} to keep {champion.name}"
        )
        fact = Fact("ExperimentActive", False, Reason.VERSION_MISSING, message)
        return replace(places, active=held, experiment_fact=fact)
    if held.status.verdict is None:
        return places
    if not may_answer(version) and not was_recorded(version, seen):
        ready = version.status.condition("Ready")
        why = f" ({ready.reason}: {ready.message})"[:400] if ready is not None else ""
        message = (
            f"ABExperiment {held.name} promoted {version.name}, which is not Ready{why}: {champion.name} stays champion until it is; "
            f"delete ABExperiment {held.name} to keep {champion.name}"
        )
        return replace(
            places, active=held, experiment_fact=Fact("ExperimentActive", False, Reason.VERSION_NOT_READY, message)
        )
    promoted = ref_to(version, now.replace(microsecond=0))
    record = RecordPromotion(
        endpoint=endpoint.name,
        version=version.name,
        sha256=promoted.sha256,
        spec_sha256=promoted.spec_sha256,
        previous=champion.name,
        experiment_uid=held.metadata.uid,
        reason=held.status.verdict.reason,
    )
    fact = availability(endpoint, seen, promoted, f"promoted {version.name}")
    effects = (*first, record)
    return replace(places, champion=promoted, previous=champion, champion_fact=fact, effects=effects, promotes=True)


def _previous(endpoint: Endpoint, seen: Seen, champion: VersionStatusRef | None) -> VersionStatusRef | None:
    """The champion before: as in the status, or as recorded where the status was lost with the object."""
    promotion = seen.promotion
    lost = endpoint.status.champion_ref is None
    if lost and promotion is not None and champion is not None and promotion.version == champion.name:
        return promotion.previous
    return endpoint.status.previous_champion_ref


def _first_champion(endpoint: Endpoint, seen: Seen, champion: VersionStatusRef | None) -> tuple[Effect, ...]:
    """The record of a champion before any promotion: once an Endpoint, also for one that is older than these records."""
    if champion is None or seen.promotion is not None or seen.database_error is not None:
        return ()
    return (
        RecordPromotion(
            endpoint=endpoint.name,
            version=champion.name,
            sha256=champion.sha256,
            spec_sha256=champion.spec_sha256,
            previous=None,
            experiment_uid=None,
            reason=Reason.FIRST_CHAMPION,
        ),
    )
