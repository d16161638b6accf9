"""Observation: what each kind's decision needs to know, gathered from the API server, SQL and the trainers' reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.common import API_VERSION, Resource
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion, Stage
from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import ProgressStatus
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core import ab_experiment, endpoint, model_version, training_run, training_schedule
from tradewind.core.decision import JobFacts
from tradewind.core.evidence import block_length, max_hold
from tradewind.core.manifests.common import COMPONENT, OWNER_NAME
from tradewind.core.manifests.gateway import mounted_versions, routing_name
from tradewind.core.manifests.training import model_version_name, snapshot_name, train_name
from tradewind.shell.cluster import Cluster
from tradewind.shell.database import Database, DatabaseUnavailableError
from tradewind.shell.facts import has_ended, is_ready, job_facts, predictor_pod, service_facts
from tradewind.trading.routing import ROUTING_KEY, Routing

R = TypeVar("R", bound=Resource)
_NO_DATABASE = "no database is configured: set TRADEWIND_DSN (chart: database.existingSecret or database.embedded)"


@dataclass(frozen=True)
class Observer:
    """Reads the world for decisions.

    Attributes:
        progress: newest report of each run's trainer, by (namespace, name).
    """

    cluster: Cluster
    database: Database | None
    progress: Mapping[tuple[str, str], ProgressStatus] = field(default_factory=dict)

    async def endpoint(self, cr: Endpoint) -> endpoint.Seen:
        """Facts about an Endpoint."""
        versions = {v.name: v for v in await self._all(ModelVersion, cr.namespace)}
        experiments = [e for e in await self._all(ABExperiment, cr.namespace) if e.spec.endpoint_ref.name == cr.name]
        pods = await self._pods(cr.namespace, f"{COMPONENT}=gateway,{OWNER_NAME}={cr.name}")
        # A pod that is being deleted still answers on the connections that it has.
        mounted = [mounted_versions(pod) for pod in pods if not has_ended(pod)]
        seen: dict[str, Any] = {
            "versions": versions,
            "experiments": tuple(experiments),
            "ready_pods": frozenset(pod["metadata"]["name"] for pod in pods if is_ready(pod)),
            "mounted": frozenset.intersection(*mounted) if mounted else None,
            "routing": await self.published(cr),
        }
        if self.database is None:
            return endpoint.Seen(**seen, database_error=_NO_DATABASE)
        try:
            active = cr.status.active_experiment
            if active is not None:
                seen["epochs"] = await self.database.epochs(cr.namespace, cr.name, active.uid)
            seen["in_position"] = await self.database.in_position(cr.namespace, cr.name)
            seen["promotion"] = await self.database.promotion(cr.namespace, cr.name)
            seen["replicas"] = await self.database.replicas(cr.namespace, cr.name)
        except DatabaseUnavailableError as error:
            return endpoint.Seen(**seen, database_error=str(error), schema_missing=error.schema_missing)
        return endpoint.Seen(**seen)

    async def published(self, cr: Endpoint) -> Routing | None:
        """The routing document that the gateways of an Endpoint obey."""
        return _routing(await self.cluster.get("v1", "ConfigMap", cr.namespace, routing_name(cr.name)))

    async def model_version(self, cr: ModelVersion) -> model_version.Seen:
        """Facts about a ModelVersion."""
        holders, stage = await self._holders(cr)
        if cr.spec.external is not None:
            return model_version.Seen(holders=holders, stage=stage)
        service = await self.cluster.get("serving.kserve.io/v1beta1", "InferenceService", cr.namespace, cr.name)
        deployment = await self.cluster.get("apps/v1", "Deployment", cr.namespace, f"{cr.name}-predictor")
        pods = await self._pods(cr.namespace, f"serving.kserve.io/inferenceservice={cr.name}")
        benchmark = None
        if cr.status.attempts and cr.status.benchmark is None:
            benchmark = await self._job(cr.namespace, f"{cr.name}-benchmark-{cr.status.attempts}")
        return model_version.Seen(
            service=service_facts(service, deployment) if service else None,
            pods=tuple(predictor_pod(pod) for pod in pods),
            benchmark=benchmark,
            holders=holders,
            stage=stage,
        )

    async def training_run(self, cr: TrainingRun) -> training_run.Seen:
        """Facts about a TrainingRun."""
        if cr.status.phase in training_run.TERMINAL:
            return training_run.Seen()
        source = cr.spec.dataset.endpoint
        warm = cr.spec.warm_start_from
        attempt = cr.status.attempts or 0
        return training_run.Seen(
            endpoint=await self._one(Endpoint, cr.namespace, source) if source else None,
            snapshot=await self._job(cr.namespace, snapshot_name(cr.name)),
            training=await self._job(cr.namespace, train_name(cr.name, attempt)) if attempt else None,
            version=await self._one(ModelVersion, cr.namespace, model_version_name(cr)),
            warm_start=await self._one(ModelVersion, cr.namespace, warm) if warm else None,
            progress=self.progress.get(cr.key),
        )

    async def training_schedule(self, cr: TrainingSchedule) -> training_schedule.Seen:
        """Facts about a TrainingSchedule."""
        label = f"{training_schedule.SCHEDULE_LABEL}={cr.name}"
        runs = await self._all(TrainingRun, cr.namespace, label_selector=label)
        template = cr.spec.experiment_template
        source = cr.spec.template.spec.dataset.endpoint
        new_samples = None
        if self.database is not None and source is not None and cr.spec.min_new_samples:
            try:
                new_samples = await self.database.new_samples(cr.namespace, source, cr.status.last_watermark)
            except DatabaseUnavailableError:
                new_samples = None
        return training_schedule.Seen(
            runs=tuple(runs),
            versions={v.name: v for v in await self._all(ModelVersion, cr.namespace)},
            experiments=tuple(await self._all(ABExperiment, cr.namespace)),
            endpoint=await self._one(Endpoint, cr.namespace, template.endpoint_ref.name) if template else None,
            new_samples=new_samples,
        )

    async def ab_experiment(self, cr: ABExperiment) -> ab_experiment.Seen:
        """Facts about an ABExperiment."""
        if cr.status.phase in endpoint.TERMINAL:
            return ab_experiment.Seen()
        source = await self._one(Endpoint, cr.namespace, cr.spec.endpoint_ref.name)
        seen: dict[str, Any] = {
            "endpoint": source,
            "versions": {v.name: v for v in await self._all(ModelVersion, cr.namespace)},
        }
        if source is None:
            return ab_experiment.Seen(**seen)
        if self.database is None:
            return ab_experiment.Seen(**seen, database_error=_NO_DATABASE)
        try:
            seen |= await self._evidence(cr, source)
        except DatabaseUnavailableError as error:
            return ab_experiment.Seen(**seen, database_error=str(error))
        return ab_experiment.Seen(**seen)

    async def _evidence(self, cr: ABExperiment, source: Endpoint) -> dict[str, Any]:
        assert self.database is not None
        name = ab_experiment.baseline_name(cr, source)
        if name is None:
            return {}
        uid, place = cr.metadata.uid, (cr.namespace, source.name)
        seen: dict[str, Any] = {
            "tested_before": await self.database.tested_before(*place, name, cr.spec.candidate, uid),
        }
        if cr.status.t0 is None:
            return seen
        seen["epochs"] = await self.database.epochs(*place, uid)
        if cr.spec.mode is Mode.REPLAY:
            seen["clock"] = clock = await self.database.replay_clock(*place)
            if not ab_experiment.replay_has_news(cr, seen["epochs"], clock, block_length(max_hold(cr, source))):
                return seen
        seen["table"], seen["requests"] = await self.database.evidence(*place, uid)
        return seen

    async def _holders(self, cr: ModelVersion) -> tuple[tuple[str, ...], Stage]:
        """Who needs this version, and its stage."""
        holders: list[str] = []
        stage = Stage.CANDIDATE
        for point in await self._all(Endpoint, cr.namespace):
            champion = point.status.champion_ref
            if champion is not None and champion.name == cr.name:
                stage = Stage.CHAMPION
            elif stage is not Stage.CHAMPION and point.status.previous_champion_ref is not None:
                stage = Stage.RETIRED if point.status.previous_champion_ref.name == cr.name else stage
            if point.spec.fallback == cr.name or (champion is not None and champion.name == cr.name):
                holders.append(f"Endpoint/{point.name}")
        for experiment in await self._all(ABExperiment, cr.namespace):
            running = experiment.status.t0 is not None and experiment.status.phase not in endpoint.TERMINAL
            arms = {experiment.spec.candidate, getattr(experiment.status.baseline_ref, "name", None)}
            if running and cr.name in arms:
                holders.append(f"ABExperiment/{experiment.name}")
        return tuple(holders), stage

    async def _all(self, model: type[R], namespace: str, *, label_selector: str = "") -> list[R]:
        """Every valid object of a kind in a namespace; invalid ones have their own condition."""
        raw = await self.cluster.select(API_VERSION, model.__name__, namespace, label_selector=label_selector)
        parsed = [parse(model, item) for item in raw]
        return [item for item in parsed if not isinstance(item, InvalidSpec)]

    async def _one(self, model: type[R], namespace: str, name: str) -> R | None:
        raw = await self.cluster.get(API_VERSION, model.__name__, namespace, name)
        if raw is None:
            return None
        parsed = parse(model, raw)
        return None if isinstance(parsed, InvalidSpec) else parsed

    async def _job(self, namespace: str, name: str) -> JobFacts | None:
        raw = await self.cluster.get("batch/v1", "Job", namespace, name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return None
        pods = await self._pods(namespace, f"batch.kubernetes.io/job-name={name}")
        return job_facts(raw, pods)

    async def _pods(self, namespace: str, selector: str) -> Sequence[Mapping[str, Any]]:
        return await self.cluster.select("v1", "Pod", namespace, label_selector=selector)


def _routing(config_map: Mapping[str, Any] | None) -> Routing | None:
    """The published document; one that cannot be read is as good as none and is published anew."""
    text = (config_map or {}).get("data", {}).get(ROUTING_KEY)
    try:
        return Routing.model_validate_json(text) if text else None
    except ValueError:
        return None
