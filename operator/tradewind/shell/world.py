"""The world that `observe` reads: our kinds from the cache, everything else from the API server, and SQL."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from tradewind.api.common import API_VERSION, Resource
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import ProgressStatus
from tradewind.core.pods import is_ready
from tradewind.core.queue import JOB_LABEL
from tradewind.core.world import DatabaseUnavailableError, Json
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.database import Database
from tradewind.shell.views import Place, Views
from tradewind.trading.evidence import Memory

if TYPE_CHECKING:
    from tradewind.trading.signature import Signer

_MEMORIES = 1_000
"""Each holds sums by block: some 20 KB at 100 blocks."""

_ROUTINGS = 1_000
"""Some 10 KB each."""

_KUEUE = ("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1")

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True)
class ClusterWorld:
    """Implements `tradewind.core.world.World`.

    Attributes:
        sql: None: no database is configured.
        seal: signs routing documents, and knows its own.
        reports: newest report of each run's trainer, by (namespace, name).
        memories: block sums of experiments by uid, the one looked at last at the end.
        routings: the last routing document of each Endpoint by uid.
        going: namespaces that are being deleted.
        views: children as last seen.
        trusting: what is asked for as it is now is that of the cache, where the watch tells of changes.
    """

    cluster: Cluster
    sql: Database | None
    cache: Cache
    seal: "Signer"
    reports: Mapping[tuple[str, str], ProgressStatus] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    routings: dict[str, str] = field(default_factory=dict)
    going: Container[str] = frozenset()
    views: Views = field(default_factory=Views)
    trusting: bool = False

    @property
    def database(self) -> Database:
        """The database, for facts and for records."""
        if self.sql is None:
            message = (
                "no database is configured: set TRADEWIND_DSN (chart: database.existingSecret or database.embedded)"
            )
            raise DatabaseUnavailableError(message)
        return self.sql

    def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        """One of our objects as last seen."""
        return self.cache.get(kind, namespace, name)

    def all(self, kind: type[R], namespace: str) -> tuple[R, ...]:
        """Every valid object of one of our kinds in a namespace, as last seen."""
        return self.cache.all(kind, namespace)

    def by_name(self, kind: type[R], namespace: str) -> Mapping[str, R]:
        """Every valid object of one of our kinds in a namespace, as last seen."""
        return self.cache.by_name(kind, namespace)

    def naming(self, kind: type[R], named: Resource) -> tuple[R, ...]:
        """Those of a kind that have an object as a neighbour by name, as last seen."""
        return self.cache.naming(kind, Key(type(named).__name__, named.namespace, named.name))

    def unread(self, kind: type[Resource], namespace: str) -> tuple[str, ...]:
        """Names of those that are not valid, as last seen."""
        return self.cache.unread(kind, namespace)

    def is_going(self, namespace: str) -> bool:
        """Whether a namespace is being deleted."""
        return namespace in self.going

    async def fresh(self, kind: type[R], namespace: str, name: str) -> R | None:
        """One of our objects as the API server has it now; where this world trusts its view, as that shows it."""
        if self.trusting and self.cache.trusts(kind.__name__):
            return self.cache.get(kind, namespace, name)
        raw = await self.cluster.get(API_VERSION, kind.__name__, namespace, name)
        parsed = self.cache.take(raw) if raw is not None else None
        return parsed if isinstance(parsed, kind) else None

    async def read(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        """Any other object; one of which a change would be told is read once."""
        place = Place(api_version, kind, namespace, name)
        known, body = self.views.known(place)
        if not known:
            body = await self.cluster.get(*place)
            self.views.read(place, body)
        return body

    async def serves(self, api_version: str) -> bool:
        """Whether the cluster has an API, which may come and go."""
        return await self.cluster.serves(api_version)

    async def pods(self, namespace: str, selector: str) -> Sequence[Json]:
        """Pods that match labels."""
        known = self.views.pods(namespace, selector)
        if known is not None:
            return known
        found = await self.cluster.select("v1", "Pod", namespace, label_selector=selector)
        if found and all(is_ready(pod) for pod in found):
            self.views.keep_pods(namespace, selector, found)
        return found

    async def warnings(self, namespace: str, uid: str) -> Sequence[Json]:
        """Kubernetes' Warnings about an object, oldest first."""
        if not uid:
            return ()
        chosen = f"involvedObject.uid={uid},type=Warning"
        events = await self.cluster.select("v1", "Event", namespace, field_selector=chosen)
        return sorted(events, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))

    async def workload(self, namespace: str, job_uid: str) -> Json | None:
        """Kueue's Workload of a Job, in the newest version that the cluster serves."""
        for version in _KUEUE:
            try:
                found = await self.cluster.select(
                    version, "Workload", namespace, label_selector=f"{JOB_LABEL}={job_uid}"
                )
            except ClusterError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
            else:
                return found[0] if found else None
        return None

    def memory(self, experiment_uid: str) -> Memory:
        """Of the experiments that were looked at last: those of others are summed from nothing."""
        memory = self.memories.pop(experiment_uid, None) or Memory()
        self.memories[experiment_uid] = memory
        while len(self.memories) > _MEMORIES:
            del self.memories[next(iter(self.memories))]
        return memory

    def kept_routing(self, endpoint_uid: str) -> str | None:
        """The last routing document that was the operator's own."""
        return self.routings.get(endpoint_uid)

    def keep_routing(self, endpoint_uid: str, text: str) -> None:
        """Remembers it; of Endpoints that are gone only the newest few hundred stay."""
        self.routings.pop(endpoint_uid, None)
        self.routings[endpoint_uid] = text
        while len(self.routings) > _ROUTINGS:
            del self.routings[next(iter(self.routings))]

    def progress(self, run: TrainingRun) -> ProgressStatus | None:
        """The newest report of a run's trainer, none of an earlier run of its name."""
        report, made = self.reports.get(run.key), run.metadata.creation_timestamp
        if report is None or (made is not None and (report.last_updated_time or made) < made):
            return None
        return report
