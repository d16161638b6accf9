"""Facts about an Endpoint, and the words that its parts share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.api.common import VersionStatusRef
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.hindrance import Hindrance
from tradewind.core.prompts import Prompt
from tradewind.trading.arm_health import ArmHealth
from tradewind.trading.routing import Refusal, Routing

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
    """The champion is not Ready, and the fallback answers for it; or a promoted candidate is not, and the champion stays."""
    VERSION_WAKING = "VersionWaking"
    """A version that is to answer was retired: its predictor is started again, and nothing moves to it before it is Ready."""
    CHAMPION_MISSING = "ChampionMissing"
    """The ModelVersion that was promoted is gone, or is another artifact under its name."""
    FALLBACK_KNOWN = "FallbackKnown"
    """The fallback exists again and is what it was when the spec named it."""
    CHAMPION_KNOWN = "ChampionKnown"
    """The champion exists and is what was promoted."""
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    """The database does not answer, or none is named."""
    SCHEMA_MISSING = "SchemaMissing"
    """The database lacks the schema of this version: run the migration."""
    INSTALLATION_TAKEN = "InstallationTaken"
    """Another cluster, or another operator, has this installation's name in the database: name another `installation`."""
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
    EXPERIMENT_ENDING = "ExperimentEnding"
    """A change of the champion by hand waits for the experiment that holds the Endpoint to end."""
    PROMOTED_BY_HAND = "PromotedByHand"
    """The verb promote made a version champion."""
    ROLLED_BACK_BY_HAND = "RolledBackByHand"
    """The verb rollback took the newest promotion back: the champion before it answers."""
    ANNOTATION_UNKNOWN = "AnnotationUnknown"
    """An annotation in our prefix means nothing on an Endpoint, most likely a misspelt verb; the message names those that do."""
    ANNOTATIONS_KNOWN = "AnnotationsKnown"
    """What was unknown is gone or mended."""
    MALFORMED_REQUEST = "MalformedRequest"
    """A verb was refused: its annotation is not written as it must be."""
    REASON_MISSING = "ReasonMissing"
    """The verb promote was refused: nobody said why."""
    REQUEST_USED = "RequestUsed"
    """A verb was refused: its request id was carried out before."""
    CHAMPION_UNKNOWN = "ChampionUnknown"
    """A verb was refused: this status did not know a champion, so nobody knows whether it was carried out before."""
    ALREADY_CHAMPION = "AlreadyChampion"
    """A verb was refused: the version is champion already."""
    NO_PREVIOUS_CHAMPION = "NoPreviousChampion"
    """The verb rollback was refused: there is no champion before this one, or it is not the one that was named."""
    VERSION_DELETED = "VersionDeleted"
    """A verb was refused: the version is being deleted."""
    VERSION_CHANGED = "VersionChanged"
    """What has the version's name is another one than was meant: a verb was refused, or the old one goes on being asked."""
    ROUTING_INTACT = "RoutingIntact"
    """What gateways find and what they say that they obey is what this operator published."""
    ROUTING_TAMPERED = "RoutingTampered"
    """Another document lay in the place of the routing document. It was not obeyed; the message says what it was, and who wrote it."""
    ROUTING_DIFFERS = "RoutingDiffers"
    """A gateway pod says that it obeys a document which was not published."""
    CONFLICTING_ANSWERS = "ConflictingAnswers"
    """In the last 7 days one id got two answers that differ: in an outage another gateway answered it. A position may be open that
    nobody told of; the message names a decision, whose read-back has both answers."""
    ANSWERS_AGREE = "AnswersAgree"
    """No decision of the last 7 days has two answers that differ."""
    HOST_MISSING = "HostMissing"
    """The Endpoint that gateway.sharedWith names does not exist, is not valid, or is being deleted."""
    HOST_UNFIT = "HostUnfit"
    """The Endpoint that gateway.sharedWith names cannot answer for this one, or this one answers for others itself; the message
    says why, and what to change."""
    REPLACED = "Replaced"
    """A request was dropped before it was carried out: a newer one came."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """The newest stored promotion of this Endpoint.

    Attributes:
        first: of its first champion, to which neither an experiment nor a request led.
        request: verb and value of the request that led to it, as `RecordPromotion` has it.
        previous: whom it took the place from, as that was when it became champion; None: nobody, or it is not known.
    """

    version: str
    sha256: str | None
    spec_sha256: str | None = None
    first: bool = False
    request: str | None = None
    previous: VersionStatusRef | None = None


@dataclass(frozen=True, slots=True)
class StartedExperiment:
    """An experiment as it was recorded at its start."""

    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What one gateway pod last said that it obeys, and what it knows of the arms (None: an older release).

    Attributes:
        published_at: of the document that it obeys; None: an older release.
        sha256: of the text of that document; None: an older release.
    """

    replica: str
    generation: int
    epoch: int | None
    arms: tuple[ArmHealth, ...] | None = None
    published_at: datetime | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """What lies in the ConfigMap of the routing document, beside `Seen.routing`, which is what the operator builds on.

    Attributes:
        holds: `Seen.routing` lies there, signed by the key in force; else it is to be published again.
        sha256: of the text of `Seen.routing`; None: not known.
        refusal: why what lies there is not the operator's; None: it is, or there is nothing.
        detail: more of that.
        writer: who wrote it, by the name that the writer chose; "": not known.
        version: resourceVersion of what lies there.
        immutable: it can be deleted and not changed.
    """

    holds: bool = True
    sha256: str | None = None
    refusal: Refusal | None = None
    detail: str = ""
    writer: str = ""
    version: str = ""
    immutable: bool = False


@dataclass(frozen=True, slots=True)
class ProbeCosts:
    """Questions to a version that no decision asked, and what they cost as far as it is known."""

    count: int
    cost_cny: Decimal | None


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Decisions with answers that differ, of the last 7 days: how many, of how many nothing was reported, and the newest."""

    decisions: int
    unreported: int
    newest: str


@dataclass(frozen=True, slots=True)
class EpochRow:
    """A stored weight of one block, and why it is what it is."""

    block: int
    epoch: int
    candidate_weight: Decimal
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class GatewayDeployment:
    """The gateway's Deployment where an autoscaler is to set its number of pods.

    Attributes:
        replicas: how many pods it wants.
        holds_replicas: whether the operator is the one owner of that field: it would fall to 1 if it were given up.
    """

    replicas: int
    holds_replicas: bool = False


@dataclass(frozen=True, slots=True)
class PodsAt:
    """Pods of one Endpoint that answer for the Endpoint in question.

    Attributes:
        ready: their names, of those that take traffic.
        complete: no pod of that Endpoint takes traffic and does not answer for the one in question.
        count: all that have not ended.
    """

    ready: frozenset[str] = frozenset()
    complete: bool = True
    count: int = 0


@dataclass(frozen=True, slots=True)
class Sharing:
    """What is seen where an Endpoint is answered by another's pods, is to be, or was.

    Attributes:
        host: the Endpoint that spec.gateway.sharedWith names.
        service: the Endpoint whose pods the Service sends to; None: there is no Service.
        pods: by the Endpoint whose pods they are.
        ports: those that other Endpoints of the namespace have in pods of others, with their uids.
    """

    host: Endpoint | None = None
    service: str | None = None
    pods: Mapping[str, PodsAt] = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about an Endpoint; None is: not there, or not known.

    Attributes:
        versions: every ModelVersion of the namespace by name.
        experiments: every ABExperiment that names this Endpoint.
        epochs: of the experiment that holds the Endpoint.
        orphans: recorded experiments without a verdict whose object is gone.
        in_position: versions whose decisions have open positions: follow-ups are theirs, also after they retired.
        used: requests of these verbs that are recorded, as `RecordPromotion` has them.
        deployment: with autoscaling, the gateway's Deployment.
        left_over: API version and kind of children that a setting asked for which is taken away.
        routing: the document to build on: the published one, or where that is not the operator's, the last one that was.
        document: what lies where gateways look for it.
        mounted: versions whose Secret every gateway pod has; None: there is no pod.
        prompts: own words of versions that may be routed to, or why they cannot be used.
        conflicts: decisions with two answers; None: there are none.
        sharing: where another Endpoint's pods answer, are to, or did.
        guests: other Endpoints that these pods are to answer for.
        probes: of each version that was asked to see whether it answers, in 30 days.
        held_back: what keeps gateway pods from running, as far as it is known.
        database_error: why SQL facts are missing; None: they are complete.
    """

    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    experiments: tuple[ABExperiment, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    orphans: tuple[StartedExperiment, ...] = ()
    in_position: frozenset[str] = frozenset()
    promotion: Promotion | None = None
    used: frozenset[str] = frozenset()
    replicas: tuple[ReplicaReport, ...] = ()
    ready_pods: frozenset[str] = frozenset()
    deployment: GatewayDeployment | None = None
    left_over: frozenset[tuple[str, str]] = frozenset()
    mounted: frozenset[str] | None = None
    routing: Routing | None = None
    document: Document = Document()
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    conflicts: Conflicts | None = None
    probes: Mapping[str, ProbeCosts] = field(default_factory=dict)
    held_back: Hindrance | None = None
    sharing: Sharing = Sharing()
    guests: tuple[Endpoint, ...] = ()
    database_error: str | None = None
    schema_missing: bool = False
    installation_taken: bool = False
