"""A double of the API server: it keeps objects with versions that grow, and what was called.

What a real API server makes of the same calls is tried in tests/e2e.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
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
        self.looks: list[str] = []
        self.lists: list[str] = []
        self.refuse: str | None = None
        self.version = 1  # objects are never the first thing in a store
        for made in objects:
            self.put(made)

    def put(self, made: Json) -> Json:
        """Store an object as its newest version; one that has no uid gets one."""
        self.version += 1
        metadata = {"uid": f"made-{self.version}"} | made["metadata"] | {"resourceVersion": str(self.version)}
        stored = {**made, "metadata": metadata}
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
        self.looks.append(f"{kind} {name}")
        return self.objects.get((kind, name))

    async def listing(
        self, _: str, kind: str, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Sequence[Json], str]:
        found = [o for (k, _), o in self.objects.items() if k == kind]
        return [o for o in found if namespace in (None, o["metadata"]["namespace"])], str(self.version)

    async def pages(
        self, version: str, kind: str, namespace: str | None = None, *, metadata: bool = False, label_selector: str = ""
    ) -> AsyncIterator[tuple[Sequence[Json], str]]:
        """Two objects a page; labels are not looked at."""
        found, newest = await self.listing(version, kind, namespace)
        self.lists.append(f"{'metadata of ' if metadata else ''}{kind}")
        bare = [{**o, "spec": None, "status": None} if metadata else o for o in found]
        for start in range(0, max(1, len(bare)), 2):
            yield bare[start : start + 2], newest

    async def select(self, *where: Any, **which: Any) -> Sequence[Json]:
        return (await self.listing(*where, **which))[0]

    async def apply(self, manifest: Mapping[str, Any], *, manager: str = "tradewind") -> Json:
        """What the manifest says of uid and resourceVersion must be so; it replaces whatever else is there."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        self._call(f"apply {kind}")
        found = self.objects.get((kind, metadata["name"]))
        if found is None and "uid" in metadata:
            raise ClusterError(f"PATCH {kind}: uid mismatch, and no existing object was found", 409)
        if found is not None:
            known = found["metadata"]
            if metadata.get("resourceVersion", known["resourceVersion"]) != known["resourceVersion"]:
                raise ClusterError(f"PATCH {kind}: the object has been modified", 409)
            if metadata.get("uid", known["uid"]) != known["uid"]:
                raise ClusterError(f"PATCH {kind}: metadata.uid: field is immutable", 422)
            return self.put({**manifest, "metadata": {**metadata, "uid": known["uid"]}})
        return self.put(dict(manifest))

    async def create(self, manifest: Mapping[str, Any]) -> Json | None:
        self._call(f"create {manifest['kind']}")
        if (manifest["kind"], manifest["metadata"]["name"]) in self.objects:
            return None
        return self.put(dict(manifest))

    async def delete(self, _: str, kind: str, __: str, name: str, *, uid: str) -> None:
        self._call(f"delete {kind} {name}")
        found = self.objects.get((kind, name))
        if found is None:
            return
        if found["metadata"]["uid"] != uid:
            raise ClusterError(f"DELETE {kind}: precondition failed", 409)
        self.remove(kind, name)

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
