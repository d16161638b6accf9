"""Writes the children of a resource, and nothing that has a child's name and is somebody else's.

A name does not say whose an object is; the uid of the resource in its ownerReferences does. Nothing comes between the look
and the write, for the API server checks what was seen:

    there and ours   apply with its uid: refused on another object (422), and where none is any more (409)
    not there        apply with a resourceVersion that no object has: makes it, and a conflict (409) where there is one
    Create           POST, which never takes over
    Delete           with the uid as its precondition

A uid is never given to another object. So once one was seen as ours, later turns write without a look, and look again only
when they are refused; what is as it was written (views.py) they do not write at all. An ownerReference that somebody takes away
meanwhile comes back like any other field that we apply.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from tradewind.core.decision import FIELD_MANAGER, Manifest, Owner
from tradewind.core.manifests.common import is_child
from tradewind.shell.cache import Key
from tradewind.shell.cluster import Cluster, ClusterError, Json
from tradewind.shell.views import Place, Views

log = structlog.get_logger()

NO_OBJECT = "1"
"""A resourceVersion that no object has: the store counts up, and objects are not the first thing in it."""
_OURS = "tradewind.dev/"


class ForeignObjectError(ClusterError):
    """Something else has the name of what is to be made. Nothing was written; the message says whose it is and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)


class ObjectLeavingError(ClusterError):
    """What has the name is going, by itself: it is waited for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)


Bound = Mapping[str, str]
"""Metadata that binds an apply to what was seen: uid, resourceVersion, or both."""


class Known:
    """What is known of the children of each resource; it saves a look at each child in each turn."""

    def __init__(self) -> None:
        self._of: dict[Key, tuple[str, dict[Place, Bound]]] = {}

    def of(self, owner: Owner) -> dict[Place, Bound]:
        """Of this very resource: what was known of an earlier one of its name is forgotten."""
        key = Key(owner.kind, owner.namespace, owner.name)
        uid, bound = self._of.get(key, ("", {}))
        if uid != owner.uid:
            bound = {}
            self._of[key] = owner.uid, bound
        return bound

    def forget(self, key: Key) -> Iterable[Place]:
        """A resource is gone; where its children were."""
        return self._of.pop(key, ("", {}))[1]


@dataclass(frozen=True)
class Children:
    """The children of one resource.

    Attributes:
        bound: by what the next apply of each child is bound; kept between turns.
        views: what of them is as it was written.
    """

    cluster: Cluster
    owner: Owner
    bound: dict[Place, Bound] = field(default_factory=dict)
    views: Views = field(default_factory=Views)

    async def check(self, manifests: Iterable[Manifest]) -> None:
        """Look at those of which is not known that they are ours.

        Raises:
            ForeignObjectError: names all that are somebody else's.
            ObjectLeavingError: some are going.
        """
        foreign: list[str] = []
        leaving: list[str] = []
        for place in dict.fromkeys(Place.of(manifest) for manifest in manifests):
            if self._is_settled(place):
                continue
            found = await self.cluster.get(*place)
            if found is None:
                self.bound[place] = {"resourceVersion": NO_OBJECT}
            elif is_child(found, self.owner.uid):
                metadata = found["metadata"]
                self.bound[place] = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
            else:
                self.bound.pop(place, None)
                going = _going(found, self.owner)
                (leaving if going else foreign).append(going or _foreign(found))
        if foreign:
            raise self._refused(foreign)
        if leaving:
            raise ObjectLeavingError("; ".join(leaving))

    async def apply(self, manifest: Manifest, manager: str = FIELD_MANAGER, *, reclaims: bool = False) -> None:
        """Apply a child, or make it where there is none; one that is as it was written is left alone.

        Args:
            manifest: what is to be there.
            manager: owner of its fields.
            reclaims: it was there before, so that what has its name now was put in its place: that is deleted first.

        Raises:
            ForeignObjectError, ObjectLeavingError: as `check`.
            ClusterError: the API server refused it for another reason.
        """
        place = Place.of(manifest)
        if self.is_as_written(manifest, manager):
            return
        if place not in self.bound:
            await self._look(manifest, reclaims=reclaims)
        tried = self.bound[place]
        try:
            written = await self._apply(manifest, tried, manager)
        except ClusterError as error:
            self.views.forget([place])
            if error.status not in (409, 422):
                raise
            del self.bound[place]
            await self._look(manifest, reclaims=reclaims)
            seen = self.bound[place]
            if seen == tried or tried == {"uid": seen.get("uid")}:
                raise  # what is there is what was thought to be there: the refusal has another reason
            written = await self._apply(manifest, seen, manager)
        self.bound[place] = {"uid": written["metadata"]["uid"]}
        self.views.wrote(manifest, manager, written)

    def is_as_written(self, manifest: Manifest, manager: str = FIELD_MANAGER) -> bool:
        """Whether applying it would change nothing."""
        return self._is_settled(Place.of(manifest)) and self.views.is_as_written(manifest, manager)

    async def _look(self, manifest: Manifest, *, reclaims: bool) -> None:
        try:
            await self.check([manifest])
        except ForeignObjectError as error:
            if not reclaims:
                raise
            place = Place.of(manifest)
            found = await self.cluster.get(*place)
            log.warning("deleted: it was put in the place of a child", found=str(error), **place._asdict())
            if found is not None:
                await self.cluster.delete(*place, uid=found["metadata"]["uid"])
            await self.check([manifest])

    async def create(self, manifest: Manifest) -> Json | None:
        """Make an object; None: what has the name is what an earlier turn has made.

        Raises:
            ForeignObjectError, ObjectLeavingError: as `check`.
        """
        created = await self.cluster.create(manifest)
        if created is not None:
            return created
        place = Place.of(manifest)
        found = await self.cluster.get(*place)
        if found is None:
            raise ClusterError(
                f"{place.kind} {place.name} was there a moment ago and is not now: it is made again", 409
            )
        if _is_what_we_make(found, manifest, self.owner):
            return None
        if going := _going(found, self.owner):
            raise ObjectLeavingError(going)
        raise self._refused([_foreign(found)])

    async def delete(self, api_version: str, kind: str, name: str, uid: str | None) -> None:
        """Delete a child, or what is no child by its uid. That ours is not there is fine, whoever has its name since."""
        place = Place(api_version, kind, self.owner.namespace, name)
        if uid is None:
            found = await self.cluster.get(*place)
            if found is None:
                return
            if not is_child(found, self.owner.uid):
                log.info("not deleted: it is no child", owner=f"{self.owner.kind}/{self.owner.name}", **place._asdict())
                return
            uid = found["metadata"]["uid"]
        self.views.forget([place])
        await self.cluster.delete(*place, uid=uid)
        self.bound.pop(place, None)

    def _is_settled(self, place: Place) -> bool:
        """Whether something there is known as ours: what was not there a moment ago is looked for anew."""
        return self.bound.get(place, {}).keys() == {"uid"}

    async def _apply(self, manifest: Manifest, bound: Bound, manager: str) -> Json:
        metadata: Mapping[str, Any] = {**manifest["metadata"], **bound}
        return await self.cluster.apply({**manifest, "metadata": metadata}, manager=manager)

    def _refused(self, foreign: list[str]) -> ForeignObjectError:
        owner = self.owner
        return ForeignObjectError(
            f"{'; '.join(foreign)}: not made by {owner.kind} {owner.name}, which needs the name. Nothing was written: "
            f"rename or delete what is there, or give the {owner.kind} another name"
        )


def _is_what_we_make(found: Json, manifest: Manifest, owner: Owner) -> bool:
    """Whether what is there was made by an earlier turn: a child by its owner, what outlives its maker by our labels."""
    if manifest["metadata"].get("ownerReferences"):
        return is_child(found, owner.uid)
    labels = found["metadata"].get("labels") or {}
    wanted: Mapping[str, str] = manifest["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in wanted.items() if name.startswith(_OURS))


def _going(found: Json, owner: Owner) -> str:
    """Why the name will be free without anybody's help; "": it will not."""
    metadata, what = found["metadata"], _named(found)
    if metadata.get("deletionTimestamp"):
        held = ", ".join(metadata.get("finalizers") or ())
        return f"{what} is being deleted" + (f", held by {held}" if held else "") + ": it is made anew once it is gone"
    earlier = [
        ref
        for ref in metadata.get("ownerReferences") or ()
        if (ref.get("kind"), ref.get("name")) == (owner.kind, owner.name)
        and str(ref.get("apiVersion", "")).partition("/")[0] == owner.api_version.partition("/")[0]
    ]
    # One of several owners that is gone takes nothing along: Kubernetes keeps the object for the others.
    if earlier and len(earlier) == len(metadata["ownerReferences"]):
        return f"{what} is that of an earlier {owner.kind} {owner.name}: Kubernetes deletes it, then it is made anew"
    return ""


def _foreign(found: Json) -> str:
    """What is there, and whose it is as far as it is known."""
    metadata = found["metadata"]
    owners = [f"{ref.get('kind')} {ref.get('name')}" for ref in metadata.get("ownerReferences") or ()]
    if owners:
        return f"{_named(found)} exists and belongs to {', '.join(owners)}"
    writers = [e.get("manager") for e in metadata.get("managedFields") or () if not e.get("subresource")]
    known = ", ".join(dict.fromkeys(str(writer) for writer in writers if writer))
    return f"{_named(found)} exists and has no owner" + (f" (written by {known})" if known else "")


def _named(found: Json) -> str:
    return f"{found['kind']} {found['metadata']['name']}"
