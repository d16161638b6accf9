"""The one reconcile shape: get, parse, observe, decide, carry out, write the status last, tell of what flipped."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, assert_never

import structlog
from prometheus_client import Counter, Gauge
from pydantic import BaseModel, ValidationError

from tradewind.api.ab_experiment_status import ABExperimentStatus, HistoryEntry
from tradewind.api.common import (
    API_VERSION,
    IN_USE_FINALIZER,
    CommonStatus,
    Condition,
    ConditionStatus,
    Resource,
)
from tradewind.api.endpoint import ChampionHistoryEntry
from tradewind.api.parse import InvalidSpec
from tradewind.api.registry import BY_KIND as API_KINDS
from tradewind.core.conditions import Fact, flips, with_facts
from tradewind.core.decision import (
    Apply,
    Create,
    Delete,
    Effect,
    Hold,
    Manifest,
    Owner,
    PublishEpoch,
    RecordExperiment,
    RecordPromotion,
    RecordVerdict,
)
from tradewind.core.evidence import lost_counts
from tradewind.core.kind import Kind
from tradewind.core.platform import Platform
from tradewind.core.policy import POLICY_KEPT
from tradewind.core.registry import BY_KIND
from tradewind.core.verbs import answered_verbs
from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.cache import Key
from tradewind.shell.children import Children, ForeignObjectError, Known
from tradewind.shell.cluster import ClusterError, Json
from tradewind.shell.going import stays
from tradewind.shell.holds import hold_patch, is_held
from tradewind.shell.world import ClusterWorld
from tradewind.trading.evidence import LostReason
from tradewind.trading.routing import ROUTING_KEY, SIGNATURE_KEY

log = structlog.get_logger()

RECONCILING = "Reconciling"
"""False while nothing could be decided, or what was decided could not be carried out; absent otherwise."""
DECISION_FAILED = "DecisionFailed"

WEIGHT = Gauge("tradewind_candidate_weight", "The candidate's share in the newest epoch.", ["namespace", "experiment"])
EPOCHS = Counter("tradewind_epochs", "Weights that were stored, by why.", ["reason"])
LOST = Gauge(
    "tradewind_lost_decisions",
    "Decisions of an experiment that are no evidence, by reason.",
    ["namespace", "experiment", "reason"],
)
_LATER = 60.0
_LONGEST = 500
_CONFLICTS = 8
"""In a row, over some 30 s of back-off: no neighbour writes that long."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=password=)\S+")


class _NeedsFreshRead(Exception):  # noqa: N818 - no error
    """What was decided on a view is to be decided on what there is."""


@dataclass(frozen=True)
class Reconciler:
    """Reconciles any of our kinds.

    Attributes:
        enqueue: asks for a turn of another resource, after an effect that concerns it.
        clock: the time; an argument of every decision.
        kinds: how each kind is reconciled.
        known: what is known of children, so that they need not be looked at in each turn.
        conflicts: turns in a row that ended with a conflict, by resource.
    """

    world: ClusterWorld
    platform: Platform
    enqueue: Callable[[Key], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    kinds: Mapping[str, Kind[Any, Any]] = field(default_factory=lambda: BY_KIND)
    known: Known = field(default_factory=Known)
    conflicts: dict[Key, int] = field(default_factory=dict)

    async def __call__(self, key: Key) -> float | None:
        """One turn of a resource; returns seconds until it wants another one.

        It is decided on what is known. Where anything but a renewal follows, it is decided once more on what there is.
        """
        head = self.world.cache.head(key) if key not in self.conflicts else None
        known = self.world.cache.get(self.kinds[key.kind].resource, key.namespace, key.name)
        if head is not None and known is not None:
            try:
                return await self._turn(key, head, known, replace(self.world, trusting=True))
            except _NeedsFreshRead:
                log.debug("decided once more", kind=key.kind, namespace=key.namespace, name=key.name)
        try:
            raw = await self.world.cluster.get(API_VERSION, key.kind, key.namespace, key.name)
        except ClusterError as error:
            if error.status != 403 or await stays(self.world.cluster, key.namespace):
                raise
            self._forgotten(key)  # the rights went with the namespace
            return None
        if raw is None:
            self._forgotten(key)
            return await self._recorded_as_gone(key)
        resource = self.world.cache.take(raw)
        if isinstance(resource, InvalidSpec):
            await self._report_invalid(raw, key, resource)
            return None
        return await self._turn(key, raw, resource, self.world)

    async def _turn(self, key: Key, raw: Json, resource: Resource, world: ClusterWorld) -> float | None:
        """Observe, decide, carry out.

        Args:
            raw: as it was read, or its head as it is known.
            resource: the same, typed.
            world: where it trusts its view, nothing is carried out but renewals.

        Raises:
            _NeedsFreshRead: something else was decided.
        """
        kind = self.kinds[key.kind]
        old: CommonStatus = resource.status  # type: ignore[attr-defined]
        try:
            seen = await kind.observe(resource, world)
            owner = Owner.of(resource)
            decide = partial(kind.decide, resource, seen, self.clock(), platform=self.platform, owner=owner)
            # Evidence is summed and forecast for up to seconds: all others have their turns meanwhile.
            decision = decide() if getattr(seen, "table", None) is None else await asyncio.to_thread(decide)
            if world.trusting and not all(self._is_idle(effect, owner, raw) for effect in decision.effects):
                raise _NeedsFreshRead
            raw = await self._carry_all_out(decision.effects, owner, key, raw)
            await self._write_status(raw, key, old, _recovered(decision.status), loud=decision.requeue_after is None)
            _measure(key, decision.status)
            if getattr(decision.status, "completion_time", None) is not None:
                _forget(key)
        except _NeedsFreshRead:
            raise
        except Exception as error:
            await self._fail(error, resource, key, raw, old)
            raise
        self.conflicts.pop(key, None)
        return decision.requeue_after.total_seconds() if decision.requeue_after is not None else None

    def _forgotten(self, key: Key) -> None:
        _forget(key)
        self.conflicts.pop(key, None)
        self.world.views.forget(self.known.forget(key))

    async def _recorded_as_gone(self, key: Key) -> float | None:
        """Record what an object that is gone leaves behind; where the rights went with its namespace, nothing can be told."""
        try:
            for verdict in await self.kinds[key.kind].gone(key.namespace, key.name, self.world, self.clock()):
                await self._record(verdict, key.namespace)
        except DatabaseUnavailableError:
            return _LATER if self.world.sql is not None else None
        except ClusterError as error:
            if error.status != 403:
                raise
        return None

    async def _fail(self, error: Exception, resource: Resource, key: Key, raw: Json, old: CommonStatus) -> None:
        """Say what failed beside the old status; where the decision itself failed, take the candidate's weight back.

        A conflict is no failure: somebody else wrote, and the next turn reads it. Where that never helps, it is one.
        """
        if isinstance(error, ClusterError) and error.status == 409:
            self.conflicts[key] = self.conflicts.get(key, 0) + 1
            if self.conflicts[key] < _CONFLICTS:
                return
        status = old
        if not isinstance(error, ClusterError | DatabaseUnavailableError):
            try:
                safe = await self.kinds[key.kind].fail_safe(resource, self.world, self.clock())
                raw = await self._carry_all_out(safe.effects, Owner.of(resource), key, raw)
                status = _common(safe.status)
            except Exception:
                log.exception("fail-safe failed", kind=key.kind, namespace=key.namespace, name=key.name)
        facts = [_failure_fact(error, old)]
        changes: dict[str, Any] = {}
        if isinstance(error, ForeignObjectError):
            facts.append(_never_made(key.kind, str(error)))
            changes = _degraded(key.kind, status)
        conditions = with_facts(old.conditions, facts, generation=resource.metadata.generation, now=self.clock())
        try:
            await self._write_status(raw, key, old, status.model_copy(update={"conditions": conditions, **changes}))
        except ClusterError as untold:  # the error that the turn ends with is the first one
            log.debug("failure not told", kind=key.kind, namespace=key.namespace, name=key.name, error=str(untold))
        except Exception:
            log.exception("failure not told", kind=key.kind, namespace=key.namespace, name=key.name)

    async def _carry_all_out(self, effects: Sequence[Effect], owner: Owner, key: Key, raw: Json) -> Json:
        """Do all that was decided; returns the resource as it is afterwards.

        No child is written while another has a name that is somebody else's: a binding, for one, would name a foreign Role.
        """
        children = self._children(owner)
        applied = [effect.manifest for effect in effects if isinstance(effect, Apply) and not self._had(effect, owner)]
        for effect in effects:
            if applied and isinstance(effect, Apply | Create | Delete):
                await children.check(applied)
                applied = []
            raw = await self._carry_out(effect, children, key, raw)
        return raw

    def _children(self, owner: Owner) -> Children:
        return Children(self.world.cluster, owner, self.known.of(owner), self.world.views)

    def _is_idle(self, effect: Effect, owner: Owner, raw: Json) -> bool:
        """Whether an effect changes nothing, or goes on with what is published."""
        match effect:
            case Apply(manifest, manager):
                return effect.renews or (not effect.sealed and self._children(owner).is_as_written(manifest, manager))
            case Hold(holders):
                return is_held(raw["metadata"], holders)
        return False

    def _had(self, effect: Apply, owner: Owner) -> bool:
        """Whether this process has published the document before: what has its name since is in its place."""
        return effect.sealed and self.world.kept_routing(owner.uid) is not None

    async def _carry_out(self, effect: Effect, children: Children, key: Key, raw: Json) -> Json:
        """Do one thing; returns the resource as it is afterwards."""
        match effect:
            case Apply(manifest, manager, sealed):
                made = self._sealed(manifest, key) if sealed else manifest
                await children.apply(made, manager, reclaims=self._had(effect, children.owner))
                if sealed:  # once it lies there: one that was never written is no later one
                    self.world.keep_routing(children.owner.uid, manifest["data"][ROUTING_KEY])
            case Create(manifest):
                created = await children.create(manifest)
                if created is not None and manifest["kind"] in self.kinds:
                    self.world.cache.take(created)
            case Delete(api_version, kind, name, uid):
                await children.delete(api_version, kind, name, uid)
            case Hold(holders):
                return await self._hold(holders, key, raw)
            case PublishEpoch() | RecordPromotion() | RecordExperiment() | RecordVerdict():
                await self._record(effect, key.namespace)
                self.enqueue(Key("Endpoint", key.namespace, effect.endpoint))
            case _:
                assert_never(effect)
        return raw

    def _sealed(self, manifest: Manifest, key: Key) -> Manifest:
        """A routing document with its signature, which is that of an Endpoint alone."""
        signature = self.world.seal.sign(manifest["data"][ROUTING_KEY], key.namespace, key.name)
        return {**manifest, "data": {**manifest["data"], SIGNATURE_KEY: signature}}

    async def _record(
        self, effect: PublishEpoch | RecordPromotion | RecordExperiment | RecordVerdict, namespace: str
    ) -> None:
        database = self.world.database
        match effect:
            case PublishEpoch():
                await database.publish_epoch(namespace, effect)
                self._told(namespace, effect)
            case RecordPromotion():
                await database.record_promotion(namespace, effect)
            case RecordExperiment():
                await database.record_experiment(namespace, effect)
            case RecordVerdict():
                await database.record_verdict(namespace, effect)
            case _:
                assert_never(effect)

    def _told(self, namespace: str, epoch: PublishEpoch) -> None:
        """One line and one number an epoch: which weight, and why."""
        weight = f"{epoch.candidate_weight:f}"
        log.info(
            "weight",
            namespace=namespace,
            experiment=epoch.experiment,
            block=epoch.block,
            weight=weight,
            reason=epoch.reason,
            message=epoch.message,
        )
        WEIGHT.labels(namespace, epoch.experiment).set(float(weight))
        EPOCHS.labels(epoch.reason).inc()

    async def _hold(self, holders: tuple[str, ...], key: Key, raw: Json) -> Json:
        """Keep or let go of the finalizer and the label that the admission policy reads."""
        metadata = raw["metadata"]
        if is_held(metadata, holders):
            return raw
        wanted = hold_patch(metadata, holders)
        if metadata.get("deletionTimestamp") and holders and IN_USE_FINALIZER not in metadata.get("finalizers", []):
            return raw  # a finalizer cannot be added to what is being deleted
        merged = await self.world.cluster.merge(API_VERSION, key.kind, key.namespace, key.name, {"metadata": wanted})
        self.world.cache.take(merged)
        return merged

    async def _write_status(
        self, raw: Json, key: Key, old: CommonStatus, new: CommonStatus, *, loud: bool = True
    ) -> None:
        """Args: loud: the watch event of it is to be the next turn, whatever it changes."""
        if new == old:
            return
        try:
            written = await self.world.cluster.write_status(raw, new.to_manifest())
        except ClusterError as error:
            if error.status == 404:
                return  # deleted meanwhile
            raise
        self.world.cache.take(written)
        if not loud and self.kinds[key.kind].quiet(old, new):
            self.world.cache.quieten(written)
        for condition in flips(old.conditions, new.conditions):
            await self._tell(written, key, condition)
        for answered in answered_verbs(old, new):
            await self._answer(written, key, answered)

    async def _tell(self, raw: Json, key: Key, condition: Condition) -> None:
        log.info(
            "condition",
            kind=key.kind,
            namespace=key.namespace,
            name=key.name,
            condition=condition.type,
            status=condition.status.value,
            reason=condition.reason,
            message=condition.message,
        )
        bad = condition.status is ConditionStatus.FALSE and condition.type in (
            "Ready",
            "Succeeded",
            "ChampionAvailable",
            "FallbackAvailable",
            "ArmHealthy",
            "PromptUsable",
            POLICY_KEPT,
            "GatewayReady",
            "RoutingIntact",
            RECONCILING,
        )
        message = f"{condition.type}={condition.status.value}: {condition.message}"
        now = self.clock()
        await self.world.cluster.event(
            raw, reason=condition.reason, message=message, warning=bad, action=condition.type, now=now
        )

    async def _answer(self, raw: Json, key: Key, entry: HistoryEntry | ChampionHistoryEntry) -> None:
        """What came of a verb, for the log and as an Event: who asked, when, and whether it was done."""
        log.info(
            "verb",
            kind=key.kind,
            namespace=key.namespace,
            name=key.name,
            verb=entry.verb,
            request=entry.request,
            by=entry.by,
            result=entry.result,
            reason=entry.reason,
            message=entry.message,
            time=entry.time.isoformat(),
        )
        message = f"{entry.verb} by {entry.by}: {entry.result}: {entry.message}"
        refused = entry.result != "done"
        await self.world.cluster.event(
            raw, reason=entry.reason, message=message, warning=refused, action=str(entry.verb), now=self.clock()
        )

    async def _report_invalid(self, raw: Json, key: Key, invalid: InvalidSpec) -> None:
        """A spec that the API server let pass and we cannot read: said in the happy condition, and left alone."""
        kind = API_KINDS[key.kind]
        try:
            old = kind.status.model_validate(raw.get("status") or {})
        except ValidationError:  # of a newer operator, or written by somebody else
            old = kind.status()
        fact = Fact(kind.happy, False, "InvalidSpec", invalid.message)
        generation = raw["metadata"].get("generation", 1)
        conditions = with_facts(old.conditions, [fact], generation=generation, now=self.clock())
        phase = kind.phases("Invalid")
        await self._write_status(raw, key, old, old.model_copy(update={"conditions": conditions, "phase": phase}))


def _measure(key: Key, status: BaseModel) -> None:
    """The numbers of an experiment that its status has."""
    if isinstance(status, ABExperimentStatus):
        counts = lost_counts(status.evidence)
        for reason, count in counts.by_reason.items() if counts is not None else ():
            LOST.labels(key.namespace, key.name, reason.value).set(count)


def _forget(key: Key) -> None:
    """The numbers of an experiment that is over or gone say nothing any more."""
    if key.kind == "ABExperiment":
        with suppress(KeyError):
            WEIGHT.remove(key.namespace, key.name)
        for reason in LostReason:
            with suppress(KeyError):
                LOST.remove(key.namespace, key.name, reason.value)


def _failure_fact(error: Exception, old: CommonStatus) -> Fact:
    """What failed: Cluster, ForeignObject, ObjectLeaving, DatabaseUnavailable, DecisionFailed.

    A decision that fails again keeps its first message: one that moves would be an event each turn.
    """
    if isinstance(error, ClusterError | DatabaseUnavailableError):
        return Fact(RECONCILING, False, type(error).__name__.removesuffix("Error"), str(error))
    known = old.condition(RECONCILING)
    if known is not None and known.reason == DECISION_FAILED:
        return Fact(RECONCILING, False, DECISION_FAILED, known.message)
    text = _CREDENTIALS.sub("***", f"{type(error).__name__}: {error}")
    return Fact(RECONCILING, False, DECISION_FAILED, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _never_made(kind: str, message: str) -> Fact:
    """The happy condition of a resource whose child cannot be made: it must not go on to say that all is well.

    A batch kind is not over for that: it goes on once the name is free.
    """
    of = API_KINDS[kind]
    return Fact(of.happy, None if of.batch else False, ForeignObjectError.__name__.removesuffix("Error"), message)


def _degraded(kind: str, status: CommonStatus) -> dict[str, Any]:
    """What a status shows beside its conditions, of a resource that was up."""
    changes: dict[str, Any] = {}
    if str(getattr(status, "phase", "")) == "Ready":
        changes["phase"] = API_KINDS[kind].phases("Degraded")
    return changes


def _recovered(status: BaseModel) -> CommonStatus:
    """The status without the failure of an earlier turn."""
    new = _common(status)
    if new.condition(RECONCILING) is None:
        return new
    return new.model_copy(update={"conditions": tuple(c for c in new.conditions if c.type != RECONCILING)})


def _common(status: BaseModel) -> CommonStatus:
    assert isinstance(status, CommonStatus)
    return status
