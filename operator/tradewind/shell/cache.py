"""Objects of our kinds as last seen, parsed once a version.

Four sources feed it: watch events, the object that a turn has just read, what the operator has just written, and a list of
each kind now and then. They come in any order, so that the newer version stays: within a kind resourceVersions grow, and
one that was deleted comes back only as a newer one. A list that is older than what is known changes nothing.

How old may a view be? All statuses are written by this process and are kept as they are written, so that what decisions
tell each other (who holds an Endpoint, which weight is wanted, who is champion) is not behind, but for a write whose answer
was lost. Such a write, and what people and other programs do (new objects, edits, deletions), is behind by the delay of the
watch, milliseconds, or by a resync where the watch has missed it. A kind of which a resync finds that the watch missed
something is read before each turn until one finds nothing.

A turn decides on this view, the object that is reconciled included. Whatever it decides to do but renewing what is published
it decides once more, on the object as the API server has it now and with what each `observe` reads fresh besides: what a
start, another weight and a promotion rest on (reconcile.py).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import structlog
from prometheus_client import Counter
from pydantic import BaseModel

from tradewind.api.common import Resource
from tradewind.api.parse import FieldError, InvalidSpec, parse
from tradewind.core.registry import BY_KIND

log = structlog.get_logger()

Json = Mapping[str, Any]
R = TypeVar("R", bound=Resource)

PARSES = Counter("tradewind_parses", "Objects that were parsed: each version of one once.", ["kind"])


class Key(NamedTuple):
    """One resource of ours."""

    kind: str
    namespace: str
    name: str


def key_of(raw: Json) -> Key:
    """The key of one of our objects."""
    return Key(raw["kind"], raw["metadata"]["namespace"], raw["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class _Entry:
    """head: what an object is written by, without what was parsed; None: nobody writes it any more, and `parsed` is slim."""

    version: int
    parsed: Resource | InvalidSpec
    head: dict[str, Any] | None


class Cache:
    """Typed objects by kind, namespace and name."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], dict[str, _Entry]] = {}
        self._unread: dict[tuple[str, str], set[str]] = {}
        self._named: dict[tuple[str, str], Mapping[str, Resource]] = {}  # each is made once a change
        self._naming: dict[Key, set[Key]] = {}
        self._parts: WeakValueDictionary[tuple[type[BaseModel], str], BaseModel] = WeakValueDictionary()
        self._deleted: dict[Key, int] = {}
        self._quiet: dict[Key, int] = {}
        self._behind = frozenset(BY_KIND)

    def trust(self, behind: Iterable[str] = ()) -> None:
        """The watch tells of everything, but of the kinds that are `behind`: these are read before each turn."""
        self._behind = frozenset(behind)

    def trusts(self, kind: str) -> bool:
        """Whether objects of this kind need not be read: what the watch has not told is found with the next resync."""
        return kind not in self._behind

    def head(self, key: Key) -> dict[str, Any] | None:
        """apiVersion, kind and metadata of a valid object, where it need not be read; None: read it."""
        entry = self._known(key)
        known = entry is not None and isinstance(entry.parsed, Resource) and self.trusts(key.kind)
        return entry.head if known and entry is not None else None

    def version(self, key: Key) -> int:
        """The newest version that is known of an object, or of its deletion; -1: none is."""
        entry = self._known(key)
        return max(entry.version if entry is not None else -1, self._deleted.get(key, -1))

    def is_over(self, raw: Json) -> bool:
        """Whether this very version is known, and nobody writes it any more."""
        entry = self._known(key_of(raw))
        over = entry is not None and entry.head is None and isinstance(entry.parsed, Resource)
        return over and entry is not None and entry.version == _version(raw["metadata"])

    def keys(self, kind: str, namespace: str | None) -> list[Key]:
        """Everything that is known of a kind (namespace None: everywhere)."""
        places = [(of, place) for of, place in self._entries if of == kind and namespace in (None, place)]
        return [Key(kind, place, name) for of, place in places for name in self._entries[of, place]]

    def quieten(self, raw: Json) -> None:
        """This version is our own, and says nothing that anybody has to look at."""
        self._quiet[key_of(raw)] = _version(raw["metadata"])

    def is_quiet(self, raw: Json) -> bool:
        """Whether a watch event is of such a version, or of one before it."""
        return _version(raw["metadata"]) <= self._quiet.get(key_of(raw), -1)

    def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        """One object; None: not there, or not valid. Of a finished one, what others' decisions read."""
        entry = self._entries.get((kind.__name__, namespace), {}).get(name)
        return entry.parsed if entry is not None and isinstance(entry.parsed, kind) else None

    def all(self, kind: type[R], namespace: str) -> tuple[R, ...]:
        """Every valid object of a kind in a namespace, by name."""
        return tuple(self.by_name(kind, namespace).values())

    def by_name(self, kind: type[R], namespace: str) -> Mapping[str, R]:
        """The same with their names."""
        place = kind.__name__, namespace
        if place not in self._named:
            entries = sorted(self._entries.get(place, {}).items())
            found = {name: e.parsed for name, e in entries if isinstance(e.parsed, Resource)}
            self._named[place] = MappingProxyType(found)
        return self._named[place]  # type: ignore[return-value]

    def unread(self, kind: type[Resource], namespace: str) -> tuple[str, ...]:
        """Names of a kind in a namespace that are not valid objects."""
        return tuple(sorted(self._unread.get((kind.__name__, namespace), ())))

    def naming(self, kind: type[R], named: Key) -> tuple[R, ...]:
        """Every valid object of a kind that has this one as a neighbour by name, sorted by its own."""
        keys = sorted(key for key in self._naming.get(named, ()) if key.kind == kind.__name__)
        return tuple(entry.parsed for entry in map(self._known, keys) if entry is not None)  # type: ignore[misc]

    def everything(self) -> Iterator[tuple[Key, Resource | InvalidSpec]]:
        """Every object, also what cannot be read."""
        for (kind, namespace), entries in list(self._entries.items()):
            for name, entry in list(entries.items()):
                yield Key(kind, namespace, name), entry.parsed

    def take(self, raw: Json) -> Resource | InvalidSpec:
        """The typed object of a manifest, parsed unless this very version is known; kept unless a newer one is."""
        key, version = key_of(raw), _version(raw["metadata"])
        known = self._known(key)
        if known is not None and known.version == version and (known.head or isinstance(known.parsed, InvalidSpec)):
            return known.parsed
        parsed = _parsed(key, raw)
        if self._is_news(key, version):
            head = _head(parsed, raw)
            over = head is None and isinstance(parsed, Resource)
            kept = self._shared(BY_KIND[key.kind].slim(parsed)) if over else parsed
            self._put(key, _Entry(version, kept, head))
        return parsed

    def drop(self, raw: Json) -> Resource | InvalidSpec:
        """Forget a deleted object, and give what it was; one of its name that was made since stays."""
        key, version = key_of(raw), _version(raw["metadata"])
        known = self._known(key)
        if known is not None and known.version <= version:
            self._pop(key)
        if known is None or known.version <= version:
            self._deleted[key] = version
        self._quiet.pop(key, None)
        return known.parsed if known is not None else _parsed(key, raw)

    def differences(self, kind: str, namespace: str | None, versions: Mapping[Key, int], as_of: int) -> list[Key]:
        """Of which objects a list of a kind (namespace None: of the cluster) as of a version knows more than we do."""
        newer = [key for key, version in versions.items() if version > self.version(key)]
        return newer + [key for key in self.keys(kind, namespace) if key not in versions and self.version(key) <= as_of]

    def keep(
        self, kind: str, namespace: str | None, listed: Collection[Key], as_of: int
    ) -> list[tuple[Key, Resource | InvalidSpec]]:
        """Forget what a list of a kind as of a version has not; what that was."""
        changed: list[tuple[Key, Resource | InvalidSpec]] = []
        for (of, place), entries in self._entries.items():
            if of != kind or namespace not in (None, place):
                continue
            for name, entry in list(entries.items()):
                if Key(kind, place, name) not in listed and entry.version <= as_of:
                    changed.append((Key(kind, place, name), entry.parsed))
                    self._pop(Key(kind, place, name))
                    self._quiet.pop(Key(kind, place, name), None)
        for key, gone in list(self._deleted.items()):
            if key.kind == kind and namespace in (None, key.namespace) and gone <= as_of:
                del self._deleted[key]  # no list can bring it back any more
        return changed

    def forget(self, namespace: str) -> None:
        """Forget a namespace that does not exist."""
        for kind, place in [known for known in self._entries if known[1] == namespace]:
            for name in list(self._entries[kind, place]):
                self._pop(Key(kind, place, name))
            del self._entries[kind, place]

    def _shared(self, parsed: Resource) -> Resource:
        """The same, with parts of its spec that are as another's being that one's: of thousands that are over, most are alike."""
        spec: BaseModel = parsed.spec  # type: ignore[attr-defined]
        parts = {name: part for name, part in spec if isinstance(part, BaseModel)}
        same = {
            name: self._parts.setdefault((type(part), part.model_dump_json()), part) for name, part in parts.items()
        }
        return parsed.model_copy(update={"spec": spec.model_copy(update=same)})

    def _put(self, key: Key, entry: _Entry) -> None:
        entries = self._entries.setdefault((key.kind, key.namespace), {})
        before, now = _neighbours(key, entries.get(key.name)), _neighbours(key, entry)
        entries[key.name] = entry
        unread = self._unread.setdefault((key.kind, key.namespace), set())
        (unread.add if isinstance(entry.parsed, InvalidSpec) else unread.discard)(key.name)
        self._named.pop((key.kind, key.namespace), None)
        self._rename(key, before - now, now - before)

    def _pop(self, key: Key) -> None:
        entry = self._entries[key.kind, key.namespace].pop(key.name)
        self._named.pop((key.kind, key.namespace), None)
        self._unread.get((key.kind, key.namespace), set()).discard(key.name)
        self._rename(key, _neighbours(key, entry), frozenset())

    def _rename(self, key: Key, no_more: Iterable[Key], anew: Iterable[Key]) -> None:
        for named in no_more:
            self._naming[named].discard(key)
            if not self._naming[named]:
                del self._naming[named]
        for named in anew:
            self._naming.setdefault(named, set()).add(key)

    def _known(self, key: Key) -> _Entry | None:
        return self._entries.get((key.kind, key.namespace), {}).get(key.name)

    def _is_news(self, key: Key, version: int) -> bool:
        """Whether a version is newer than what is known of an object, its deletion included."""
        return version > self.version(key)


def _neighbours(key: Key, entry: _Entry | None) -> frozenset[Key]:
    """Whom an object has as neighbours by name."""
    if entry is None or isinstance(entry.parsed, InvalidSpec):
        return frozenset()
    found = BY_KIND[key.kind].neighbours(entry.parsed)
    return frozenset(Key(one.kind.__name__, key.namespace, one.name) for one in found if one.name is not None)


def _parsed(key: Key, raw: Json) -> Resource | InvalidSpec:
    """What cannot be read for a fault of ours is said like what cannot be read for its author's: it stops nobody else."""
    PARSES.labels(key.kind).inc()
    try:
        return parse(BY_KIND[key.kind].resource, raw)
    except Exception as error:
        log.exception("object cannot be read", kind=key.kind, namespace=key.namespace, name=key.name)
        message = f"this operator fails to read it ({type(error).__name__}): its log has more; please report it"
        return InvalidSpec((FieldError("spec", message),))


def _head(parsed: Resource | InvalidSpec, raw: Json) -> dict[str, Any] | None:
    """Memory is for what gets turns: thousands may be over."""
    if isinstance(parsed, InvalidSpec) or BY_KIND[raw["kind"]].finished(parsed):
        return None
    metadata = {name: value for name, value in raw["metadata"].items() if name != "managedFields"}
    return {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": metadata}


def _version(metadata: Json) -> int:
    return int(metadata["resourceVersion"])
