r"""Endpoint: who answers, with which weights, through which gateway.

    fallback exists -> champion known -> gateway applied -> Ready
                                     \-> oldest admissible ABExperiment holds the Endpoint -> released when terminal
                                                                        verdict promote, Succeeded -> candidate is champion
                                     \-> promote or rollback by hand: the experiment ends first (by_hand.py)

This is the single writer of the routing document and of `activeExperiment`: two experiments can never both believe that
they run. A champion is never guessed: without one that exists and verifies, nothing is routed anew.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.annotations import unknown_annotations
from tradewind.api.common import SecretKeyRef, VersionStatusRef, WeightStatus
from tradewind.api.endpoint import (
    ActiveExperiment,
    Endpoint,
    EndpointPhase,
    EndpointStatus,
    GatewayPodStatus,
    GatewayStatus,
)
from tradewind.core.conditions import Fact, with_facts
from tradewind.core.decision import Apply, Decision, Delete, Effect, Owner
from tradewind.core.endpoint.by_hand import by_hand
from tradewind.core.endpoint.guests import Guest
from tradewind.core.endpoint.health import arm_statuses, champion_fact, health_fact
from tradewind.core.endpoint.holders import fallback_of
from tradewind.core.endpoint.hosting import (
    Hosting,
    gateway_fact,
    hosted_effects,
    hosting_of,
    known_hosting,
    moving_words,
    served,
)
from tradewind.core.endpoint.intact import differing, intact, judged
from tradewind.core.endpoint.manifests import build_gateway, build_routing, build_service
from tradewind.core.endpoint.names import gateway_name, routing_name
from tradewind.core.endpoint.orphans import aborted
from tradewind.core.endpoint.places import Places, places_of
from tradewind.core.endpoint.routing import ROUTING_RENEWAL, arm_target, credentials_of, is_as_routed, routing_of
from tradewind.core.endpoint.scaling import after_the_gateway, before_the_gateway, wanted_pods
from tradewind.core.endpoint.seen import (
    TERMINAL,
    Conflicts,
    EpochRow,
    PodsAt,
    ProbeCosts,
    Promotion,
    Reason,
    ReplicaReport,
    Seen,
    StartedExperiment,
)
from tradewind.core.manifests.network import gateway_policy
from tradewind.core.platform import Platform
from tradewind.core.policy import gateway_faults, policy_fact
from tradewind.trading.routing import Routing

__all__ = [
    "TERMINAL",
    "Conflicts",
    "EpochRow",
    "ProbeCosts",
    "Promotion",
    "Reason",
    "ReplicaReport",
    "Seen",
    "StartedExperiment",
    "arm_target",
    "decide",
]

_YEAR = timedelta(days=365)
_MOST_PODS = 64


def decide(endpoint: Endpoint, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about an Endpoint now."""
    if endpoint.metadata.deletion_timestamp is not None:
        return Decision(endpoint.status)
    seen = judged(endpoint, seen, now)
    hand = by_hand(endpoint, seen, places_of(endpoint, seen, now), now)
    places, endpoint = hand.places, endpoint.model_copy(update={"status": hand.status})
    routing = routing_of(endpoint, seen, places.champion, places.active, now, platform.policy)
    refused = policy_fact(gateway_faults(endpoint.spec.gateway, platform.policy), endpoint.status)
    held = refused is not None and not refused.holds
    effects: list[Effect] = [*places.effects, *aborted(endpoint.name, seen.orphans, now)]
    # A promotion is stored before anybody obeys it. While a version is missing or another one, its Secret stays mounted.
    is_whole = routing is not None and is_as_routed(seen, routing)
    credentials = credentials_of(seen, routing) if routing is not None and is_whole else {}
    hosting = hosting_of(endpoint, seen, routing, credentials if is_whole else None, held=held)
    guests = served(seen.guests)
    if routing is not None:
        effects += hosted_effects(endpoint, owner, seen, hosting) if not hosting.owns_pods else []
    if routing is not None and is_whole:
        if not held and hosting.owns_pods:  # else the gateway that there is goes on as it was, and none is made
            effects += _own_gateway(endpoint, owner, platform, seen, credentials, hosting, guests)
        # A pod that lacks a version's key could only fail in its name: such a version is routed to once all have it.
        lacking = sorted(credentials.keys() - seen.mounted) if seen.mounted is not None else []
        if lacking and seen.routing is not None:
            routing = seen.routing
            message = f"gateway pods are being replaced by ones with the API key of {', '.join(lacking)}"
            if held:
                message = f"gateway pods lack the API key of {', '.join(lacking)}, and are not replaced while PolicyKept is False"
            waits = Fact("ExperimentActive", False, Reason.APPLYING, message)
            places = replace(places, experiment_fact=places.experiment_fact or waits)
    if routing is not None and (routing is not seen.routing or not seen.document.holds):
        effects += [Delete("v1", "ConfigMap", routing_name(endpoint.name))] if seen.document.immutable else []
        renews = seen.document.holds and seen.routing is not None and routing.generation == seen.routing.generation
        effects.append(Apply(build_routing(owner, routing), sealed=True, renews=renews))

    facts = [places.champion_fact, _database_fact(seen)]
    facts += _gateway_facts(endpoint, seen, routing, places.champion, hosting, now)
    facts.append(places.experiment_fact or _experiment_fact(places.active, routing))
    arms = arm_statuses(endpoint, seen, routing)
    arm = champion_fact(arms, places.champion)
    fallback, fallback_fault = fallback_of(endpoint, seen)
    needed = [refused, *facts[:3], fallback_fault, arm]
    blocked = next((fact for fact in needed if fact is not None and fact.holds is not True), None)
    health = health_fact(arms, places.champion)
    ready = Fact("Ready", True, Reason.READY, f"{places.champion.name} answers" if places.champion else "")
    facts.append(ready if blocked is None else Fact("Ready", False, blocked.reason, blocked.message))
    sound = intact(endpoint, seen, routing, now)
    told_of = _annotations_fact(endpoint), _conflicts_fact(endpoint, seen)
    more = (refused, fallback_fault, health, sound.fact, hand.fact, *told_of)
    facts += [fact for fact in more if fact is not None]
    status = _status(endpoint, seen, places, routing, hosting, guests).model_copy(
        update={
            "phase": EndpointPhase.READY if blocked is None else _phase(endpoint.status),
            "arms": arms,
            "routing_tampered": sound.record,
            "fallback_ref": fallback,
            "weights": _weights(routing, facts, now),
            "alpha_spent12_months": _alpha_spent(seen, now),
            "conditions": with_facts(
                endpoint.status.conditions, facts, generation=endpoint.metadata.generation, now=now
            ),
            "message": None if blocked is None else blocked.message[:1024],
        }
    )
    live = places.active is not None and places.active.spec.mode is Mode.LIVE
    told = held or (arm is not None and blocked is arm)  # an author, or gateways, wake the operator when that changes
    waiting = not held and (
        hosting.moves
        or hosting.leaves
        or (blocked is not None and not told)
        or any((f.type == "WeightsApplied" and f.holds is not True) or f.reason == Reason.APPLYING for f in facts)
    )
    again = timedelta(seconds=2) if waiting else ROUTING_RENEWAL if live or told else None
    times = (again, hand.again, sound.again)
    return Decision(status, tuple(effects), min((t for t in times if t is not None), default=None))


def _own_gateway(
    endpoint: Endpoint,
    owner: Owner,
    platform: Platform,
    seen: Seen,
    credentials: Mapping[str, SecretKeyRef],
    hosting: Hosting,
    guests: tuple[Endpoint, ...],
) -> list[Effect]:
    """Pods of its own, and what stands beside them."""
    found = [Guest(guest.name, known) for guest in guests if (known := known_hosting(guest)) is not None]
    port = hosting.status.port if hosting.status is not None else None
    service = build_service(owner, hosting.sends_to or endpoint.name, port)
    made = build_gateway(endpoint, owner, platform, credentials, found, hosts=hosting.hosts, service=service)
    return [
        *before_the_gateway(endpoint, owner, seen),
        *gateway_policy(owner, platform, gateway_name(endpoint.name), sorted(g.hosting.port for g in found)),
        *(Apply(manifest) for manifest in made),
        *after_the_gateway(endpoint, owner),
    ]


def _status(
    endpoint: Endpoint,
    seen: Seen,
    places: Places,
    routing: Routing | None,
    hosting: Hosting,
    guests: tuple[Endpoint, ...],
) -> EndpointStatus:
    """The status with what does not hang on conditions."""
    reports = [r for r in seen.replicas if r.replica in seen.ready_pods]
    return endpoint.status.model_copy(
        update={
            "observed_generation": endpoint.metadata.generation,
            "url": f"http://{gateway_name(endpoint.name)}.{endpoint.namespace}.svc.cluster.local",
            "champion_ref": places.champion,
            "previous_champion_ref": places.previous,
            "active_experiment": _active_ref(places.active),
            "epoch": routing.experiment.epoch if routing and routing.experiment else endpoint.status.epoch,
            "gateway": GatewayStatus(
                replicas=wanted_pods(endpoint, seen),
                ready_replicas=len(seen.ready_pods),
                reported_epoch=min((r.epoch for r in reports if r.epoch is not None), default=None),
                generation=routing.generation if routing else None,
                pods=_pods(endpoint, seen),
                hosting=hosting.status,
                guests=tuple(guest.name for guest in guests) or None,
            ),
        }
    )


def _pods(endpoint: Endpoint, seen: Seen) -> tuple[GatewayPodStatus, ...] | None:
    """What pods obey, by name; as it was where nobody can tell now."""
    if seen.database_error is not None:
        return endpoint.status.gateway.pods if endpoint.status.gateway is not None else None
    reports = sorted(seen.replicas, key=lambda report: report.replica)
    return tuple(GatewayPodStatus(name=r.replica[:128], generation=r.generation) for r in reports[:_MOST_PODS])


def _annotations_fact(endpoint: Endpoint) -> Fact | None:
    """What is said of a misspelt request; None: there is none, and was none."""
    unknown = unknown_annotations("Endpoint", endpoint.metadata.annotations)
    if unknown:
        return Fact("AnnotationsKnown", False, Reason.ANNOTATION_UNKNOWN, "; ".join(unknown)[:1024])
    known = Fact("AnnotationsKnown", True, Reason.ANNOTATIONS_KNOWN, "each annotation in our prefix means something")
    return known if endpoint.status.condition("AnnotationsKnown") is not None else None


def _conflicts_fact(endpoint: Endpoint, seen: Seen) -> Fact | None:
    """What is said of decisions with two answers; None: there are none, and were none."""
    if seen.database_error is not None:
        return None  # it stays as it was
    found = seen.conflicts
    if found is not None:
        message = (
            f"{found.decisions} decision(s) of the last 7 days got two answers that differ, in an outage, and are no evidence; "
            f"of {found.unreported} nothing was reported. The newest is {found.newest}: "
            f"GET /v1/decisions/{found.newest} has both answers; report what was opened, with its side"
        )
        return Fact("AnswersAgree", False, Reason.CONFLICTING_ANSWERS, message[:1024])
    agree = Fact(
        "AnswersAgree", True, Reason.ANSWERS_AGREE, "no decision of the last 7 days has two answers that differ"
    )
    return agree if endpoint.status.condition("AnswersAgree") is not None else None


def _database_fact(seen: Seen) -> Fact:
    if seen.schema_missing:
        message = "the database has no schema of this version: run `tradewind migrate`"
        return Fact("DatabaseReachable", False, Reason.SCHEMA_MISSING, message)
    if seen.database_error is not None:
        reason = Reason.INSTALLATION_TAKEN if seen.installation_taken else Reason.DATABASE_UNREACHABLE
        return Fact("DatabaseReachable", False, reason, seen.database_error)
    return Fact("DatabaseReachable", True, Reason.DATABASE_REACHABLE)


def _gateway_facts(
    endpoint: Endpoint,
    seen: Seen,
    routing: Routing | None,
    champion: VersionStatusRef | None,
    hosting: Hosting,
    now: datetime,
) -> tuple[Fact, Fact]:
    wanted, ready = wanted_pods(endpoint, seen), len(seen.ready_pods)
    held = seen.held_back
    moving = moving_words(hosting, endpoint)
    host = hosting.status.host if hosting.status is not None and not hosting.moves else None
    of_host = f" of Endpoint {host}" if host is not None else ""
    if host is not None:
        ready = len(seen.sharing.pods.get(host, PodsAt()).ready)
    faulty = gateway_fact(seen, hosting)
    if faulty is not None:
        gateway = faulty
    elif ready:
        message = f"{ready} of {wanted} pods{of_host} ready" if not moving else f"{ready} pods ready; {moving}"
        message += f"; {held}" if held is not None else ""
        gateway = Fact("GatewayReady", True, Reason.GATEWAY_READY, message)
    else:
        reason = Reason.GATEWAY_STARTING if held is None else held.reason
        of_wanted = f" of {wanted}" if wanted or host is None else ""  # what the host has is not known yet
        message = f"no gateway pod{of_wanted}{of_host} is ready" + (f": {held}" if held is not None else "")
        message += f"; {moving}" if moving else ""
        gateway = Fact("GatewayReady", False, reason, message)
    if routing is None:
        return gateway, Fact("WeightsApplied", None, Reason.APPLYING, "nothing is published yet")
    if _expired(routing, now):
        message = f"the candidate's weight expired at {routing.expires_at.isoformat()}: the baseline answers until it is renewed"
        return gateway, Fact("WeightsApplied", False, Reason.EXPIRED, message)
    if champion is not None and routing.champion != champion.name:
        message = f"{routing.champion} still answers: gateway pods wait for what {champion.name} needs"
        return gateway, Fact("WeightsApplied", False, Reason.APPLYING, message)
    differs = differing(seen)
    if differs is not None:
        return gateway, Fact("WeightsApplied", False, Reason.ROUTING_DIFFERS, differs)
    reported = {r.replica: r.generation for r in seen.replicas}
    behind = sorted(pod for pod in seen.ready_pods if reported.get(pod, -1) < routing.generation)
    if behind or not seen.ready_pods:
        message = f"{len(behind)} ready pod(s) have not reported the newest weights" if behind else "no pod is ready"
        return gateway, Fact("WeightsApplied", False, Reason.APPLYING, message)
    return gateway, Fact("WeightsApplied", True, Reason.APPLIED, "every ready pod obeys the newest weights")


def _experiment_fact(active: ABExperiment | None, routing: Routing | None) -> Fact:
    """Whether decisions are drawn for an experiment: a replay that starts before this is True starts without it."""
    if active is None:
        return Fact("ExperimentActive", False, Reason.NO_EXPERIMENT, "no experiment holds this Endpoint")
    if routing is None or routing.experiment is None or routing.experiment.uid != active.metadata.uid:
        return Fact("ExperimentActive", False, Reason.APPLYING, f"{active.name} is not routed to yet")
    return Fact("ExperimentActive", True, Reason.EXPERIMENT_RUNNING, active.name)


def _active_ref(active: ABExperiment | None) -> ActiveExperiment | None:
    return None if active is None else ActiveExperiment(name=active.name, uid=active.metadata.uid, t0=active.status.t0)


def _expired(routing: Routing, now: datetime) -> bool:
    return routing.experiment is not None and routing.experiment.mode == "Live" and routing.expires_at <= now


def _weights(routing: Routing | None, facts: list[Fact], now: datetime) -> WeightStatus | None:
    if routing is None:
        return None
    route = routing.experiment
    weight = Decimal(0)
    if route is not None:
        weight = route.blocks[-1].candidate_weight if route.blocks else route.candidate_weight
    applied = any(f.type == "WeightsApplied" and f.holds for f in facts)
    obeyed = "0" if _expired(routing, now) else f"{weight:f}" if applied else None
    return WeightStatus(desired=f"{weight:f}", applied=obeyed)


def _alpha_spent(seen: Seen, now: datetime) -> str:
    spent = sum(
        (
            Decimal(e.spec.evidence.alpha)
            for e in seen.experiments
            if e.status.start_time is not None and now - e.status.start_time < _YEAR
        ),
        Decimal(0),
    )
    return f"{spent:f}"


def _phase(status: EndpointStatus) -> EndpointPhase:
    was_up = status.phase in (EndpointPhase.READY, EndpointPhase.DEGRADED)
    return EndpointPhase.DEGRADED if was_up else EndpointPhase.PENDING
