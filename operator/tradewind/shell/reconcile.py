"""The one reconcile shape: get, parse, observe, decide, carry out, write the status last, tell of what flipped."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, assert_never

import structlog
from pydantic import BaseModel

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import (
    API_VERSION,
    IN_USE_BY_LABEL,
    IN_USE_FINALIZER,
    CommonStatus,
    Condition,
    ConditionStatus,
    Resource,
)
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.registry import BY_KIND
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core import ab_experiment, endpoint, model_version, training_run, training_schedule
from tradewind.core.conditions import Fact, flips, with_facts
from tradewind.core.decision import (
    Apply,
    Create,
    Decision,
    Delete,
    Effect,
    Hold,
    Owner,
    PublishEpoch,
    RecordExperiment,
    RecordPromotion,
    RecordVerdict,
)
from tradewind.core.platform import Platform
from tradewind.shell.cluster import Cluster, ClusterError, Json
from tradewind.shell.database import Database, DatabaseUnavailableError
from tradewind.shell.observe import Observer

log = structlog.get_logger()

RECONCILING = "Reconciling"
"""False while nothing could be decided, or what was decided could not be carried out; absent otherwise."""
DECISION_FAILED = "DecisionFailed"
_LONGEST = 500
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=password=)\S+")


class Key(NamedTuple):
    """One resource of ours."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Reconciler:
    """Reconciles any of our kinds.

    Attributes:
        enqueue: asks for a turn of another resource, after an effect that concerns it.
        clock: the time; an argument of every decision.
    """

    cluster: Cluster
    database: Database | None
    observer: Observer
    platform: Platform
    enqueue: Callable[[Key], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def __call__(self, key: Key) -> float | None:
        """One turn of a resource; returns seconds until it wants another one."""
        raw = await self.cluster.get(API_VERSION, key.kind, key.namespace, key.name)
        if raw is None:
            return None
        resource = parse(BY_KIND[key.kind].resource, raw)
        if isinstance(resource, InvalidSpec):
            await self._report_invalid(raw, key, resource)
            return None
        old: CommonStatus = resource.status  # type: ignore[attr-defined]
        try:
            decision = await self._decide(resource)
            for effect in decision.effects:
                raw = await self._carry_out(effect, key, raw)
            await self._write_status(raw, key, old, _recovered(decision.status))
        except Exception as error:
            await self._fail(error, resource, key, raw, old)
            raise
        return decision.requeue_after.total_seconds() if decision.requeue_after is not None else None

    async def _fail(self, error: Exception, resource: Resource, key: Key, raw: Json, old: CommonStatus) -> None:
        """Say what failed beside the old status; where the decision itself failed, take the candidate's weight back.

        A conflict is no failure: somebody else wrote, and the next turn reads it.
        """
        if isinstance(error, ClusterError) and error.status == 409:
            return
        status = old
        if not isinstance(error, ClusterError | DatabaseUnavailableError):
            try:
                safe = await self._fail_safe(resource)
                for effect in safe.effects:
                    raw = await self._carry_out(effect, key, raw)
                status = _common(safe.status)
            except Exception:
                log.exception("fail-safe failed", kind=key.kind, namespace=key.namespace, name=key.name)
        fact = _failure_fact(error, old)
        conditions = with_facts(old.conditions, [fact], generation=resource.metadata.generation, now=self.clock())
        with suppress(ClusterError):  # the error that the turn ends with is the first one
            await self._write_status(raw, key, old, status.model_copy(update={"conditions": conditions}))

    async def _fail_safe(self, resource: Resource) -> Decision:
        match resource:
            case Endpoint():
                published = await self.observer.published(resource)
                return endpoint.fail_safe(resource, Owner.of(resource), published, self.clock())
            case ABExperiment():
                return ab_experiment.fail_safe(resource)
        return Decision(resource.status)  # type: ignore[attr-defined]

    async def _decide(self, resource: Resource) -> Decision:
        observer, now = self.observer, self.clock
        owner = Owner.of(resource)
        match resource:
            case Endpoint():
                seen = await observer.endpoint(resource)
                return endpoint.decide(resource, seen, now(), platform=self.platform, owner=owner)
            case ModelVersion():
                facts = await observer.model_version(resource)
                return model_version.decide(resource, facts, now(), platform=self.platform, owner=owner)
            case TrainingRun():
                run_facts = await observer.training_run(resource)
                return training_run.decide(resource, run_facts, now(), platform=self.platform, owner=owner)
            case TrainingSchedule():
                return training_schedule.decide(resource, await observer.training_schedule(resource), now())
            case ABExperiment():
                return ab_experiment.decide(resource, await observer.ab_experiment(resource), now())
        raise TypeError(type(resource))

    async def _carry_out(self, effect: Effect, key: Key, raw: Json) -> Json:
        """Do one thing; returns the resource as it is afterwards."""
        match effect:
            case Apply(manifest):
                await self.cluster.apply(manifest)
            case Create(manifest):
                await self.cluster.create(manifest)
            case Delete(api_version, kind, name):
                await self.cluster.delete(api_version, kind, key.namespace, name)
            case Hold(holders):
                return await self._hold(holders, key, raw)
            case PublishEpoch() | RecordPromotion() | RecordExperiment() | RecordVerdict():
                await self._record(effect, key.namespace)
                self.enqueue(Key("Endpoint", key.namespace, effect.endpoint))
            case _:
                assert_never(effect)
        return raw

    async def _record(
        self, effect: PublishEpoch | RecordPromotion | RecordExperiment | RecordVerdict, namespace: str
    ) -> None:
        if self.database is None:
            raise DatabaseUnavailableError("no database is configured: set TRADEWIND_DSN")
        match effect:
            case PublishEpoch():
                await self.database.publish_epoch(namespace, effect)
            case RecordPromotion():
                await self.database.record_promotion(namespace, effect)
            case RecordExperiment():
                await self.database.record_experiment(namespace, effect)
            case RecordVerdict():
                await self.database.record_verdict(namespace, effect)
            case _:
                assert_never(effect)

    async def _hold(self, holders: tuple[str, ...], key: Key, raw: Json) -> Json:
        """Keep or let go of the finalizer and the label that the admission policy reads."""
        metadata = raw["metadata"]
        finalizers = [f for f in metadata.get("finalizers", []) if f != IN_USE_FINALIZER]
        label = holders[0].partition("/")[2] if holders else None
        if holders:
            finalizers.append(IN_USE_FINALIZER)
        known = (sorted(metadata.get("finalizers", [])), metadata.get("labels", {}).get(IN_USE_BY_LABEL))
        if known == (sorted(finalizers), label):
            return raw
        if metadata.get("deletionTimestamp") and holders and IN_USE_FINALIZER not in metadata.get("finalizers", []):
            return raw  # a finalizer cannot be added to what is being deleted
        wanted: dict[str, Any] = {
            "finalizers": finalizers,
            "labels": {IN_USE_BY_LABEL: label},
            "resourceVersion": metadata["resourceVersion"],
        }
        return await self.cluster.merge(API_VERSION, key.kind, key.namespace, key.name, {"metadata": wanted})

    async def _write_status(self, raw: Json, key: Key, old: CommonStatus, new: CommonStatus) -> None:
        if new == old:
            return
        try:
            written = await self.cluster.write_status(raw, new.to_manifest())
        except ClusterError as error:
            if error.status == 404:
                return  # deleted meanwhile
            raise
        for condition in flips(old.conditions, new.conditions):
            await self._tell(written, key, condition)

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
            RECONCILING,
        )
        message = f"{condition.type}={condition.status.value}: {condition.message}"
        now = self.clock()
        await self.cluster.event(
            raw, reason=condition.reason, message=message, warning=bad, action=condition.type, now=now
        )

    async def _report_invalid(self, raw: Json, key: Key, invalid: InvalidSpec) -> None:
        """A spec that the API server let pass and we cannot read: said in the happy condition, and left alone."""
        kind = BY_KIND[key.kind]
        old = kind.status.model_validate(raw.get("status") or {})
        fact = Fact(kind.happy, False, "InvalidSpec", invalid.message)
        generation = raw["metadata"].get("generation", 1)
        conditions = with_facts(old.conditions, [fact], generation=generation, now=self.clock())
        phase = kind.phases("Invalid")
        await self._write_status(raw, key, old, old.model_copy(update={"conditions": conditions, "phase": phase}))


def _failure_fact(error: Exception, old: CommonStatus) -> Fact:
    """What failed. A decision that fails again keeps its first message: one that moves would be an event each turn."""
    if isinstance(error, ClusterError | DatabaseUnavailableError):
        return Fact(RECONCILING, False, type(error).__name__.removesuffix("Error"), str(error))
    known = old.condition(RECONCILING)
    if known is not None and known.reason == DECISION_FAILED:
        return Fact(RECONCILING, False, DECISION_FAILED, known.message)
    text = _CREDENTIALS.sub("***", f"{type(error).__name__}: {error}")
    return Fact(RECONCILING, False, DECISION_FAILED, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _recovered(status: BaseModel) -> CommonStatus:
    """The status without the failure of an earlier turn."""
    new = _common(status)
    if new.condition(RECONCILING) is None:
        return new
    return new.model_copy(update={"conditions": tuple(c for c in new.conditions if c.type != RECONCILING)})


def _common(status: BaseModel) -> CommonStatus:
    assert isinstance(status, CommonStatus)
    return status
