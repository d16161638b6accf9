"""Endpoint: the logical name that a trading system calls, with its gateway, limits and fallback.

Belongs here: the fields of the kind and the rules across them. Does not belong here: what the operator does with them.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.api.common import (
    CommonStatus,
    Resource,
    ResourceRequirements,
    SecretKeyRef,
    Toleration,
    VersionStatusRef,
    WeightStatus,
)
from tradewind.api.database import DatabaseRef
from tradewind.api.hosting import (
    DISRUPTION_BUDGET,
    HOSTED_RULES,
    REPLICAS,
    RESOURCES,
    TOPOLOGY_SPREAD,
    GatewayHostingStatus,
)
from tradewind.api.placement import (
    Affinity,
    Autoscaling,
    PodDisruptionBudget,
    PriorityClassName,
    TopologySpread,
)
from tradewind.schema.bounds import (
    BREAKER_FAILURES,
    BREAKER_OPEN,
    DATABASE_TIMEOUT,
    DECISION_TIMEOUT,
    RETENTION_KEPT,
    Within,
)
from tradewind.schema.checked import Checked
from tradewind.schema.names import Symbol
from tradewind.schema.rules import Immutable, Rule, StatusModel, StrictModel
from tradewind.schema.scalars import (
    Count,
    DecimalText,
    Duration,
    Identifier,
    Latency,
    Name,
    OpenFraction,
    PositiveDecimal,
    Text64,
    Text128,
    Text256,
    Text1024,
    Timestamp,
    as_timedelta,
    cel_seconds,
)
from tradewind.trading.settings.labels import LabelThresholds
from tradewind.trading.settings.paper import PaperSettings
from tradewind.trading.settings.reports import ReportBounds


class Clock(StrEnum):
    """Whose time decisions are made in."""

    LIVE = "live"
    REPLAY = "replay"


class EndpointPhase(StrEnum):
    """For display only."""

    PENDING = "Pending"
    READY = "Ready"
    DEGRADED = "Degraded"
    INVALID = "Invalid"


class GatewayTimeouts(StrictModel):
    """How long the gateway waits. Each arm's own timeout stands in its ModelVersion."""

    decision: Annotated[Latency, Within(DECISION_TIMEOUT, latency=True)] = "20s"
    """A whole decision, with the fallback's answer."""
    database: Annotated[Latency, Within(DATABASE_TIMEOUT, latency=True)] = "2s"
    """One statement of the database."""


class GatewayBreaker(StrictModel):
    """When an arm is no longer asked for a while. It changes who answers, never which arm is drawn."""

    failures: Annotated[int, Field(ge=int(BREAKER_FAILURES.low), le=int(BREAKER_FAILURES.high))] = 5
    """Failures in a row that open the breaker."""
    open_for: Annotated[Duration, Within(BREAKER_OPEN, latency=False)] = "30s"
    """How long it stays open before one request tries again."""


class GatewayAuth(StrictModel):
    """Who may call the gateway: holders of a bearer token, or everyone who reaches it."""

    secret_ref: SecretKeyRef | None = None
    """Secret key with the bearer tokens that callers send: one a line, up to 16, each of which is valid."""
    disabled: bool = False
    """Whether callers need no token. For trials only; the installation must allow it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretRef) != (has(self.disabled) && self.disabled)",
            lambda s: (s.secret_ref is not None) != s.disabled,
            "exactly one of auth.secretRef and auth.disabled: true; "
            "name a Secret with the token, or disable authentication",
        ),
    )


class EnvVariable(StrictModel):
    """A variable of the gateway's environment, such as a proxy."""

    name: Annotated[
        str,
        Checked(
            "[A-Za-z_][A-Za-z0-9_]*",
            "must be the name of a variable, such as HTTPS_PROXY, that does not hold TRADEWIND_, which the operator sets",
            128,
            forbid=("TRADEWIND_",),
        ),
    ]
    """Name, such as HTTPS_PROXY, NO_PROXY or SSL_CERT_FILE."""
    value: Text1024 | None = None
    """Value; what is secret belongs into secretRef."""
    secret_ref: SecretKeyRef | None = None
    """Secret key with the value, such as a proxy with a password."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.value) != has(self.secretRef)",
            lambda s: (s.value is None) != (s.secret_ref is None),
            "exactly one of value and secretRef",
        ),
    )


class GatewayOpenAI(StrictModel):
    """A second door to the same decisions, for bots that are written for an API of OpenAI's protocol."""

    enabled: bool = False
    """Whether the gateway also answers POST /v1/chat/completions, as model `tradewind/<endpoint>`, and GET /v1/models."""


class GatewaySpool(StrictModel):
    """Where decisions wait that were given while the database was down."""

    claim_name: Name | None = None
    """PersistentVolumeClaim of this namespace, with access mode ReadWriteMany, that keeps the spools of all pods: what a pod leaves
    that is deleted in an outage, another one writes. Absent: a disk of the pod's own, which goes with it."""


class Gateway(StrictModel):
    """The Deployment and Service that answer decisions."""

    shared_with: Name | None = None
    """Another Endpoint of the namespace whose gateway pods answer for this one, too; absent: pods of its own. The fields of pods
    (replicas, autoscaling, resources, spool, env, nodeSelector, tolerations, affinity, topologySpread, priorityClassName,
    podDisruptionBudget) are then those of the other Endpoint."""
    replicas: Annotated[int, Field(ge=1, le=50)] = REPLICAS
    """Pods; two or more in production. Without meaning where autoscaling is set."""
    autoscaling: Autoscaling | None = None
    """Pods by their load; absent: `replicas`."""
    resources: ResourceRequirements = RESOURCES
    """Requests and limits of a gateway pod."""
    timeouts: GatewayTimeouts = GatewayTimeouts()
    """How long the gateway waits."""
    breaker: GatewayBreaker = GatewayBreaker()
    """When an arm is no longer asked for a while."""
    auth: GatewayAuth = GatewayAuth(secret_ref=SecretKeyRef(name="tradewind-gateway", key="token"))
    """Who may call the gateway; by default holders of the token in Secret tradewind-gateway, key token."""
    openai: GatewayOpenAI = GatewayOpenAI()
    """The OpenAI door: chat completions instead of /v1/decisions, for bots that are written for such an API."""
    spool: GatewaySpool = GatewaySpool()
    """Where decisions wait that were given while the database was down."""
    retention: Annotated[Duration, Within(RETENTION_KEPT, latency=False)] = "730d"
    """How long requests and answers are kept; verdicts, epochs and promotions are kept for ever. Who changes it needs the right
    to update endpoints/retention."""
    env: Annotated[
        tuple[EnvVariable, ...],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Variables of the gateway's pods: proxies to external APIs and their exceptions (NO_PROXY takes names, addresses and networks)."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=dict
    )
    """Labels of the nodes that gateway pods run on."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that gateway pods tolerate."""
    affinity: Affinity | None = None
    """Nodes and neighbours of gateway pods, as Kubernetes writes it."""
    topology_spread: TopologySpread = TOPOLOGY_SPREAD
    """How evenly gateway pods are spread over zones and nodes."""
    priority_class_name: PriorityClassName | None = None
    """PriorityClass of the gateway pods."""
    pod_disruption_budget: PodDisruptionBudget = DISRUPTION_BUDGET
    """How many gateway pods a drain of nodes may take at a time, where two or more are wanted."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.autoscaling) || !has(self.resources) || "
            "(has(self.resources.requests) && 'cpu' in self.resources.requests) || "
            "(has(self.resources.limits) && 'cpu' in self.resources.limits)",
            lambda s: s.autoscaling is None or "cpu" in {*s.resources.requests, *s.resources.limits},
            "autoscaling goes by the share of the requested CPU: set gateway.resources.requests.cpu, such as 500m",
            "resources",
        ),
        Rule(
            "!has(self.env) || self.env.all(x, self.env.exists_one(y, y.name == x.name))",
            lambda s: len({each.name for each in s.env}) == len(s.env),
            "env names a variable twice",
            "env",
        ),
        *HOSTED_RULES,
    )


class PermissionLevel(StrictModel):
    """What an account of this level may do at most."""

    max_leverage: Annotated[int, Field(ge=1, le=1000)]
    """Largest leverage of a decision."""
    max_size_usd: PositiveDecimal
    """Largest `size_usd` of a decision."""
    max_stop_loss_pct: OpenFraction | None = None
    """Widest stop of a decision to open, as a fraction of the entry price. Absent: any."""
    allow_no_stop: bool = False
    """Whether a decision to open may have no stop (`stop_loss_pct` 0). Nothing bounds its loss then but liquidation."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxStopLossPct) || !has(self.allowNoStop) || !self.allowNoStop",
            lambda s: s.max_stop_loss_pct is None or not s.allow_no_stop,
            "maxStopLossPct asks for a stop and allowNoStop for none; leave one of them out",
            "allowNoStop",
        ),
    )


class EndpointLimits(StrictModel):
    """Limits that every answer must keep; an answer over a limit counts as an error of its arm, nothing is clamped."""

    permission_levels: Annotated[dict[str, PermissionLevel], Field(max_length=16)] = Field(default_factory=dict)
    """Limits by `account_state.permission_level`."""
    symbols: (
        Annotated[
            tuple[Symbol, ...],
            Field(min_length=1, max_length=256, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Symbols that may be asked about; absent: any."""


def _cel_length(parent: str, name: str, default: str) -> str:
    """CEL of the seconds in a field, or in its default where it is not written."""
    return f"(has({parent}.{name}) ? {cel_seconds(f'{parent}.{name}')} : {int(as_timedelta(default).total_seconds())})"


_CEL_PAPER_ENDS = f"{_cel_length('self.paper', 'horizon', '8h')} + {_cel_length('self.paper', 'maxGap', '2h')}"


class EndpointCosts(StrictModel):
    """Prices that turn answers into USD, for experiments with evidence.netOfCost and for reports."""

    server_usd_per_hour: PositiveDecimal | None = None
    """Price of the server of an owned version in USD per hour; its answers cost that, divided by decisions per hour."""
    cny_per_usd: PositiveDecimal | None = None
    """Exchange rate for pricePerCallCNY of external versions, such as '7.1'."""


class EndpointSpec(StrictModel):
    """What the user wants of an Endpoint."""

    fallback: Name
    """ModelVersion that answers when the drawn arm cannot, and the first champion."""
    allow_auto_promote: bool = False
    """Whether experiments may promote without a person, where their onPromote.approval is auto; else each promotion waits for
    the verb approve. Who sets it needs the right to update endpoints/promote."""
    gateway: Gateway = Gateway()
    """The Deployment and Service that answer decisions."""
    database: DatabaseRef = DatabaseRef()
    """Where decisions are stored."""
    max_hold: Duration = "24h"
    """Longest time that a position stays open; an older open trade is settled by force in the evidence. A change concerns
    experiments that start later."""
    limits: EndpointLimits = EndpointLimits()
    """Limits that every answer must keep."""
    external_fields: (
        Annotated[tuple[Identifier, ...], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})]
        | None
    ) = None
    """Fields of `account_state` that may leave for an external API; absent: all of them, empty: none."""
    on_database_outage: Literal["champion", "refuse"] = "champion"
    """What happens while the database is down: the champion answers (no evidence), or requests are refused."""
    flips: Literal["draw", "refuse"] = "draw"
    """What an opening answer inside an open position is: the end of that position and a draw of its own, or an error of the
    arm. Opening in the position's direction is no flip where the request says that the position is open."""
    retries: Literal["fresh", "strict"] = "fresh"
    """Whether a repetition of a decision_id with fresh `market_data` and `account_state` gets the stored answer while the
    decision is leased (`timeouts.decision` and 5 s), or is refused."""
    reports: ReportBounds = ReportBounds()
    """What executions and outcomes may say at most; what lies beyond is refused and kept."""
    paper: PaperSettings | None = None
    """How answers are settled on paper for experiments with shadows; absent: only as reported. A change concerns experiments
    that start later."""
    clock: Clock = Clock.LIVE
    """live: decisions are made now. replay: every request carries `as_of`, the time of recorded data."""
    labels: LabelThresholds = LabelThresholds()
    """Bounds of the labels of closed trades."""
    costs: EndpointCosts = EndpointCosts()
    """What answers cost. A change concerns experiments that start later."""
    reference_notional_usd: PositiveDecimal | None = None
    """What the price of an answer is compared with where the baseline has fewer than 30 trades before the start."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!has(self.maxHold) || {cel_seconds('self.maxHold')} > 0",
            lambda s: as_timedelta(s.max_hold).total_seconds() > 0,
            "maxHold must be above 0, such as 24h",
            "maxHold",
        ),
        Rule(
            f"!has(self.paper) || {_CEL_PAPER_ENDS} <= {_cel_length('self', 'maxHold', '24h')}",
            lambda s: (
                s.paper is None
                or as_timedelta(s.paper.horizon) + as_timedelta(s.paper.max_gap) <= as_timedelta(s.max_hold)
            ),
            "paper.horizon and paper.maxGap together must not exceed maxHold: a paper that is known later never counts; "
            "shorten them or raise maxHold",
            "paper",
        ),
    )
    immutable: ClassVar[Immutable | None] = Immutable("create another Endpoint", only=frozenset({"clock"}))


class ActiveExperiment(StatusModel):
    """The ABExperiment that holds the Endpoint."""

    name: Name
    """Name of the ABExperiment."""
    uid: Text64
    """UID of the ABExperiment."""
    t0: Timestamp | None = None
    """Start of its first block."""


class GatewayPodStatus(StatusModel):
    """What a gateway pod said of itself in the last minute."""

    name: Text128
    """Name of the pod."""
    generation: Count
    """Generation of the routing document that it obeys."""


class GatewayStatus(StatusModel):
    """The gateway as the operator sees it."""

    replicas: Count | None = None
    """Pods that are wanted."""
    ready_replicas: Count | None = None
    """Pods that are ready."""
    reported_epoch: Count | None = None
    """Oldest epoch that a ready pod obeys."""
    generation: Count | None = None
    """Generation of the published routing document."""
    pods: Annotated[tuple[GatewayPodStatus, ...], Field(max_length=64)] | None = None
    """Pods that said in the last minute what they obey, ready or not."""
    hosting: GatewayHostingStatus | None = None
    """Where another Endpoint's pods answer, or are to; absent: pods of its own."""
    guests: Annotated[tuple[Name, ...], Field(max_length=63)] | None = None
    """Other Endpoints for which the pods of this one answer, too."""


class RoutingTamperStatus(StatusModel):
    """The newest document that lay in the place of the routing document and was not the operator's. It was not obeyed."""

    time: Timestamp
    """When it was found."""
    message: Text1024
    """What it was, and who wrote it, by the name that the writer chose."""
    count: Count
    """How many were found so far."""
    resource_version: Text64
    """Of the ConfigMap as it was found."""


class EndpointArmStatus(StatusModel):
    """Whether an arm answers, as the gateway pods found by asking it."""

    version: Name
    """Name of the ModelVersion."""
    uid: Text64
    """UID of the ModelVersion."""
    healthy: bool | None = None
    """Whether its newest question was answered; absent: it was not asked yet."""
    reason: Text64
    """Why, as a fixed word."""
    message: Text1024 = ""
    """What it says instead of an answer, and what to do about it."""
    since: Timestamp | None = None
    """Since when."""
    probes: Count | None = None
    """Questions of the last 30 days that no decision asked."""
    probe_cost_cny: DecimalText | None = None
    """What they cost in CNY; absent: no price is known."""


class ByHandStatus(StatusModel):
    """A change of the champion that was asked for and is being carried out."""

    verb: Literal["promote", "rollback"]
    """What was asked for."""
    request: Text128
    """Value of the annotation."""
    version: VersionStatusRef
    """Who is to be champion, as it was when the request was taken."""
    by: Text128
    """Who asked."""
    reason: Text1024 = ""
    """Why, in the words of who asked."""
    time: Timestamp
    """When the request was taken."""


class ChampionHistoryEntry(StatusModel):
    """A change of the champion by hand, or one that was refused."""

    time: Timestamp
    """When."""
    request: Text256
    """What was asked for, `<verb>=<value of the annotation>`."""
    reason: Text128
    """What came of it, as a fixed word."""
    message: Text1024 = ""
    """Who asked for what, why, and what came of it."""
    verb: Text64 | None = None
    """Verb that was asked for."""
    by: Text128 | None = None
    """Who asked."""
    result: Literal["done", "refused"] | None = None
    """What came of it; a request that a newer one replaced is refused."""


class EndpointStatus(CommonStatus):
    """What the operator sees of an Endpoint."""

    phase: EndpointPhase | None = None
    """For display only; the condition Ready decides."""
    url: Text256 | None = None
    """Where the trading system sends its requests."""
    champion_ref: VersionStatusRef | None = None
    """The ModelVersion that answers outside experiments."""
    fallback_ref: VersionStatusRef | None = None
    """The ModelVersion that spec.fallback names, as it was when it was named."""
    previous_champion_ref: VersionStatusRef | None = None
    """The champion before; `rollback` goes back to it."""
    by_hand: ByHandStatus | None = None
    """The request of `promote` or `rollback` that is being carried out."""
    history: Annotated[tuple[ChampionHistoryEntry, ...], Field(max_length=20)] | None = None
    """What was asked for by hand and what came of it, the newest last."""
    active_experiment: ActiveExperiment | None = None
    """The ABExperiment that holds the Endpoint; there is at most one."""
    epoch: Count | None = None
    """Number of the published weight set, monotone."""
    weights: WeightStatus | None = None
    """Share of the candidate."""
    arms: Annotated[tuple[EndpointArmStatus, ...], Field(max_length=32)] | None = None
    """Whether the arms answer."""
    routing_tampered: RoutingTamperStatus | None = None
    """The newest forged routing document that was found; the condition RoutingIntact shows it for ten minutes."""
    alpha_spent12_months: DecimalText | None = None
    """Sum of alpha of the experiments of the last 12 months, the chance of at least one false promotion at most."""
    gateway: GatewayStatus | None = None
    """The gateway as the operator sees it."""
    message: Text1024 | None = None
    """What is missing, for people."""


class Endpoint(Resource):
    """The logical name that a trading system calls for decisions, such as `trader`."""

    kind: Literal["Endpoint"] = "Endpoint"
    spec: EndpointSpec
    status: EndpointStatus = EndpointStatus()
