"""Children as last seen and last written: what is as it was written is neither read nor written again.

Three sources feed it: what the API server answers to our own writes and reads, the watch of those kinds that have one, and a
list of each kind's metadata with each resync. Nothing is believed of a kind before such a list was compared, and nothing after
one has failed: then every turn reads and writes as if there were no memory. So what somebody changes or deletes is put right
with the next event of a watch, and without one after a resync.

Belongs here: what is known of children. Does not belong here: whose they are and how they are written (children.py).
"""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from prometheus_client import Counter

from tradewind.core.decision import FIELD_MANAGER, Manifest
from tradewind.core.endpoint.manifests import endpoint_of
from tradewind.core.endpoint.names import gateway_name, gateway_pods
from tradewind.core.endpoint.scaling import AUTOSCALER, BUDGET
from tradewind.core.manifests.common import MANAGED_BY, OWNER_KIND, OWNER_NAME

Json = Mapping[str, Any]

SPARED = Counter("tradewind_children_unchanged", "Children that were not written since they are as they were written.")

PODS_SECONDS: Final = 60.0
"""Pods have no watch: their Deployment tells of them, and this is for what it does not tell."""
_MAY_BE_ABSENT: Final = frozenset({AUTOSCALER, BUDGET})


class Place(NamedTuple):
    """Where an object is."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Where a manifest's object is."""
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"])

    @property
    def of_kind(self) -> tuple[str, str]:
        """The kind with its group and version."""
        return self.api_version, self.kind


@dataclass(frozen=True, slots=True)
class _View:
    """version: -1 where it is known to be absent. digest: of what we wrote as this version; None: we did not. body: kept for readers."""

    version: int
    digest: bytes | None = None
    body: Json | None = None


class Views:
    """What is known of children.

    Args:
        clock: seconds; for pods, which are forgotten by age.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._views: dict[Place, _View] = {}
        self._trusted: set[tuple[str, str]] = set()
        self._pods: dict[tuple[str, str], tuple[float, Sequence[Json]]] = {}

    # --- for turns ---------------------------------------------------------------------------------------------------

    def is_as_written(self, manifest: Manifest, manager: str) -> bool:
        """Whether a child is what this manifest makes of it, so far as anybody has told."""
        view = self._views.get(Place.of(manifest))
        same = view is not None and view.digest is not None and view.digest == _digest(manifest, manager)
        spared = same and Place.of(manifest).of_kind in self._trusted
        if spared:
            SPARED.inc()
        return spared

    def wrote(self, manifest: Manifest, manager: str, written: Json) -> None:
        """Take what the API server made of a manifest. A field owner that never comes again leaves nothing to compare with."""
        place, version = Place.of(manifest), _version(written)
        digest = _digest(manifest, manager) if manager == FIELD_MANAGER else None
        self._views[place] = _View(version, digest, _kept(place, written))
        if place.kind == "Deployment":
            self._forget_pods(manifest)

    def read(self, place: Place, body: Json | None) -> None:
        """Take what a read has found, where later changes of it will be told."""
        known = self._views.get(place)
        if body is None:
            if place.of_kind in _MAY_BE_ABSENT:
                self._views[place] = _View(-1)
        elif _is_told_of(body) and (known is None or _version(body) != known.version):
            self._views[place] = _View(_version(body), None, _kept(place, body))

    def known(self, place: Place) -> tuple[bool, Json | None]:
        """Whether an object need not be read, and what it is (None: it is not there)."""
        view = self._views.get(place)
        if view is None or place.of_kind not in self._trusted:
            return False, None
        return view.version < 0 or view.body is not None, view.body

    def forget(self, places: Iterable[Place]) -> None:
        """Of an owner that is gone, or of what was deleted."""
        for place in list(places):
            self._views.pop(place, None)
            if place.kind == "Deployment":
                endpoint = place.name.removesuffix(gateway_name(""))
                self._pods.pop((place.namespace, gateway_pods(endpoint)), None)

    def pods(self, namespace: str, selector: str) -> Sequence[Json] | None:
        """Pods that were all ready a moment ago; None: they must be listed."""
        at, found = self._pods.get((namespace, selector), (0.0, ()))
        fresh = bool(found) and self._clock() - at < PODS_SECONDS and ("apps/v1", "Deployment") in self._trusted
        return found if fresh else None

    def keep_pods(self, namespace: str, selector: str, pods: Sequence[Json]) -> None:
        """Keep pods of a gateway that are all ready, until their Deployment tells of a change. Nothing tells of a Job's in time."""
        if selector.startswith(gateway_pods("")):
            self._pods[namespace, selector] = self._clock(), tuple(pods)

    # --- for the watch and the resync --------------------------------------------------------------------------------

    def watched(self, api_version: str, kind: str, body: Json, *, deleted: bool) -> bool:
        """Take a child as a watch shows it; False: it is the one that is known, and nobody needs a turn."""
        metadata = body["metadata"]
        place = Place(api_version, kind, metadata["namespace"], metadata["name"])
        known = self._views.get(place)
        if known is not None and known.version >= _version(body) and not deleted:
            return False
        if kind == "Deployment":
            self._forget_pods(body)
        if deleted or not _is_told_of(body):
            self._views.pop(place, None)
        else:
            self._views[place] = _View(_version(body), None, _kept(place, body))
        return True

    def kinds(self) -> frozenset[tuple[str, str]]:
        """Kinds of which something is known: of these a list is wanted."""
        return frozenset(place.of_kind for place in self._views)

    def compare(
        self, of_kind: tuple[str, str], namespace: str | None, items: Collection[Json], version: str
    ) -> list[Place]:
        """Take a list of a kind's metadata (namespace None: of the cluster); the places that it knows otherwise."""
        listed = {(i["metadata"]["namespace"], i["metadata"]["name"]): _version(i) for i in items}
        differ = []
        for place, view in list(self._views.items()):
            if place.of_kind != of_kind or namespace not in (None, place.namespace):
                continue
            there = listed.get((place.namespace, place.name), -1)
            # A list that is older than what we know says nothing; its own version bounds what it may miss.
            if there > view.version or (there < 0 <= view.version <= int(version)):
                differ.append(place)
                del self._views[place]
        self._trusted.add(of_kind)
        return differ

    def distrust(self, of_kind: tuple[str, str]) -> None:
        """There is no list of this kind: everything is read and written as if nothing were known."""
        self._trusted.discard(of_kind)

    def _forget_pods(self, body: Json) -> None:
        labels = body["metadata"].get("labels") or {}
        if labels.get(OWNER_KIND) == "Endpoint":
            self._pods.pop((body["metadata"]["namespace"], gateway_pods(str(labels.get(OWNER_NAME)))), None)


def _kept(place: Place, body: Json) -> Json | None:
    """What readers want as a whole: routing documents."""
    return body if place.kind == "ConfigMap" and endpoint_of(place.name) is not None else None


def _is_told_of(body: Json) -> bool:
    """Whether lists and watches, which select by label, tell of a change."""
    return bool((body["metadata"].get("labels") or {}).get(MANAGED_BY) == "tradewind")


def _digest(manifest: Manifest, manager: str) -> bytes:
    text = json.dumps([manager, manifest], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _version(body: Json) -> int:
    return int(body["metadata"]["resourceVersion"])
