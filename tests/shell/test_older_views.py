"""Decisions on a view that is behind: what people did a moment ago is not in the cache yet, and nothing goes wrong."""

from dataclasses import replace
from typing import Self

from golden_worlds import Case, build, load
from server_double import PLATFORM, Json, Server, key, reconciler, thing

from tradewind.api.common import Resource
from tradewind.core.conditions import is_true
from tradewind.core.decision import Apply, Create, Decision, Owner, RecordExperiment, RecordPromotion
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.watch import refresh
from tradewind.trading.routing import Routing


def manifest(resource: Resource) -> Json:
    return {"kind": type(resource).__name__, **resource.to_manifest()}


class Rig:
    """An operator that has seen what is there, and is told of nothing that comes later."""

    def __init__(self, *objects: Json) -> None:
        self.server, self.cache = Server(*objects), Cache()
        self.world = reconciler(self.server, self.cache).world

    async def watched(self) -> Self:
        await refresh(self.cache, self.server, UNDIVIDED)  # type: ignore[arg-type]
        return self

    def seeing(self, kind: str, case: Case) -> Reconciler:
        """A reconciler whose kind observes what the case says."""

        async def observe(*_: object) -> object:
            return case.seen

        kinds = {**BY_KIND, kind: replace(BY_KIND[kind], observe=observe)}
        return replace(reconciler(self.server, self.cache, kinds=kinds), clock=lambda: case.now)


async def behind(case: Case) -> Rig:
    """An operator that has seen all that the case names."""
    seen = case.seen
    return await Rig(manifest(case.resource), *map(manifest, (*seen.versions.values(), *seen.experiments))).watched()


async def decided(rig: Rig, case: Case) -> Decision:
    """The Endpoint's decision on what it observes now, with the database and the pods of the case."""
    observed = await BY_KIND["Endpoint"].observe(case.resource, rig.world)
    seen = replace(case.seen, versions=observed.versions, experiments=observed.experiments)
    return BY_KIND["Endpoint"].decide(case.resource, seen, case.now, platform=PLATFORM, owner=Owner.of(case.resource))


def routed(decision: Decision) -> Routing:
    text = next(e.manifest["data"] for e in decision.effects if isinstance(e, Apply) and "data" in e.manifest)
    return Routing.model_validate_json(text["routing.json"])


async def test_the_weight_of_an_experiment_that_was_just_deleted_is_not_published() -> None:
    case = load("endpoint", "running-experiment-is-routed")
    rig = await behind(case)
    assert routed(await decided(rig, case)).experiment is not None
    (experiment,) = case.seen.experiments
    rig.server.remove("ABExperiment", experiment.name)
    assert routed(await decided(rig, case)).experiment is None


async def test_the_weight_that_an_experiment_just_took_back_is_not_published() -> None:
    case = load("endpoint", "running-experiment-is-routed")
    rig = await behind(case)
    (experiment,) = case.seen.experiments
    stopped = manifest(experiment)
    stopped["status"]["weight"] = {"desired": "0"}
    rig.server.put(stopped)
    route = routed(await decided(rig, case)).experiment
    assert route is not None
    assert route.candidate_weight == 0


async def test_a_version_that_was_just_made_anew_is_not_promoted() -> None:
    case = load("endpoint", "promotes-once")
    rig = await behind(case)
    assert [e for e in (await decided(rig, case)).effects if isinstance(e, RecordPromotion)]
    (experiment,) = case.seen.experiments
    other = manifest(case.seen.versions[experiment.spec.candidate])
    other["spec"]["adapter"]["sha256"] = "b" * 64
    rig.server.put(other)
    decision = await decided(rig, case)
    assert not [e for e in decision.effects if isinstance(e, RecordPromotion)]
    assert not is_true(decision.status.conditions, "ExperimentActive")  # type: ignore[attr-defined]
    rig.server.remove("ModelVersion", experiment.spec.candidate)
    assert not [e for e in (await decided(rig, case)).effects if isinstance(e, RecordPromotion)]


async def test_a_version_that_is_asked_for_by_hand_is_the_one_that_there_is_now() -> None:
    case = load("endpoint", "by-hand-promote-is-carried-out")
    rig = await behind(case)
    assert [e for e in (await decided(rig, case)).effects if isinstance(e, RecordPromotion)]
    other = manifest(case.seen.versions["v1"])
    other["spec"]["adapter"]["sha256"] = "b" * 64
    rig.server.put(other)
    decision = await decided(rig, case)
    assert not [e for e in decision.effects if isinstance(e, RecordPromotion)]
    assert decision.status.condition("ChampionByHand").reason == "VersionChanged"  # type: ignore[attr-defined]


async def test_a_run_registers_although_another_version_had_its_name_a_moment_ago() -> None:
    case = build("training_run", {"resource": {"status": {"attempts": 1, "result": {"sha256": "a" * 64}}}})
    name = case.resource.name
    other = {"uri": "pvc://m/x", "sha256": "b" * 64, "baseModel": {"uri": "pvc://models/base"}}
    rig = await Rig(manifest(case.resource), thing("ModelVersion", name, {"adapter": other})).watched()
    rig.server.remove("ModelVersion", name)
    seen = await BY_KIND["TrainingRun"].observe(case.resource, rig.world)
    assert seen.version is None


async def test_an_experiment_sees_its_place_as_soon_as_the_endpoint_has_written_it() -> None:
    """The handshake needs no watch: both statuses are the operator's own writes."""
    case = load("endpoint", "picks-the-oldest-admissible-experiment")
    rig = await behind(case)
    await rig.seeing("Endpoint", case)(key("Endpoint", "trader"))
    active = case.decide().status.active_experiment  # type: ignore[attr-defined]
    seen = await BY_KIND["ABExperiment"].observe(
        next(e for e in case.seen.experiments if e.name == active.name), rig.world
    )
    assert seen.endpoint is not None
    assert seen.endpoint.status.active_experiment == active


async def test_an_experiment_does_not_start_on_what_is_no_longer_there() -> None:
    """A start is stored for good: the place, and both artifacts, are those of the moment."""
    case = load("ab_experiment", "start")
    objects = (case.resource, case.seen.endpoint, *case.seen.versions.values())

    async def started(rig: Rig) -> list[RecordExperiment]:
        observed = await BY_KIND["ABExperiment"].observe(case.resource, rig.world)
        decision = case.decide(endpoint=observed.endpoint, versions=observed.versions)
        return [e for e in decision.effects if isinstance(e, RecordExperiment)]

    rig = await Rig(*map(manifest, objects)).watched()
    (record,) = await started(rig)
    other = manifest(case.seen.versions[case.resource.spec.candidate])  # type: ignore[attr-defined]
    other["spec"]["adapter"]["sha256"] = "b" * 64
    rig.server.put(other)
    (anew,) = await started(rig)
    assert (record.candidate.sha256, anew.candidate.sha256) == ("a" * 64, "b" * 64)
    rig.server.remove("ModelVersion", record.baseline.name)
    assert await started(rig) == []
    rig = await Rig(*map(manifest, objects)).watched()
    given = manifest(case.seen.endpoint)
    given["status"]["activeExperiment"] = {"name": "other", "uid": "uid-other"}
    rig.server.put(given)
    assert await started(rig) == []


async def test_what_a_schedule_has_just_made_it_does_not_make_twice() -> None:
    case = load("training_schedule", "experiment-is-made")
    (created,) = [e for e in case.decide().effects if isinstance(e, Create)]
    rig = await Rig(manifest(case.resource)).watched()
    await rig.seeing("TrainingSchedule", case)(key("TrainingSchedule", case.resource.name))
    seen = await BY_KIND["TrainingSchedule"].observe(case.resource, rig.world)
    assert created.manifest["metadata"]["name"] in {one.name for one in (*seen.experiments, *seen.runs)}
