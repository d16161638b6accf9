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
    """Why a condition says what it says."""

    READY = "Ready"
    VERSION_MISSING = "VersionMissing"
    VERSION_NOT_READY = "VersionNotReady"
    CHAMPION_MISSING = "ChampionMissing"
    CHAMPION_KNOWN = "ChampionKnown"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    SCHEMA_MISSING = "SchemaMissing"
    DATABASE_REACHABLE = "DatabaseReachable"
    GATEWAY_STARTING = "GatewayStarting"
    GATEWAY_READY = "GatewayReady"
    APPLIED = "Applied"
    APPLYING = "Applying"
    EXPIRED = "Expired"
    EXPERIMENT_RUNNING = "ExperimentRunning"
    NO_EXPERIMENT = "NoExperiment"


@dataclass(frozen=True, slots=True)
class Promotion:
    """The newest stored promotion of this Endpoint."""

    version: str
    sha256: str | None


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
        in_position: versions whose decisions have open positions: follow-ups are theirs, also after they retired.
        mounted: versions whose Secret every gateway pod has; None: there is no pod.
        database_error: why SQL facts are missing; None: they are complete.
    """

    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    experiments: tuple[ABExperiment, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
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
