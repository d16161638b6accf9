"""A decision that raises: said in a condition and an Event, nothing hot, and no weight for a candidate that nobody judges."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from golden_worlds import build
from server_double import NOW, SIGNER, Server, key, reconciler, thing

from tradewind.core.decision import Apply, Decision
from tradewind.core.endpoint import EpochRow
from tradewind.core.registry import BY_KIND
from tradewind.shell import cache as caching
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import ClusterError
from tradewind.shell.index import changed
from tradewind.shell.operator import heard
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.watch import refresh
from tradewind.shell.workqueue import WorkQueue
from tradewind.trading.evidence import guardrails
from tradewind.trading.routing import ROUTING_KEY, SIGNATURE_KEY, Routing

API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
RUN = {"baseModel": {"uri": "pvc://m/base"}, "dataset": {"endpoint": "trader"}, "output": {"uri": "pvc://m/out"}}
RUNNING = {
    "phase": "Running",
    "t0": "2026-02-27T00:00:00Z",
    "baselineRef": {"name": "api"},
    "weight": {"desired": "0.25", "reason": "LevelUp", "since": "2026-02-28T00:00:00Z"},
}
EXPERIMENT = {"endpointRef": {"name": "trader"}, "candidate": "v1"}
KINDS = {
    "Endpoint": {"fallback": "api"},
    "ModelVersion": API,
    "TrainingRun": RUN,
    "TrainingSchedule": {"template": {"spec": RUN}},
    "ABExperiment": EXPERIMENT,
}


def broken(kind: str, part: str = "decide") -> dict[str, Any]:
    """The kinds, one of which raises when it decides, or when it observes."""

    def raises(*_: Any, **__: Any) -> Any:
        raise ValueError("'Toy' is not a valid VerdictReason")

    return {**BY_KIND, kind: replace(BY_KIND[kind], **{part: raises})}  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["observe", "decide"])
@pytest.mark.parametrize(("kind", "spec"), KINDS.items())
async def test_every_kind_says_what_failed_and_goes_on_by_itself(kind: str, spec: dict[str, Any], part: str) -> None:
    server = Server(thing(kind, "x", spec))
    reconcile = reconciler(server, kinds=broken(kind, part))
    for _ in range(3):
        with pytest.raises(ValueError, match="Toy"):
            await reconcile(key(kind, "x"))
    said = server.condition(kind, "x", "Reconciling")
    assert said is not None
    assert (said["status"], said["reason"]) == ("False", "DecisionFailed")
    assert said["message"] == "ValueError: 'Toy' is not a valid VerdictReason"
    assert server.calls.count("event DecisionFailed warning") == 1
    assert server.calls.count("status") == 1, "a failure that lasts is no event at each turn"
    await reconciler(server)(key(kind, "x"))
    assert server.condition(kind, "x", "Reconciling") is None


@pytest.mark.parametrize(("kind", "spec"), KINDS.items())
async def test_no_failure_loops_hot(kind: str, spec: dict[str, Any]) -> None:
    """Its own condition comes back as an event, and each request is news: the back-off holds nevertheless."""
    server, cache = Server(), Cache()
    turns: Counter[str] = Counter()
    queue: WorkQueue[Key] = WorkQueue(lambda of: turn(of), on_error=lambda *_: None, base_delay=60.0)
    reconcile = reconciler(server, cache, kinds=broken(kind))

    async def turn(of: Key) -> float | None:
        turns[of.kind] += 1
        return await reconcile(of)

    def put(made: dict[str, Any]) -> dict[str, Any]:
        stored = Server.put(server, made)
        if stored["kind"] in BY_KIND:
            for of in changed(cache, stored, deleted=False):
                queue.add(of)
        return stored

    server.put = put  # type: ignore[method-assign]
    work = asyncio.create_task(queue.run(2))
    holds = {"activeExperiment": {"name": "x", "uid": "uid-x"}}
    server.put(thing(kind, "x", spec, RUNNING if kind == "ABExperiment" else None))
    if kind == "ABExperiment":
        point = {"fallback": "api", "clock": "replay"}  # its news are looked at without a pause
        cache.take(thing("Endpoint", "trader", point, holds, resourceVersion="1"))
    for _ in range(50):
        heard(queue, cache, "trading/trader")
        await asyncio.sleep(0.002)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert 1 <= turns[kind] <= 2, "the first, and that of the event of its condition"


async def test_observing_may_fail_too_and_no_password_is_told() -> None:
    async def raises(*_: Any) -> Any:
        raise RuntimeError(f"postgresql://user:s3cret@db/x password=s3cret {'x' * 900}")

    kinds = {**BY_KIND, "ModelVersion": replace(BY_KIND["ModelVersion"], observe=raises)}
    server = Server(thing("ModelVersion", "v1", API))
    with pytest.raises(RuntimeError):
        await reconciler(server, kinds=kinds)(key("ModelVersion", "v1"))
    said = server.condition("ModelVersion", "v1", "Reconciling")
    assert said is not None
    assert "s3cret" not in said["message"]
    assert len(said["message"]) < 600


async def test_a_text_that_moves_is_no_event_at_each_turn() -> None:
    numbers = iter(range(9))

    def raises(*_: Any, **__: Any) -> Any:
        raise ValueError(f"at look {next(numbers)}")

    server = Server(thing("ModelVersion", "v1", API))
    kinds = {**BY_KIND, "ModelVersion": replace(BY_KIND["ModelVersion"], decide=raises)}
    for _ in range(3):
        with pytest.raises(ValueError, match="at look"):
            await reconciler(server, kinds=kinds)(key("ModelVersion", "v1"))
    assert server.calls == ["status", "event DecisionFailed warning"]


async def test_an_effect_that_cannot_be_carried_out_for_its_own_fault_is_such_a_failure_too() -> None:
    server = Server(thing("ABExperiment", "ab", EXPERIMENT, RUNNING))

    def decide(experiment: Any, *_: Any, **__: Any) -> Decision:
        return Decision(experiment.status, (Apply({"no": "kind"}),))

    kinds = {**BY_KIND, "ABExperiment": replace(BY_KIND["ABExperiment"], decide=decide)}
    with pytest.raises(KeyError):
        await reconciler(server, kinds=kinds)(key("ABExperiment", "ab"))
    assert server.status("ABExperiment", "ab")["weight"]["desired"] == "0"


async def test_a_cluster_that_does_not_answer_is_no_failed_decision() -> None:
    """The weight is not renewed and expires; an answer that is late takes nothing back."""

    async def away(*_: Any) -> Any:
        raise ClusterError("GET /pods: no answer", 0)

    server = Server(thing("ABExperiment", "ab", EXPERIMENT, RUNNING))
    kinds = {**BY_KIND, "ABExperiment": replace(BY_KIND["ABExperiment"], observe=away)}
    with pytest.raises(ClusterError):
        await reconciler(server, kinds=kinds)(key("ABExperiment", "ab"))
    said = server.condition("ABExperiment", "ab", "Reconciling")
    assert said is not None
    assert said["reason"] == "Cluster"
    assert server.status("ABExperiment", "ab")["weight"]["desired"] == "0.25"


async def test_a_conflict_is_no_failure() -> None:
    async def conflict(*_: Any) -> Any:
        raise ClusterError("PUT: conflict", 409)

    server = Server(thing("ModelVersion", "v1", API))
    server.write_status = conflict  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="conflict"):
        await reconciler(server)(key("ModelVersion", "v1"))
    assert not [call for call in server.calls if call.startswith("event")]


async def test_conflicts_that_never_end_are_one_and_what_comes_after_them_begins_anew() -> None:
    async def conflict(*_: Any) -> Any:
        raise ClusterError("POST pods: the quota has been modified", 409)

    server = Server(thing("ModelVersion", "v1", API))
    reconcile = reconciler(
        server, kinds={**BY_KIND, "ModelVersion": replace(BY_KIND["ModelVersion"], observe=conflict)}
    )
    for turn in range(1, 11):
        with pytest.raises(ClusterError):
            await reconcile(key("ModelVersion", "v1"))
        assert (server.condition("ModelVersion", "v1", "Reconciling") is not None) == (turn >= 8)
    assert server.calls.count("status") == 1
    mended = replace(reconcile, kinds=BY_KIND)
    await mended(key("ModelVersion", "v1"))
    assert server.condition("ModelVersion", "v1", "Reconciling") is None
    with pytest.raises(ClusterError):
        await reconcile(key("ModelVersion", "v1"))
    assert server.condition("ModelVersion", "v1", "Reconciling") is None


@pytest.mark.parametrize(("kind", "spec"), KINDS.items())
async def test_an_object_that_we_fail_to_read_says_so_and_stops_nobody(
    kind: str, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: Any) -> Any:
        raise RecursionError("a fault of ours")

    monkeypatch.setattr(caching, "parse", raises)
    server, cache = Server(thing(kind, "x", spec)), Cache()
    assert await refresh(cache, server, UNDIVIDED) == [key(kind, "x")]  # type: ignore[arg-type]
    await reconciler(server, cache)(key(kind, "x"))
    (said,) = server.status(kind, "x")["conditions"]
    assert (said["status"], said["reason"]) == ("False", "InvalidSpec")
    assert "RecursionError" in said["message"]


@pytest.mark.parametrize(("kind", "spec"), KINDS.items())
async def test_a_spec_that_cannot_be_read_is_said_also_over_a_status_that_cannot(
    kind: str, spec: dict[str, Any]
) -> None:
    """Of a newer operator, after a rollback."""
    status = {"conditions": "none", "phase": "Unheard", "observedGeneration": "seven"}
    server = Server(thing(kind, "x", {"no": "such field"} | dict.fromkeys(spec, 7), status))
    reconcile = reconciler(server)
    await reconcile(key(kind, "x"))
    (said,) = server.status(kind, "x")["conditions"]
    assert (said["status"], said["reason"]) == ("False", "InvalidSpec")
    server.calls.clear()
    await reconcile(key(kind, "x"))
    assert server.calls == []


async def test_a_fail_safe_that_fails_leaves_the_condition() -> None:
    async def raises(*_: Any) -> Any:
        raise RuntimeError("the fail-safe, too")

    server = Server(thing("Endpoint", "x", KINDS["Endpoint"]))
    kinds = broken("Endpoint")
    kinds["Endpoint"] = replace(kinds["Endpoint"], fail_safe=raises)
    with pytest.raises(ValueError, match="Toy"):
        await reconciler(server, kinds=kinds)(key("Endpoint", "x"))
    assert server.condition("Endpoint", "x", "Reconciling") is not None


@pytest.mark.parametrize("phase", ["Running", "Decided", "Ramping"])
async def test_a_candidate_that_nobody_judges_gets_nothing(phase: str) -> None:
    server = Server(thing("ABExperiment", "ab", EXPERIMENT, RUNNING | {"phase": phase}))
    reconcile = reconciler(server, kinds=broken("ABExperiment"))
    for _ in range(2):
        with pytest.raises(ValueError, match="Toy"):
            await reconcile(key("ABExperiment", "ab"))
    weight = server.status("ABExperiment", "ab")["weight"]
    assert (weight["desired"], weight["reason"]) == ("0", "DecisionFailed")
    assert server.status("ABExperiment", "ab")["phase"] == phase
    assert server.calls.count("status") == 1


async def test_a_replay_keeps_its_weights_and_what_is_over_stays() -> None:
    replay = EXPERIMENT | {"mode": "Replay", "replay": {"startTime": "2026-01-01T00:00:00Z"}}
    for spec, status in ((replay, RUNNING), (EXPERIMENT, RUNNING | {"phase": "Succeeded"})):
        server = Server(thing("ABExperiment", "ab", spec, status))
        with pytest.raises(ValueError, match="Toy"):
            await reconciler(server, kinds=broken("ABExperiment"))(key("ABExperiment", "ab"))
        assert server.status("ABExperiment", "ab")["weight"]["desired"] == "0.25"


async def test_a_guardrail_that_raises_is_such_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the statistic itself: the documented recipe may go wrong in its watch."""
    case = build("ab_experiment", {"about": "", "facts": {}})

    class Toy(type(guardrails.GUARDRAILS[0])):  # type: ignore[misc]
        def watch(self, settings: Any, facts: Any) -> Any:
            raise KeyError("row")

    async def observe(*_: Any) -> Any:
        return case.seen

    monkeypatch.setattr("tradewind.trading.evidence.verdict.GUARDRAILS", (Toy(), *guardrails.GUARDRAILS))
    kinds = {**BY_KIND, "ABExperiment": replace(BY_KIND["ABExperiment"], observe=observe)}
    manifest = case.resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    server = Server(manifest | {"kind": "ABExperiment"})
    where = key("ABExperiment", "ab")._replace(namespace=case.resource.namespace)
    reconcile = replace(reconciler(server, kinds=kinds), clock=lambda: case.now)
    with pytest.raises(KeyError):
        await reconcile(where)
    assert server.status("ABExperiment", "ab")["weight"]["desired"] == "0"
    monkeypatch.undo()
    await reconcile(where)
    assert server.status("ABExperiment", "ab")["weight"]["desired"] == "0.5"
    assert server.condition("ABExperiment", "ab", "Reconciling") is None


async def test_an_endpoint_that_cannot_decide_takes_the_live_weight_back() -> None:
    case = build("endpoint", {"about": ""})
    routing = case.seen.routing or _routing()
    server = Server(thing("Endpoint", "trader", {"fallback": "api"}))
    server.put(
        {
            "kind": "ConfigMap",
            "metadata": {
                "name": "trader-routing",
                "namespace": "trading",
                "ownerReferences": [{"kind": "Endpoint", "name": "trader", "uid": "uid-trader"}],
            },
            "data": {
                ROUTING_KEY: _live(routing).to_json(),
                SIGNATURE_KEY: SIGNER.sign(_live(routing).to_json(), "trading", "trader"),
            },
        }
    )
    reconcile = reconciler(server, Cache(), kinds=broken("Endpoint"))
    for _ in range(2):
        with pytest.raises(ValueError, match="Toy"):
            await reconcile(key("Endpoint", "trader"))
    published = Routing.model_validate_json(server.objects["ConfigMap", "trader-routing"]["data"][ROUTING_KEY])
    assert published.experiment is not None
    assert published.experiment.candidate_weight == 0
    assert published.generation > _live(routing).generation
    assert published.champion == routing.champion
    assert server.calls.count("apply ConfigMap") == 1, "once published it stays"


def _routing() -> Routing:
    arm = {"protocol": "openai", "baseURL": "http://api.test/v1", "model": "m"}
    return Routing.model_validate(
        {
            "endpoint": "trader",
            "generation": 7,
            "publishedAt": NOW,
            "expiresAt": NOW + timedelta(seconds=30),
            "clock": "live",
            "champion": "api",
            "fallback": "api",
            "arms": {"api": arm, "v1": arm},
        }
    )


def _live(routing: Routing) -> Routing:
    route = {
        "uid": "u",
        "name": "ab",
        "mode": "Live",
        "t0": NOW,
        "blockSeconds": 86_400,
        "baseline": routing.champion,
        "candidate": max(routing.arms),
        "candidateWeight": "0.25",
        "epoch": 1,
    }
    return Routing.model_validate(routing.model_dump(by_alias=True) | {"experiment": route})


def test_epochs_bring_the_policys_weight_back() -> None:
    """What a failed decision took is asked for again from the newest epoch, also while an approval is waited for."""
    base = {
        "resource": {
            "spec": {"onPromote": {"approval": "manual"}},
            "status": {"phase": "Decided", "weight": {"desired": "0"}},
        }
    }
    case = build("ab_experiment", {"about": "", **base})
    seen = replace(case.seen, epochs=(EpochRow(0, 3, Decimal("0.25")),))
    decision = replace(case, seen=seen).decide()
    assert (decision.status.weight.desired, decision.status.weight.reason) == ("0.25", "ApprovalNeeded")  # type: ignore[attr-defined]
