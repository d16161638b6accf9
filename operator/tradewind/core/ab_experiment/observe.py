"""What an experiment's decision needs to know.

The Endpoint and the versions may be those of a moment ago: an artifact that was replaced meanwhile is not what
`candidateRef` names, and the Endpoint routes to nothing else. A start is stored for good, with both artifacts: whoever sees
that the Endpoint gave its place reads all three fresh.
"""

from dataclasses import replace

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.ab_experiment import Seen, baseline_name, newest_look, replay_has_news
from tradewind.core.endpoint import TERMINAL
from tradewind.core.evidence import paper_basis, settlement_of
from tradewind.core.verbs import pending_verb
from tradewind.core.world import Database, DatabaseUnavailableError, World
from tradewind.trading.evidence import Memory


async def observe(experiment: ABExperiment, world: World) -> Seen:
    """Facts about an experiment."""
    if experiment.status.phase in TERMINAL:
        return Seen()
    namespace = experiment.namespace
    seen = Seen(
        endpoint=world.get(Endpoint, namespace, experiment.spec.endpoint_ref.name),
        versions=world.by_name(ModelVersion, namespace),
    )
    if seen.endpoint is not None and _starts(experiment, seen.endpoint):
        seen = await _fresh(experiment, seen.endpoint, seen, world)
    if seen.endpoint is None:
        return seen
    try:
        return await _recorded(experiment, seen.endpoint, seen, world.database, world.memory(experiment.metadata.uid))
    except DatabaseUnavailableError as error:
        return replace(seen, database_error=str(error))


def _starts(experiment: ABExperiment, endpoint: Endpoint) -> bool:
    active = endpoint.status.active_experiment
    return experiment.status.t0 is None and active is not None and active.uid == experiment.metadata.uid


async def _fresh(experiment: ABExperiment, endpoint: Endpoint, seen: Seen, world: World) -> Seen:
    """The facts with what a start rests on as it is now."""
    namespace = experiment.namespace
    point = await world.fresh(Endpoint, namespace, endpoint.name)
    arms = experiment.spec.candidate, baseline_name(experiment, point or endpoint)
    fresh = {name: await world.fresh(ModelVersion, namespace, name) for name in arms if name is not None}
    versions = {name: version for name, version in {**seen.versions, **fresh}.items() if version is not None}
    return replace(seen, endpoint=point, versions=versions)


async def _recorded(
    experiment: ABExperiment, endpoint: Endpoint, seen: Seen, database: Database, memory: Memory
) -> Seen:
    """The facts with what was stored; a replay without news reads no rows."""
    baseline = baseline_name(experiment, endpoint)
    if baseline is None:
        return seen
    uid, place = experiment.metadata.uid, (experiment.namespace, endpoint.name)
    known = await database.of_experiment(*place, baseline, experiment.spec.candidate, uid)
    seen = replace(seen, tested_before=known.tested_before)
    if experiment.status.t0 is None:
        if experiment.spec.evidence.net_of_cost:
            replay = experiment.spec.replay
            start = replay.start_time if replay is not None else None
            seen = replace(seen, prior=await database.prior(*place, baseline, start))
        # Once known it stays until the spec changes: what is forecast before the start is no running number.
        told = experiment.status.forecast is not None
        same = experiment.status.observed_generation == experiment.metadata.generation
        return seen if told and same else replace(seen, past=await database.past_decisions(*place, baseline))
    seen = replace(seen, epochs=known.epochs, recorded=known.recorded)
    settled_until = None
    if experiment.spec.mode is Mode.REPLAY:
        seen = replace(seen, clock=known.clock)
        block = settlement_of(experiment, endpoint).block_length
        asked = pending_verb(experiment, ("accept",)) is not None
        if not asked and not replay_has_news(experiment, seen.epochs, seen.clock, block):
            return seen
        settled_until = newest_look(experiment, seen.clock, block)
    if experiment.spec.mode is Mode.LIVE or settled_until is not None:
        basis = paper_basis(experiment, endpoint)
        await database.settle_papers(*place, uid, experiment.status.t0, basis, settled_until)
    stored = await database.evidence(*place, uid, experiment.status.t0)
    return replace(seen, table=stored.table, requests=stored.requests, lost=stored.lost, memory=memory)
