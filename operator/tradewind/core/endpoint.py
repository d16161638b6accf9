r"""Endpoint: who answers, with which weights, through which gateway.

    fallback exists -> champion known -> gateway applied -> Ready
                                     \-> oldest admissible ABExperiment holds the Endpoint -> released when terminal
                                                                        verdict promote, Succeeded -> candidate is champion

This is the single writer of the routing document and of `activeExperiment`: two experiments can never both believe that
they run. A champion is never guessed: without one that exists and verifies, nothing is routed anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from tradewind.api.ab_experiment import ABExperiment, ABExperimentPhase, Mode
from tradewind.api.common import SecretKeyRef, VersionStatusRef, WeightStatus, as_milliseconds, as_timedelta
from tradewind.api.endpoint import ActiveExperiment, Clock, Endpoint, EndpointPhase, EndpointStatus, GatewayStatus
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import Fact, is_true, with_facts
from tradewind.core.decision import Apply, Decision, Effect, Owner, RecordPromotion
from tradewind.core.evidence import block_length, max_hold
from tradewind.core.manifests.gateway import credential_path, gateway_manifests, gateway_name, routing_config_map
from tradewind.core.manifests.inference_service import predictor_url
from tradewind.core.platform import Platform
from tradewind.trading.routing import (
    ArmTarget,
    BlockWeight,
    ExperimentRoute,
    LabelRule,
    LevelLimits,
    Routing,
    RoutingLimits,
)

ROUTING_LIFETIME = timedelta(seconds=30)
ROUTING_RENEWAL = timedelta(seconds=10)
UNWATCHED_AFTER = timedelta(minutes=3)
"""A live weight whose evidence was not computed for so long is no longer renewed: it expires and the champion answers."""
_YEAR = timedelta(days=365)

TERMINAL = frozenset(
    {
        ABExperimentPhase.SUCCEEDED,
        ABExperimentPhase.ROLLED_BACK,
        ABExperimentPhase.INCONCLUSIVE,
        ABExperimentPhase.ABORTED,
        ABExperimentPhase.INVALID,
    }
)


class Reason(StrEnum):
    """Why a condition says what it says."""

    READY = "Ready"
    VERSION_MISSING = "VersionMissing"
    VERSION_NOT_READY = "VersionNotReady"
    CHAMPION_MISSING = "ChampionMissing"
    CHAMPION_KNOWN = "ChampionKnown"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    SCHEMA_MISSING = "SchemaMissing"
    DATABASE_REACHABLE = "DatabaseReachable"
    GATEWAY_STARTING = "GatewayStarting"
    GATEWAY_READY = "GatewayReady"
    APPLIED = "Applied"
    APPLYING = "Applying"
    EXPIRED = "Expired"
    EXPERIMENT_RUNNING = "ExperimentRunning"
    NO_EXPERIMENT = "NoExperiment"


@dataclass(frozen=True, slots=True)
class Promotion:
    """The newest stored promotion of this Endpoint."""

    version: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What one gateway pod last said that it obeys."""

    replica: str
    generation: int
    epoch: int | None


@dataclass(frozen=True, slots=True)
class EpochRow:
    """A stored weight of one block."""

    block: int
    epoch: int
    candidate_weight: Decimal


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about an Endpoint; None is: not there, or not known.

    Attributes:
        versions: every ModelVersion of the namespace by name.
        experiments: every ABExperiment that names this Endpoint.
        epochs: of the experiment that holds the Endpoint.
        in_position: versions whose decisions have open positions: follow-ups are theirs, also after they retired.
        mounted: versions whose Secret every gateway pod has; None: there is no pod.
        database_error: why SQL facts are missing; None: they are complete.
    """

    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    experiments: tuple[ABExperiment, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    in_position: frozenset[str] = frozenset()
    promotion: Promotion | None = None
    replicas: tuple[ReplicaReport, ...] = ()
    ready_pods: frozenset[str] = frozenset()
    mounted: frozenset[str] | None = None
    routing: Routing | None = None
    database_error: str | None = None
    schema_missing: bool = False


def decide(endpoint: Endpoint, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about an Endpoint now."""
    effects: list[Effect] = []
    status = endpoint.status
    if endpoint.metadata.deletion_timestamp is not None:
        return Decision(status)
    champion, champion_fact = _champion(endpoint, seen, now)
    held = _held_experiment(endpoint, seen)
    active = held if held is not None and held.status.phase not in TERMINAL else _next_experiment(endpoint, seen)
    previous = status.previous_champion_ref
    experiment_fact: Fact | None = None
    if held is not None and _promoted(held) and champion is not None and champion.name != held.spec.candidate:
        version = seen.versions.get(held.spec.candidate)
        if version is None or not _is_as_seen(version, held.status.candidate_ref):
            active = held  # what was not tested is not promoted; the Endpoint waits until a person says how to go on
            message = (
                f"ABExperiment {held.name} promoted {held.spec.candidate}, which no longer exists as it was tested: "
                f"restore it, or delete ABExperiment {held.name} to keep {champion.name}"
            )
            experiment_fact = Fact("ExperimentActive", False, Reason.VERSION_MISSING, message)
        elif held.status.verdict is not None:
            sha256 = version_sha256(version)
            effects.append(
                RecordPromotion(
                    endpoint=endpoint.name,
                    version=version.name,
                    sha256=sha256,
                    previous=champion.name,
                    experiment_uid=held.metadata.uid,
                    reason=held.status.verdict.reason,
                )
            )
            previous = champion
            champion = VersionStatusRef(
                name=version.name, uid=version.metadata.uid, sha256=sha256, since=now.replace(microsecond=0)
            )
            champion_fact = Fact("ChampionAvailable", True, Reason.CHAMPION_KNOWN, f"promoted {version.name}")

    routing = _routing(endpoint, seen, champion, active, now)
    # A promotion is stored before anybody obeys it. While a version is missing, its Secret stays mounted.
    if routing is not None and routing.arms.keys() <= seen.versions.keys():
        credentials = _credentials(seen, routing)
        effects += [Apply(manifest) for manifest in gateway_manifests(endpoint, owner, platform, credentials)]
        # A pod that lacks a version's key could only fail in its name: such a version is routed to once all have it.
        lacking = sorted(credentials.keys() - seen.mounted) if seen.mounted is not None else []
        if lacking and seen.routing is not None:
            routing = seen.routing
            message = f"gateway pods are being replaced by ones with the API key of {', '.join(lacking)}"
            experiment_fact = experiment_fact or Fact("ExperimentActive", False, Reason.APPLYING, message)
    if routing is not None and routing is not seen.routing:
        effects.append(Apply(routing_config_map(owner, routing)))

    facts = [champion_fact, _database_fact(seen), *_gateway_facts(endpoint, seen, routing, now)]
    facts.append(experiment_fact or _experiment_fact(active, routing))
    blocked = next((fact for fact in facts[:3] if fact.holds is not True), None)
    ready = Fact("Ready", True, Reason.READY, f"{champion.name} answers" if champion else "")
    facts.append(ready if blocked is None else Fact("Ready", False, Reason(blocked.reason), blocked.message))
    generation = endpoint.metadata.generation
    reports = [r for r in seen.replicas if r.replica in seen.ready_pods]
    new = status.model_copy(
        update={
            "observed_generation": generation,
            "phase": EndpointPhase.READY if blocked is None else _phase(status),
            "url": f"http://{gateway_name(endpoint.name)}.{endpoint.namespace}.svc.cluster.local",
            "champion_ref": champion,
            "previous_champion_ref": previous,
            "active_experiment": _active_ref(active),
            "epoch": routing.experiment.epoch if routing and routing.experiment else status.epoch,
            "weights": _weights(routing, facts, now),
            "alpha_spent12_months": _alpha_spent(seen, now),
            "gateway": GatewayStatus(
                replicas=endpoint.spec.gateway.replicas,
                ready_replicas=len(seen.ready_pods),
                reported_epoch=min((r.epoch for r in reports if r.epoch is not None), default=None),
                generation=routing.generation if routing else None,
            ),
            "conditions": with_facts(status.conditions, facts, generation=generation, now=now),
            "message": None if blocked is None else blocked.message[:1024],
        }
    )
    live = active is not None and active.spec.mode is Mode.LIVE
    waiting = blocked is not None or any(
        (f.type == "WeightsApplied" and f.holds is not True) or f.reason == Reason.APPLYING for f in facts
    )
    return Decision(new, tuple(effects), timedelta(seconds=2) if waiting else ROUTING_RENEWAL if live else None)


def version_sha256(version: ModelVersion) -> str | None:
    """The hash that a version is pinned to; None for an external API."""
    if version.spec.adapter:
        return version.spec.adapter.sha256
    return version.spec.model.sha256 if version.spec.model else None


def arm_target(version: ModelVersion) -> ArmTarget:
    """How the gateway asks a version."""
    external = version.spec.external
    if external is not None:
        return ArmTarget(
            protocol="openai",
            base_url=external.base_url,
            model=external.model,
            credential_file=credential_path(version.name, external.secret_ref) if external.secret_ref else None,
            timeout_seconds=as_milliseconds(external.timeout) / 1000,
            max_retries=external.max_retries,
            price_per_call_cny=Decimal(external.price_per_call_cny) if external.price_per_call_cny else None,
        )
    return ArmTarget(
        protocol="kserve",
        base_url=predictor_url(version.name, version.namespace),
        model=version.name,
        timeout_seconds=as_milliseconds(version.spec.serving.timeout) / 1000,
        sha256=version_sha256(version),
    )


def _champion(endpoint: Endpoint, seen: Seen, now: datetime) -> tuple[VersionStatusRef | None, Fact]:
    """The champion: as stored in the status, else as stored in SQL if it still verifies, else the fallback at first."""
    known = endpoint.status.champion_ref
    if known is None:
        if seen.database_error is not None:
            return None, Fact(
                "ChampionAvailable", None, Reason.DATABASE_UNREACHABLE, "the history of champions is not readable"
            )
        name = seen.promotion.version if seen.promotion else endpoint.spec.fallback
        version = seen.versions.get(name)
        if version is None:
            reason = Reason.CHAMPION_MISSING if seen.promotion else Reason.VERSION_MISSING
            field_name = "the last promoted champion" if seen.promotion else "spec.fallback"
            message = (
                f"{field_name} names ModelVersion {name!r}, which does not exist in {endpoint.namespace}: create it"
            )
            return None, Fact("ChampionAvailable", False, reason, message)
        if seen.promotion and seen.promotion.sha256 != version_sha256(version):
            message = f"ModelVersion {name} is not what was promoted: its sha256 differs; restore the promoted artifact"
            return None, Fact("ChampionAvailable", False, Reason.CHAMPION_MISSING, message)
        known = VersionStatusRef(
            name=name, uid=version.metadata.uid, sha256=version_sha256(version), since=now.replace(microsecond=0)
        )
    version = seen.versions.get(known.name)
    if version is None or version_sha256(version) != known.sha256:
        message = f"the champion {known.name} no longer exists as it was promoted: restore ModelVersion {known.name}"
        return known, Fact("ChampionAvailable", False, Reason.CHAMPION_MISSING, message)
    if not is_true(version.status.conditions, "Ready"):
        message = f"the champion {known.name} is not Ready; {endpoint.spec.fallback} answers for it"
        return known, Fact("ChampionAvailable", False, Reason.VERSION_NOT_READY, message)
    return known, Fact("ChampionAvailable", True, Reason.CHAMPION_KNOWN, known.name)


def _held_experiment(endpoint: Endpoint, seen: Seen) -> ABExperiment | None:
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


def _next_experiment(endpoint: Endpoint, seen: Seen) -> ABExperiment | None:
    """The experiment that runs already (this status was lost), else the oldest that could start.

    Nobody waits behind one that cannot.
    """
    wanted = Mode.REPLAY if endpoint.spec.clock is Clock.REPLAY else Mode.LIVE
    waiting = [e for e in seen.experiments if e.status.phase not in TERMINAL and e.spec.mode is wanted and _may_hold(e)]
    return min(waiting, key=lambda e: (e.status.t0 is None, str(e.metadata.creation_timestamp), e.name), default=None)


def _is_as_seen(version: ModelVersion, ref: VersionStatusRef | None) -> bool:
    """Whether a version is still the artifact that a status speaks of, not another one under its name."""
    return ref is None or version_sha256(version) == ref.sha256


def _promoted(experiment: ABExperiment) -> bool:
    verdict = experiment.status.verdict
    return (
        experiment.status.phase is ABExperimentPhase.SUCCEEDED and verdict is not None and verdict.decision == "promote"
    )


def _routing(
    endpoint: Endpoint, seen: Seen, champion: VersionStatusRef | None, active: ABExperiment | None, now: datetime
) -> Routing | None:
    """The document to publish: the one that is published already (the same object) where nothing is to change."""
    fallback = seen.versions.get(endpoint.spec.fallback)
    if champion is None or fallback is None or (active is not None and active.status.phase in TERMINAL):
        return seen.routing
    roles = [champion]
    names = {champion.name, fallback.name}
    experiment = _experiment_route(endpoint, active, seen)
    if experiment is not None and active is not None:
        names |= {experiment.baseline, experiment.candidate}
        roles += [ref for ref in (active.status.baseline_ref, active.status.candidate_ref) if ref is not None]
    if not names <= seen.versions.keys() or not all(_is_as_seen(seen.versions[ref.name], ref) for ref in roles):
        return seen.routing
    kept = seen.in_position if seen.database_error is None else frozenset(seen.routing.arms if seen.routing else ())
    names |= kept & seen.versions.keys()
    now = now.replace(microsecond=0)
    renewed = now + ROUTING_LIFETIME
    if seen.routing is not None and active is not None and not _watched(active, seen, now):
        renewed = min(renewed, seen.routing.expires_at)
    document = Routing(
        endpoint=endpoint.name,
        generation=seen.routing.generation if seen.routing else 0,
        published_at=now,
        expires_at=renewed,
        clock=endpoint.spec.clock.value,
        champion=champion.name,
        fallback=fallback.name,
        arms={name: arm_target(seen.versions[name]) for name in sorted(names)},
        experiment=experiment,
        limits=RoutingLimits(
            permission_levels={
                level: LevelLimits(max_leverage=limits.max_leverage, max_size_usd=Decimal(limits.max_size_usd))
                for level, limits in sorted(endpoint.spec.limits.permission_levels.items())
            },
            symbols=endpoint.spec.limits.symbols,
        ),
        external_fields=endpoint.spec.external_fields,
        labels=LabelRule(excellent=Decimal(endpoint.spec.labels.excellent), bad=Decimal(endpoint.spec.labels.bad)),
        max_hold_seconds=int(as_timedelta(endpoint.spec.max_hold).total_seconds()),
        on_database_outage=endpoint.spec.on_database_outage,
    )
    if seen.routing is not None:
        times = {"published_at": seen.routing.published_at, "expires_at": seen.routing.expires_at}
        if document.model_copy(update=times) == seen.routing:
            live = experiment is not None and experiment.mode == "Live"
            fresh = seen.routing.expires_at - now > ROUTING_LIFETIME - ROUTING_RENEWAL + timedelta(seconds=1)
            return document if live and not fresh and renewed > seen.routing.expires_at else seen.routing
    # Wall time keeps generations rising even after the ConfigMap was deleted by hand.
    generation = max(document.generation + 1, int(now.timestamp()))
    return document.model_copy(update={"generation": generation})


def _watched(active: ABExperiment, seen: Seen, now: datetime) -> bool:
    """Whether somebody looks at what the candidate does: a live weight that nobody watches is not renewed."""
    if active.spec.mode is not Mode.LIVE or active.status.weight is None or active.status.weight.desired in (None, "0"):
        return True
    looked = active.status.last_evaluated_time
    return seen.database_error is None and looked is not None and now - looked < UNWATCHED_AFTER


def _experiment_route(endpoint: Endpoint, active: ABExperiment | None, seen: Seen) -> ExperimentRoute | None:
    if active is None or active.status.t0 is None or active.status.baseline_ref is None:
        return None
    weight = active.status.weight
    blocks: tuple[BlockWeight, ...] = ()
    if active.spec.mode is Mode.REPLAY:
        blocks = tuple(
            BlockWeight(block=row.block, epoch=row.epoch, candidate_weight=row.candidate_weight)
            for row in sorted(seen.epochs, key=lambda row: row.block)
        )
        published = seen.routing.experiment if seen.routing is not None else None
        if endpoint.status.active_experiment is None or endpoint.status.active_experiment.uid != active.metadata.uid:
            blocks = ()  # the facts are those of another experiment
        elif seen.database_error is not None:  # published blocks are facts, whether or not they can be read now
            blocks = published.blocks if published is not None and published.uid == active.metadata.uid else ()
    return ExperimentRoute(
        uid=active.metadata.uid,
        name=active.name,
        mode=active.spec.mode.value,
        t0=active.status.t0,
        block_seconds=int(block_length(max_hold(active, endpoint)).total_seconds()),
        baseline=active.status.baseline_ref.name,
        candidate=active.spec.candidate,
        candidate_weight=Decimal(weight.desired) if weight and weight.desired else Decimal(0),
        epoch=max((b.epoch for b in blocks), default=active.status.epoch or 0),
        blocks=blocks,
    )


def _credentials(seen: Seen, routing: Routing) -> dict[str, SecretKeyRef]:
    """Secrets of the external versions that may be asked."""
    found: dict[str, SecretKeyRef] = {}
    for name in routing.arms:
        external = seen.versions[name].spec.external if name in seen.versions else None
        if external is not None and external.secret_ref is not None:
            found[name] = external.secret_ref
    return found


def _database_fact(seen: Seen) -> Fact:
    if seen.schema_missing:
        message = "the database has no schema of this version: run `tradewind migrate`"
        return Fact("DatabaseReachable", False, Reason.SCHEMA_MISSING, message)
    if seen.database_error is not None:
        return Fact("DatabaseReachable", False, Reason.DATABASE_UNREACHABLE, seen.database_error)
    return Fact("DatabaseReachable", True, Reason.DATABASE_REACHABLE)


def _gateway_facts(endpoint: Endpoint, seen: Seen, routing: Routing | None, now: datetime) -> tuple[Fact, Fact]:
    wanted, ready = endpoint.spec.gateway.replicas, len(seen.ready_pods)
    gateway = (
        Fact("GatewayReady", True, Reason.GATEWAY_READY, f"{ready} of {wanted} pods ready")
        if ready
        else Fact("GatewayReady", False, Reason.GATEWAY_STARTING, f"no gateway pod of {wanted} is ready")
    )
    if routing is None:
        return gateway, Fact("WeightsApplied", None, Reason.APPLYING, "nothing is published yet")
    if _expired(routing, now):
        message = f"the candidate's weight expired at {routing.expires_at.isoformat()}: the baseline answers until it is renewed"
        return gateway, Fact("WeightsApplied", False, Reason.EXPIRED, message)
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
