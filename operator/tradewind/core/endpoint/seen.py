"""Facts about an Endpoint, and the words that its parts share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.api.model_version import ModelVersion
from tradewind.trading.routing import Routing

TERMINAL = frozenset(
    {
        ABExperimentPhase.SUCCEEDED,
        ABExperimentPhase.ROLLED_BACK,
        ABExperimentPhase.INCONCLUSIVE,
        ABExperimentPhase.ABORTED,
        ABExperimentPhase.INVALID,
    }
)


class Reason(StrEnum):
    """Why a condition of an Endpoint says what it says."""

    READY = "Ready"
    """Someone answers, and everything that answering needs is there."""
    VERSION_MISSING = "VersionMissing"
    """spec.fallback does not exist, or a promoted candidate no longer exists as it was tested."""
    VERSION_NOT_READY = "VersionNotReady"
    """The champion is not Ready; the fallback answers for it."""
    CHAMPION_MISSING = "ChampionMissing"
    """The ModelVersion that was promoted is gone, or is another artifact under its name."""
    CHAMPION_KNOWN = "ChampionKnown"
    """The champion exists and is what was promoted."""
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    """The database does not answer, or none is named."""
    SCHEMA_MISSING = "SchemaMissing"
    """The database lacks the schema of this version: run the migration."""
    DATABASE_REACHABLE = "DatabaseReachable"
    """The database answers."""
    GATEWAY_STARTING = "GatewayStarting"
    """No pod of the gateway is ready."""
    GATEWAY_READY = "GatewayReady"
    """At least one pod of the gateway is ready."""
    APPLIED = "Applied"
    """Every ready gateway pod obeys the newest weights."""
    APPLYING = "Applying"
    """Something is decided but not yet in effect: weights, or the routing to an experiment."""
    EXPIRED = "Expired"
    """The candidate's weight was not renewed in time; the baseline answers."""
    EXPERIMENT_RUNNING = "ExperimentRunning"
    """The experiment that holds the Endpoint is routed to."""
    NO_EXPERIMENT = "NoExperiment"
    """No experiment holds the Endpoint."""
    FIRST_CHAMPION = "FirstChampion"
    """Reason of the first record of promotions: the champion that answers before anything was promoted."""
    OBJECT_DELETED = "ObjectDeleted"
    """Reason of a recorded end: the ABExperiment was deleted before its verdict."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """The newest stored promotion of this Endpoint; `first`: of its first champion, to which no experiment led."""

    version: str
    sha256: str | None
    first: bool = False


@dataclass(frozen=True, slots=True)
class StartedExperiment:
    """An experiment as it was recorded at its start."""

    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What one gateway pod last said that it obeys."""

    replica: str
    generation: int
    epoch: int | None


@dataclass(frozen=True, slots=True)
class EpochRow:
    """A stored weight of one block, and why it is what it is."""

    block: int
    epoch: int
    candidate_weight: Decimal
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about an Endpoint; None is: not there, or not known.

    Attributes:
        versions: every ModelVersion of the namespace by name.
        experiments: every ABExperiment that names this Endpoint.
        epochs: of the experiment that holds the Endpoint.
        orphans: recorded experiments without a verdict whose object is gone.
        in_position: versions whose decisions have open positions: follow-ups are theirs, also after they retired.
        mounted: versions whose Secret every gateway pod has; None: there is no pod.
        database_error: why SQL facts are missing; None: they are complete.
    """

    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    experiments: tuple[ABExperiment, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    orphans: tuple[StartedExperiment, ...] = ()
    in_position: frozenset[str] = frozenset()
    promotion: Promotion | None = None
    replicas: tuple[ReplicaReport, ...] = ()
    ready_pods: frozenset[str] = frozenset()
    mounted: frozenset[str] | None = None
    routing: Routing | None = None
    database_error: str | None = None
    schema_missing: bool = False


def version_sha256(version: ModelVersion) -> str | None:
    """The hash that a version is pinned to; None for an external API."""
    if version.spec.adapter:
        return version.spec.adapter.sha256
    return version.spec.model.sha256 if version.spec.model else None
