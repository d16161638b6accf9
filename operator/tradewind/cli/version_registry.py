"""`tradewind get modelversion`: the registry of versions, each with its lineage, the newest first.

Belongs here: reading what speaks of versions, and a record as text and JSON. Does not belong here: what is known of a version
(core/lineage_record.py), whether it holds (verify.py), options and the other kinds (objects.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import API_VERSION, Resource
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import parse
from tradewind.api.training_run import TrainingRun
from tradewind.cli.report_text import UNKNOWN, moment
from tradewind.core.lineage_record import Known, Lineage, Past, Place, Role, lineages
from tradewind.shell.cluster import Cluster, ClusterError

Json = Mapping[str, Any]
R = TypeVar("R", bound=Resource)

MARK: Final = "*"
"""Stands before a champion."""
NONE: Final = "-"
"""There is none; what nobody said is UNKNOWN."""
_SHORT: Final = 12
"""Digits of a hash in a table."""
_HEAD: Final = ("", "MODELVERSION", "STAGE", "PLACE", "READY", "RUN", "ROWS", "WATERMARK", "GATES", "AGE")
_WIDE: Final = ("BASE", "DATASET", "SERVED", "PARENTS")
_PAST: Final = {
    Past.WHOLE: "",
    Past.GONE: "what it comes from is unknown: an object does not exist or may not be read",
    Past.OTHER: "what it comes from is unknown: the run of that name made another artifact",
    Past.OUTSIDE: "no TrainingRun here made it",
    Past.LONG: "not followed further",
}


class Registry:
    """Records of the versions that were read, by namespace and name."""

    def __init__(self, records: Mapping[tuple[str, str], Lineage], unreadable: Sequence[Json]) -> None:
        """`unreadable`: objects whose spec this release does not know."""
        self._records = records
        self._unreadable = unreadable

    @classmethod
    async def read(cls, cluster: Cluster, objects: Sequence[Json], *, whole: bool) -> "Registry":
        """What speaks of these versions; what may not be read is unknown.

        Args:
            cluster: that they are of.
            objects: ModelVersions.
            whole: they are all of their namespaces; else their parents are read, too.

        Raises:
            ClusterError: the API server does not answer, or answers with an error that is no missing right.
        """
        records: dict[tuple[str, str], Lineage] = {}
        unreadable: list[Json] = []
        for namespace in sorted({_namespace(body) for body in objects}):
            here = [body for body in objects if _namespace(body) == namespace]
            others = () if whole else await _select(cluster, ModelVersion, namespace) or ()
            versions = {version.name: version for version in others}
            for body in here:
                version = parse(ModelVersion, body)
                if isinstance(version, ModelVersion):
                    versions[version.name] = version
                else:
                    unreadable.append(body)
            known = Known(
                tuple(versions.values()),
                runs=await _select(cluster, TrainingRun, namespace),
                endpoints=await _select(cluster, Endpoint, namespace, every=True),
                experiments=await _select(cluster, ABExperiment, namespace, every=True),
            )
            asked = {body["metadata"]["name"] for body in here}
            records |= {
                (namespace, record.version.name): record for record in lineages(known) if record.version.name in asked
            }
        return cls(records, unreadable)

    def __bool__(self) -> bool:
        """Whether there is any version."""
        return bool(self._records or self._unreadable)

    def rows(self, now: datetime, *, wide: bool, everywhere: bool) -> list[tuple[str, ...]]:
        """Head and a row a version; what no record could be made of ends the table."""
        head = (_HEAD[0], *(("NAMESPACE",) if everywhere else ()), *_HEAD[1:], *(_WIDE if wide else ()))
        rows = [head]
        for (namespace, _), record in self._records.items():
            mark, *cells = _cells(record, now)
            more = _wide_cells(record) if wide else ()
            rows.append((mark, *((namespace,) if everywhere else ()), *cells, *more))
        for body in self._unreadable:
            where = (_namespace(body),) if everywhere else ()
            rows.append(("", *where, body["metadata"]["name"], *([UNKNOWN] * (len(head) - 2 - len(where)))))
        return rows

    def lines(self, namespace: str, name: str) -> list[str]:
        """The record of one, a line a fact; none of what could not be read."""
        record = self._records.get((namespace, name))
        if record is None:
            return []
        facts = list(_facts(record))
        wide = max(len(what) for what, _ in facts)
        return [f"{what:<{wide}}  {told}" for what, told in facts]

    def with_lineage(self, objects: Sequence[Json]) -> list[Json]:
        """The objects in the order of the table, each with its record under `lineage`."""
        order = {key: number for number, key in enumerate(self._records)}
        last = len(order)
        ordered = sorted(objects, key=lambda body: order.get((_namespace(body), body["metadata"]["name"]), last))
        found = []
        for body in ordered:
            record = self._records.get((_namespace(body), body["metadata"]["name"]))
            found.append(body if record is None else {**body, "lineage": as_json(record)})
        return found


def as_json(record: Lineage) -> Json:
    """A record for programs: what nobody said is null."""
    places = record.places
    return {
        "champion": record.reigns,
        "places": None
        if places is None
        else [{"role": place.role.value, "holder": place.holder, "same": place.same} for place in places],
        "base": {"uri": record.base, "revision": record.base_revision, "sha256": record.base_sha256}
        if record.version.spec.adapter is not None
        else None,
        "trainingRun": record.run,
        "madeByTrainingRun": record.made_here,
        "dataset": {"sha256": record.dataset_sha256, "rows": record.rows, "watermark": _iso(record.watermark)},
        "parents": list(record.parents),
        "parentsEnd": record.past.value,
        "gates": None
        if record.gates is None
        else {
            "passed": list(record.gates[True]),
            "failed": list(record.gates[False]),
            "notJudged": list(record.gates[None]),
        },
        "servedSha256": record.served_sha256,
    }


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in its two largest units; UNKNOWN where nobody said since when."""
    if since is None:
        return UNKNOWN
    minutes, _ = divmod(max(int((now - since) / timedelta(seconds=1)), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h" if hours else f"{days}d"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m"


def _cells(record: Lineage, now: datetime) -> tuple[str, ...]:
    version = record.version
    ready = version.status.condition("Ready")
    own = version.spec.adapter is not None
    return (
        MARK if record.reigns else "",
        version.name,
        version.status.stage.value if version.status.stage is not None else UNKNOWN,
        _place_words(record.places, version.status.in_use_by),
        f"{ready.status} {ready.reason}" if ready is not None else UNKNOWN,
        _run_words(record),
        _count(record.rows) if own else NONE,
        (moment(record.watermark) if record.watermark is not None else UNKNOWN) if own else NONE,
        _gate_words(record),
        age(version.metadata.creation_timestamp, now),
    )


def _wide_cells(record: Lineage) -> tuple[str, ...]:
    own = record.version.spec.adapter is not None
    return (
        _base_words(record, short=True),
        _digits(record.dataset_sha256) if own else NONE,
        NONE if record.version.spec.external is not None else _digits(record.served_sha256),
        _parent_words(record) if own else NONE,
    )


def _facts(record: Lineage) -> list[tuple[str, str]]:
    """The record of one, whole hashes and all names."""
    version, made = record.version, record.version.status.provenance
    facts = [
        ("stage", version.status.stage.value if version.status.stage is not None else UNKNOWN),
        ("place", _place_words(record.places, version.status.in_use_by)),
        ("base", _base_words(record, short=False)),
    ]
    if version.spec.adapter is not None:
        until = moment(record.watermark) if record.watermark is not None else UNKNOWN
        facts += [
            ("run", _run_words(record)),
            ("parents", _parent_words(record, why=True)),
            (
                "dataset",
                f"sha256 {record.dataset_sha256 or UNKNOWN}, rows {_count(record.rows)}, newest decision {until}",
            ),
        ]
    if version.spec.external is None:
        facts += [
            ("gates", _gate_words(record, names=True)),
            ("served", f"sha256 {record.served_sha256 or UNKNOWN}"),
            ("image", (made.image if made is not None else None) or UNKNOWN),
        ]
    created = version.metadata.creation_timestamp
    return [*facts, ("created", UNKNOWN if created is None else moment(created))]


def _place_words(places: Sequence[Place] | None, in_use_by: Sequence[str]) -> str:
    if places is None:
        holders = f"; status.inUseBy names {', '.join(in_use_by)}" if in_use_by else ""
        return f"{UNKNOWN}{holders}"
    said = []
    for role in Role:
        for same in (True, False):
            who = [_holder(place) for place in places if place.role is role and place.same is same]
            if who:
                other = "" if same else " (as another spec of this name)"
                said.append(f"{role.value} of {', '.join(who)}{other}")
    return "; ".join(said) or NONE


def _holder(place: Place) -> str:
    return place.holder.partition("/")[2]


def _run_words(record: Lineage) -> str:
    if record.version.spec.adapter is None:
        return NONE
    if record.run is None:
        return UNKNOWN
    return record.run + {True: "", False: " (made another artifact)", None: f" ({UNKNOWN})"}[record.made_here]


def _base_words(record: Lineage, *, short: bool) -> str:
    spec = record.version.spec
    if spec.external is not None:
        return f"external API: {spec.external.model}"
    if spec.model is not None:
        return f"{spec.model.uri} (whole model)"
    sha256 = record.base_sha256[:_SHORT] if short and record.base_sha256 else record.base_sha256
    return f"{record.base}, revision {record.base_revision or UNKNOWN}, sha256 {sha256 or UNKNOWN}"


def _gate_words(record: Lineage, *, names: bool = False) -> str:
    if record.version.spec.external is not None:
        return NONE
    if record.gates is None:
        return "not judged"
    words = {True: "passed", False: "FAILED", None: "not judged"}
    said = []
    for state, word in words.items():
        which = record.gates[state]
        if which:
            said.append(f"{len(which)} {word}" + (f" ({', '.join(which)})" if names or state is False else ""))
    return ", ".join(said)


def _parent_words(record: Lineage, *, why: bool = False) -> str:
    chain = " <- ".join((record.version.name, *record.parents)) if record.parents else ""
    if record.past is Past.WHOLE:
        return chain or NONE
    if why:
        return f"{chain}; {_PAST[record.past]}" if chain else _PAST[record.past]
    return f"{chain} <- {UNKNOWN}" if chain else UNKNOWN


def _digits(sha256: str | None) -> str:
    return UNKNOWN if sha256 is None else sha256[:_SHORT]


def _count(rows: int | None) -> str:
    return UNKNOWN if rows is None else f"{rows:,}"


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _namespace(body: Json) -> str:
    return str(body["metadata"].get("namespace", ""))


async def _select(cluster: Cluster, kind: type[R], namespace: str, *, every: bool = False) -> tuple[R, ...] | None:
    """Objects of a kind that can be read; None where they may not be listed, or with `every` where one cannot be read."""
    try:
        found = await cluster.select(API_VERSION, kind.__name__, namespace)
    except ClusterError as error:
        if error.status in (401, 403):
            return None
        raise
    parsed = [parse(kind, {"kind": kind.__name__, **body}) for body in found]
    readable = tuple(one for one in parsed if isinstance(one, kind))
    return None if every and len(readable) < len(parsed) else readable
