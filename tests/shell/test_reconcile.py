"""The reconcile shape: effects in order, status last and only if changed, failures said and taken back."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import REGISTRY
from server_double import NOW, Server, key, reconciler, thing

from tradewind.api.common import IN_USE_BY_LABEL, IN_USE_FINALIZER
from tradewind.core.decision import Decision, PublishEpoch
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache
from tradewind.shell.cluster import ClusterError
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.watch import refresh

API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}


async def test_what_is_gone_is_forgotten() -> None:
    server = Server()
    assert await reconciler(server)(key("ModelVersion", "gone")) is None
    assert server.calls == []


async def test_status_is_written_last_and_only_if_it_changed() -> None:
    server = Server(thing("ModelVersion", "v1", {"model": {"uri": "pvc://m/x", "sha256": "a" * 64}}))
    reconcile = reconciler(server)
    assert await reconcile(key("ModelVersion", "v1")) == 5.0
    assert server.calls[:2] == ["apply InferenceService", "status"]
    assert all(call.startswith("event") for call in server.calls[2:])
    assert "event Starting warning" in server.calls
    server.calls.clear()
    await reconcile(key("ModelVersion", "v1"))
    assert server.calls == ["apply InferenceService"]


async def test_a_failure_is_said_raised_and_taken_back() -> None:
    server = Server(thing("ModelVersion", "v1", {"model": {"uri": "pvc://m/x", "sha256": "a" * 64}}))
    reconcile = reconciler(server)
    server.refuse = "apply"
    for _ in range(2):
        with pytest.raises(ClusterError, match="refused"):
            await reconcile(key("ModelVersion", "v1"))
    said = server.condition("ModelVersion", "v1", "Reconciling")
    assert said is not None
    assert (said["status"], said["reason"]) == ("False", "Cluster")
    assert server.calls.count("status") == 1
    assert server.condition("ModelVersion", "v1", "Served") is None
    server.refuse = None
    await reconcile(key("ModelVersion", "v1"))
    assert server.condition("ModelVersion", "v1", "Reconciling") is None
    assert server.condition("ModelVersion", "v1", "Served") is not None


async def test_a_spec_that_cannot_be_read_is_said_once_and_left_alone() -> None:
    server = Server(thing("ModelVersion", "v1", API | {"model": {"uri": "pvc://m/x", "sha256": "short"}}))
    reconcile = reconciler(server)
    await reconcile(key("ModelVersion", "v1"))
    said = server.condition("ModelVersion", "v1", "Ready")
    assert said is not None
    assert (said["status"], said["reason"]) == ("False", "InvalidSpec")
    assert "spec.model.sha256" in said["message"]
    assert server.status("ModelVersion", "v1")["phase"] == "Invalid"
    server.calls.clear()
    await reconcile(key("ModelVersion", "v1"))
    assert server.calls == []


async def test_a_version_in_use_gets_the_finalizer_and_loses_it() -> None:
    endpoint = thing("Endpoint", "trader", {"fallback": "api"})
    server, cache = Server(thing("ModelVersion", "api", API, labels={"team": "fx"}), endpoint), Cache()
    await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
    reconcile = reconciler(server, cache)
    await reconcile(key("ModelVersion", "api"))
    assert server.metadata("ModelVersion", "api")["finalizers"] == [IN_USE_FINALIZER]
    assert server.metadata("ModelVersion", "api")["labels"][IN_USE_BY_LABEL] == "trader"
    server.calls.clear()
    await reconcile(key("ModelVersion", "api"))
    assert server.calls == []
    del server.objects["Endpoint", "trader"]
    server.version += 1
    await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
    await reconcile(key("ModelVersion", "api"))
    assert server.metadata("ModelVersion", "api")["finalizers"] == []


async def test_without_a_database_the_endpoint_holds_and_says_why() -> None:
    server = Server(thing("Endpoint", "trader", {"fallback": "api"}), thing("ModelVersion", "api", API))
    await reconciler(server)(key("Endpoint", "trader"))
    said = server.condition("Endpoint", "trader", "Ready")
    assert said is not None
    assert said["reason"] == "DatabaseUnreachable"
    assert "apply ConfigMap" not in server.calls


async def test_a_status_of_an_object_that_was_just_deleted_is_dropped() -> None:
    server = Server(thing("ModelVersion", "api", API))

    async def gone(*_: Any) -> dict[str, Any]:
        raise ClusterError("PUT: not found", 404)

    server.write_status = gone  # type: ignore[method-assign]
    assert await replace(reconciler(server))(key("ModelVersion", "api")) is None


async def test_each_epoch_is_one_line_and_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that did not move has its reason where people look: in the log and in the metrics."""
    stored: list[PublishEpoch] = []
    lines: list[dict[str, Any]] = []
    epoch = PublishEpoch("trader", "ab", "u", 3, Decimal("0.25"), "TooFewTradesAtLevel", "7 of 10", {})

    class Stored:
        async def publish_epoch(self, _: str, made: PublishEpoch) -> None:
            stored.append(made)

    def decide(experiment: Any, *_: Any, **__: Any) -> Decision:
        over = experiment.metadata.annotations.get("over")
        status = experiment.status.model_copy(update={"completion_time": NOW} if over else {})
        return Decision(status, () if over else (epoch,))

    async def observe(*_: Any) -> None:
        return None

    monkeypatch.setattr(
        "tradewind.shell.reconcile.log.info", lambda event, **told: lines.append({"event": event} | told)
    )
    kinds = {**BY_KIND, "ABExperiment": replace(BY_KIND["ABExperiment"], observe=observe, decide=decide)}
    server = Server(thing("ABExperiment", "ab", {"endpointRef": {"name": "trader"}, "candidate": "v1"}))
    reconcile = reconciler(server, kinds=kinds)
    reconcile = replace(reconcile, world=replace(reconcile.world, sql=Stored()))  # type: ignore[arg-type]
    await reconcile(key("ABExperiment", "ab"))
    assert stored == [epoch]
    told = next(line for line in lines if line["event"] == "weight")
    assert (told["weight"], told["reason"], told["message"], told["block"]) == ("0.25", epoch.reason, "7 of 10", 3)
    labels = {"namespace": "trading", "experiment": "ab"}
    assert REGISTRY.get_sample_value("tradewind_candidate_weight", labels) == 0.25
    assert (REGISTRY.get_sample_value("tradewind_epochs_total", {"reason": epoch.reason}) or 0) >= 1
    server.put(
        server.objects["ABExperiment", "ab"]
        | {"metadata": server.metadata("ABExperiment", "ab") | {"annotations": {"over": "1"}}}
    )
    await reconcile(key("ABExperiment", "ab"))
    assert REGISTRY.get_sample_value("tradewind_candidate_weight", labels) is None
