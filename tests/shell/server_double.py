"""A double of the API server: it keeps objects with versions that grow, and what was called.

What a real API server makes of the same calls is tried in tests/e2e.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tradewind.api.common import API_VERSION
from tradewind.core.platform import Platform
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import ClusterError
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.world import ClusterWorld
from tradewind.trading.signature import Signer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIGNER = Signer.generated()
PLATFORM = Platform("tradewind", "system", "g:1", "p:1", "t:1", routing_keys=SIGNER.public_keys)
Json = dict[str, Any]


class Server:
    """Objects by kind and name, and what was called."""

    def __init__(self, *objects: Json) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        self.calls: list[str] = []
        self.refuse: str | None = None
        self.version = 0
        for made in objects:
            self.put(made)

    def put(self, made: Json) -> Json:
        """Store an object as its newest version."""
        self.version += 1
        stored = {**made, "metadata": {**made["metadata"], "resourceVersion": str(self.version)}}
        self.objects[made["kind"], made["metadata"]["name"]] = stored
        return stored

    def remove(self, kind: str, name: str) -> Json:
        """Delete an object, and give what a watch shows of it."""
        self.version += 1
        gone = self.objects.pop((kind, name))
        return {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}

    def _call(self, text: str) -> None:
        self.calls.append(text)
        if self.refuse is not None and text.startswith(self.refuse):
            raise ClusterError(f"{text}: refused", 403)

    async def get(self, _: str, kind: str, __: str | None, name: str) -> Json | None:
        return self.objects.get((kind, name))

    async def listing(
        self, _: str, kind: str, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Sequence[Json], str]:
        found = [o for (k, _), o in self.objects.items() if k == kind]
        return [o for o in found if namespace in (None, o["metadata"]["namespace"])], str(self.version)

    async def select(self, *where: Any, **which: Any) -> Sequence[Json]:
        return (await self.listing(*where, **which))[0]

    async def apply(self, manifest: Mapping[str, Any], *, manager: str = "tradewind") -> None:
        self._call(f"apply {manifest['kind']}")
        self.put(dict(manifest))

    async def create(self, manifest: Mapping[str, Any]) -> Json | None:
        self._call(f"create {manifest['kind']}")
        return self.put(dict(manifest))

    async def merge(self, _: str, kind: str, __: str, name: str, patch: Mapping[str, Any]) -> Json:
        self._call(f"merge {kind}")
        found = self.objects[kind, name]
        labels = {k: v for k, v in patch["metadata"]["labels"].items() if v is not None}
        return self.put({**found, "metadata": {**found["metadata"], **patch["metadata"], "labels": labels}})

    async def write_status(self, raw: Mapping[str, Any], status: Mapping[str, Any]) -> Json:
        self._call("status")
        found = self.objects[raw["kind"], raw["metadata"]["name"]]
        return self.put({**found, "status": dict(status)})

    async def event(self, _: Mapping[str, Any], *, reason: str, warning: bool, **__: Any) -> None:
        self.calls.append(f"event {reason}{' warning' if warning else ''}")

    def metadata(self, kind: str, name: str) -> Json:
        found: Json = self.objects[kind, name]["metadata"]
        return found

    def status(self, kind: str, name: str) -> Json:
        found: Json = self.objects[kind, name].get("status") or {}
        return found

    def condition(self, kind: str, name: str, of: str) -> Json | None:
        return next((c for c in self.status(kind, name).get("conditions", []) if c["type"] == of), None)


def thing(kind: str, name: str, spec: Json, status: Json | None = None, **metadata: Any) -> Json:
    base = {"name": name, "namespace": "trading", "uid": f"uid-{name}", "generation": 1}
    made = {"apiVersion": API_VERSION, "kind": kind, "metadata": base | metadata, "spec": spec}
    return made | ({"status": status} if status is not None else {})


def reconciler(server: Server, cache: Cache | None = None, **changes: Any) -> Reconciler:
    world = ClusterWorld(server, None, cache or Cache(), SIGNER)  # type: ignore[arg-type]
    return Reconciler(world, PLATFORM, enqueue=lambda _: None, clock=lambda: NOW, **changes)


def key(kind: str, name: str) -> Key:
    return Key(kind, "trading", name)
