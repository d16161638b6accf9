"""The reconcile shape: effects in order, status last and only if changed, failures said and taken back.

The double below keeps objects and calls; what a real API server makes of them is tried in tests/e2e.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tradewind.shell.observe import Observer

from tradewind.api.common import API_VERSION, IN_USE_BY_LABEL, IN_USE_FINALIZER
from tradewind.core.platform import Platform
from tradewind.shell.cluster import ClusterError
from tradewind.shell.reconcile import Key, Reconciler

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Server:
    """Objects by kind and name, and what was called."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = {(o["kind"], o["metadata"]["name"]): o for o in objects}
        self.calls: list[str] = []
        self.refuse: str | None = None

    def _call(self, text: str) -> None:
        self.calls.append(text)
        if self.refuse is not None and text.startswith(self.refuse):
            raise ClusterError(f"{text}: refused", 403)

    async def get(self, _: str, kind: str, __: str | None, name: str) -> dict[str, Any] | None:
        return self.objects.get((kind, name))

    async def select(
        self, _: str, kind: str, __: str | None = None, *, label_selector: str = ""
    ) -> list[dict[str, Any]]:
        return [o for (k, _), o in self.objects.items() if k == kind]

    async def apply(self, manifest: Mapping[str, Any]) -> None:
        self._call(f"apply {manifest['kind']}")

    async def create(self, manifest: Mapping[str, Any]) -> None:
        self._call(f"create {manifest['kind']}")

    async def merge(self, _: str, kind: str, __: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        self._call(f"merge {kind}")
        found = self.objects[kind, name]
        found["metadata"] |= {k: v for k, v in patch["metadata"].items() if k != "labels"}
        found["metadata"]["labels"] = {k: v for k, v in patch["metadata"]["labels"].items() if v is not None}
        return found

    async def write_status(self, raw: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        self._call("status")
        found = self.objects[raw["kind"], raw["metadata"]["name"]]
        found["status"] = dict(status)
        return found

    async def event(self, _: Mapping[str, Any], *, reason: str, warning: bool, **__: Any) -> None:
        self.calls.append(f"event {reason}{' warning' if warning else ''}")

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.objects[kind, name]["status"]
        return found

    def condition(self, kind: str, name: str, of: str) -> dict[str, Any] | None:
        return next((c for c in self.status(kind, name).get("conditions", []) if c["type"] == of), None)


def thing(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    base = {"name": name, "namespace": "trading", "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": base | metadata, "spec": spec}


API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}


def reconciler(server: Server) -> Reconciler:
    platform = Platform("tradewind", "system", "g:1", "p:1", "t:1")
    observer = Observer(cluster=server, database=None)  # type: ignore[arg-type]
    return Reconciler(server, None, observer, platform, enqueue=lambda _: None, clock=lambda: NOW)  # type: ignore[arg-type]


def key(kind: str, name: str) -> Key:
    return Key(kind, "trading", name)


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
    server = Server(thing("ModelVersion", "api", API, labels={"team": "fx"}), endpoint)
    reconcile = reconciler(server)
    await reconcile(key("ModelVersion", "api"))
    metadata = server.objects["ModelVersion", "api"]["metadata"]
    assert metadata["finalizers"] == [IN_USE_FINALIZER]
    assert metadata["labels"][IN_USE_BY_LABEL] == "trader"
    server.calls.clear()
    await reconcile(key("ModelVersion", "api"))
    assert server.calls == []
    del server.objects["Endpoint", "trader"]
    await reconcile(key("ModelVersion", "api"))
    assert metadata["finalizers"] == []


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
