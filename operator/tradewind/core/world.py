"""What `observe` may ask of the world. Protocols alone: the shell implements them, a test may too.

Belongs here: how facts are asked for. Does not belong here: which facts a kind needs (`core/<kind>/observe.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from tradewind.api.common import Resource
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import ProgressStatus
from tradewind.core.ab_experiment.prices import Prior
from tradewind.core.endpoint import Conflicts, EpochRow, ProbeCosts, Promotion, ReplicaReport, StartedExperiment
from tradewind.trading.evidence import Memory, StoredEvidence
from tradewind.trading.evidence.forecast import PastDecisions
from tradewind.trading.paper import PaperBasis
from tradewind.trading.routing import Refusal

R = TypeVar("R", bound=Resource)
Json = Mapping[str, Any]


class DatabaseUnavailableError(Exception):
    """The database did not answer, has no schema, or is not this operator's. The message has the remedy, never the password."""

    def __init__(self, message: str, *, schema_missing: bool = False, taken: bool = False) -> None:
        super().__init__(message)
        self.schema_missing = schema_missing
        self.taken = taken


class Neighbour(NamedTuple):
    """Who must be looked at when a resource changes: one of its namespace by name, or some that are not finished.

    Attributes:
        name: None: all of the kind, or those that `naming` or `through` says.
        naming: those of the kind that have the changed resource as a neighbour by name.
        through: those of the kind that are a neighbour, by name, of what is of this kind and names the changed resource.
    """

    kind: type[Resource]
    name: str | None = None
    naming: bool = False
    through: type[Resource] | None = None


class OfEndpoint(NamedTuple):
    """What the database knows of an Endpoint.

    Attributes:
        epochs: every stored weight of the experiment that holds it, by block.
        in_position: versions whose decisions have open positions.
        promotion: the newest one.
        used: those of the requests by hand that led to a promotion.
        undecided: experiments that were started and have no verdict, the oldest first.
        replicas: what the gateway pods of the last minute obey.
        probes: questions of 30 days that no decision asked, by version.
        conflicts: decisions of the last 7 days with answers that differ; None: there are none.
    """

    epochs: tuple[EpochRow, ...]
    in_position: frozenset[str]
    promotion: Promotion | None
    used: frozenset[str]
    undecided: tuple[StartedExperiment, ...]
    replicas: tuple[ReplicaReport, ...]
    probes: Mapping[str, ProbeCosts]
    conflicts: Conflicts | None


class OfExperiment(NamedTuple):
    """What the database knows of an experiment beside its rows.

    Attributes:
        tested_before: how often this pair was compared before it started: other experiments, and what was accepted in them.
        epochs: every stored weight, by block.
        recorded: whether its start is.
        clock: the newest `as_of` that was asked for of its Endpoint, in a replay.
    """

    tested_before: int
    epochs: tuple[EpochRow, ...]
    recorded: bool
    clock: datetime | None


class Database(Protocol):
    """Facts from SQL, by namespace and Endpoint. Every method raises DatabaseUnavailableError."""

    async def of_endpoint(
        self, namespace: str, endpoint: str, uid: str | None, requests: Collection[str]
    ) -> OfEndpoint:
        """All that a turn of an Endpoint reads.

        Args:
            uid: of the experiment that holds it.
            requests: by hand, of which some may have led to a promotion.
        """

    async def of_experiment(
        self, namespace: str, endpoint: str, baseline: str, candidate: str, experiment_uid: str
    ) -> OfExperiment:
        """What a turn of an experiment reads beside its rows."""

    async def undecided(self, namespace: str, endpoint: str) -> tuple[StartedExperiment, ...]:
        """Experiments that were started and have no verdict."""

    async def prior(self, namespace: str, endpoint: str, baseline: str, before: datetime | None) -> Prior:
        """What was decided before a time (None: now): trades of the baseline, and decisions of the last 14 days."""

    async def past_decisions(self, namespace: str, endpoint: str, version: str) -> PastDecisions:
        """What a version answered outside of experiments, the newest two weeks of it."""

    async def new_samples(self, namespace: str, endpoint: str, since: datetime | None) -> int:
        """Closed trades decided after `since`."""

    async def settle_papers(
        self,
        namespace: str,
        endpoint: str,
        experiment_uid: str,
        t0: datetime,
        basis: PaperBasis,
        until: datetime | None,
    ) -> None:
        """Settles on paper what both arms answered since t0, up to now, or to a look on the data's clock.

        No fact, but what follows from facts that are stored: whoever settles first writes what all would.
        """

    async def evidence(self, namespace: str, endpoint: str, experiment_uid: str, t0: datetime) -> StoredEvidence:
        """What a look at an experiment since t0 reads, as of one moment."""


class Seal(Protocol):
    """Tells the operator's own routing documents from others."""

    def refusal(self, signature: str, text: str, namespace: str, endpoint: str) -> Refusal | None:
        """Why this is not a document of that Endpoint; None: it is."""

    def is_current(self, signature: str) -> bool:
        """Whether a good signature is by the key in force, and not by one before it."""


class World(Protocol):
    """The cluster, the database and the trainers' reports, read only."""

    @property
    def seal(self) -> Seal:
        """By which routing documents are verified."""

    def kept_routing(self, endpoint_uid: str) -> str | None:
        """Text of the last routing document of an Endpoint that was the operator's own; None: this process saw none."""

    def keep_routing(self, endpoint_uid: str, text: str) -> None:
        """Remembers it, for when another one lies in its place."""

    @property
    def database(self) -> Database:
        """The database; raises DatabaseUnavailableError where none is configured."""

    def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        """One of our objects as last seen; None: not there, or not valid. It may be older than the API server's."""

    def all(self, kind: type[R], namespace: str) -> tuple[R, ...]:
        """Every valid object of one of our kinds in a namespace, by name, as last seen."""

    def by_name(self, kind: type[R], namespace: str) -> Mapping[str, R]:
        """The same; what is made of it is to be made anew, not changed."""

    def naming(self, kind: type[R], named: Resource) -> tuple[R, ...]:
        """Those of a kind that have a resource of their namespace as a neighbour by name, sorted by their own."""

    def unread(self, kind: type[Resource], namespace: str) -> tuple[str, ...]:
        """Names of those of one of our kinds that are not valid: what they need is not known."""

    def is_going(self, namespace: str) -> bool:
        """Whether a namespace is being deleted, as last seen."""

    async def fresh(self, kind: type[R], namespace: str, name: str) -> R | None:
        """One of our objects as the API server has it now: for what would be wrong on an older view."""

    async def read(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        """Any other object as the API server has it now."""

    async def serves(self, api_version: str) -> bool:
        """Whether the cluster has an API."""

    async def pods(self, namespace: str, selector: str) -> Sequence[Json]:
        """Pods that match labels."""

    async def warnings(self, namespace: str, uid: str) -> Sequence[Json]:
        """Kubernetes' Warnings about an object, oldest first."""

    async def workload(self, namespace: str, job_uid: str) -> Json | None:
        """Kueue's Workload of a Job; None: there is none, or no Kueue."""

    def memory(self, experiment_uid: str) -> Memory:
        """What the looks at an experiment have kept; it only saves time."""

    def progress(self, run: TrainingRun) -> ProgressStatus | None:
        """The newest report of a run's trainer to this process."""
