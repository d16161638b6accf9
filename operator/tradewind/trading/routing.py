"""What the operator publishes and the gateway obeys: arms, weights, epoch, limits. One JSON document per Endpoint."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, model_validator

from tradewind.schema.bounds import ARM_TIMEOUT, PROBE_INTERVAL
from tradewind.schema.rules import StrictModel
from tradewind.trading.decision import Limits
from tradewind.trading.external_prompt import PromptTemplate
from tradewind.trading.settings.labels import LabelThresholds
from tradewind.trading.settings.reports import ReportBounds

ROUTING_KEY = "routing.json"
SIGNATURE_KEY = "routing.sig"

LONGEST_VALIDITY = timedelta(hours=1)
"""From `published_at` to `expires_at` at most; the operator gives 30 s."""
CLOCK_SKEW = timedelta(minutes=5)
"""So far a gateway's clock may be behind the operator's."""
GENERATIONS_AHEAD = 10_000_000
"""A generation is the Unix time or the one before plus 1: a replay that publishes fast gets ahead of the time, but not so far."""


class Refusal(StrEnum):
    """Why a routing document is not obeyed."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    """Of another text, or for another Endpoint or namespace."""
    MALFORMED = "malformed"
    OTHER_ENDPOINT = "other_endpoint"
    OUT_OF_BOUNDS = "out_of_bounds"
    OLDER = "older"
    """It was published before the one that is obeyed."""
    IMMUTABLE = "immutable"
    """Only the operator asks: it could never be renewed."""


class Protocol(StrEnum):
    """How an arm is asked; each is a module of its own in gateway/protocols/."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    KSERVE = "kserve"
    VLLM = "vllm"

    @property
    def temperature(self) -> float | None:
        """What is sent where a version says nothing; None: nothing, since models that are asked this way refuse any."""
        return None if self is Protocol.ANTHROPIC else 0.0


OWN_PROTOCOL = Protocol.KSERVE
"""What our own predictors speak."""
OWN_PROTOCOLS = frozenset({OWN_PROTOCOL, Protocol.VLLM})
"""Of own models, whatever serves them; the others are for external APIs."""
EXTERNAL_PROTOCOLS = tuple(protocol.value for protocol in Protocol if protocol not in OWN_PROTOCOLS)


class TokenPrices(StrictModel):
    """What a million tokens cost, in a currency of which one unit is `cny_per_unit` CNY."""

    input: Annotated[Decimal, Field(ge=0)]
    cached_input: Annotated[Decimal, Field(ge=0)] | None = None
    cache_write: Annotated[Decimal, Field(ge=0)] | None = None
    output: Annotated[Decimal, Field(ge=0)]
    cny_per_unit: Annotated[Decimal, Field(gt=0)] = Decimal(1)


class ArmRefusal(StrictModel):
    """Why an arm is not asked whatever happens: the installation does not allow its host."""

    cause: str
    """An `ErrorCause`; a gateway that does not know the word refuses all the same."""
    message: str


class ArmTarget(StrictModel):
    """Where an arm is asked. `credential_file` is a path inside the gateway's pod; the secret itself is never here."""

    protocol: Protocol
    outside: bool = True
    """Whether what it is shown leaves the cluster. An operator that does not say so is taken at the stricter word."""
    base_url: str
    model: str
    credential_file: str | None = None
    networks: tuple[str, ...] = ()
    """Networks that an outside host may lie in beside the public addresses; what it resolves to is judged by them."""
    plain_http: bool = False
    """Whether the credential may go there without TLS."""
    refusal: ArmRefusal | None = None
    """The installation does not allow its host: it is not asked."""
    timeout_seconds: Annotated[float, Field(gt=0, le=ARM_TIMEOUT.high)] = 5.0
    max_retries: Annotated[int, Field(ge=0, le=5)] = 0
    retry_budget: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.2")
    """Questions asked again, as a share of the questions."""
    sha256: str | None = None
    spec_sha256: str | None = None
    """Hash of the version's spec: with another one, another version has its name."""
    price_per_call_cny: Decimal | None = None
    prices: TokenPrices | None = None
    symbol_aliases: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    temperature: float | None = 0.0
    response_format: Literal["json_object", "json_schema", "none"] = "json_object"
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    extra_body: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Sent as it is; it goes over what the protocol writes."""
    prompt: PromptTemplate | None = None
    """The team's own words; None: ours."""
    prompt_fault: str | None = None
    """Why there are no words to ask with: it is not asked."""
    probe_seconds: Annotated[float, Field(ge=PROBE_INTERVAL.low, le=PROBE_INTERVAL.high)] | None = None
    """How long nothing may be heard of it before it is probed; 0: only when it appears and after an error; None: never."""

    @property
    def digest(self) -> str:
        """Short name of all of this: another one is another arm to ask."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class BlockWeight(StrictModel):
    """The weight of one block of a replay: a published fact that never changes."""

    block: Annotated[int, Field(ge=0)]
    epoch: int
    candidate_weight: Annotated[Decimal, Field(ge=0, le=1)]


class ExperimentRoute(StrictModel):
    """The running experiment: who is compared, and with which probability the candidate is drawn."""

    uid: str
    name: str
    mode: Literal["Live", "Replay"]
    t0: AwareDatetime
    block_seconds: Annotated[int, Field(gt=0)]
    baseline: str
    candidate: str
    candidate_weight: Annotated[Decimal, Field(ge=0, le=1)]
    epoch: int
    blocks: tuple[BlockWeight, ...] = ()
    shadow: Literal["none", "candidate", "both"] = "none"
    """Who is asked beside the drawn arm: nobody, the candidate where the baseline was drawn, or whoever was not drawn."""
    shadow_share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal(1)


class LevelLimits(StrictModel):
    """Limits of one permission level."""

    max_leverage: Annotated[int, Field(ge=1)]
    max_size_usd: Annotated[Decimal, Field(gt=0)]
    max_stop_loss_pct: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    allow_no_stop: bool = False

    def as_limits(self) -> Limits:
        """The same as the decision schema's type."""
        cap = self.max_stop_loss_pct
        return Limits(
            max_leverage=self.max_leverage,
            max_size_usd=float(self.max_size_usd),
            max_stop_loss_pct=None if cap is None else float(cap),
            allow_no_stop=self.allow_no_stop,
        )


class RoutingLimits(StrictModel):
    """What may be answered: limits a permission level, and the symbols that may be asked about (None: any)."""

    permission_levels: Mapping[str, LevelLimits] = Field(default_factory=dict)
    symbols: tuple[str, ...] | None = None


class Routing(StrictModel):
    """The whole document. A gateway obeys the newest `generation` it has seen and reports it back."""

    version: Literal[1] = 1
    endpoint: str
    generation: int
    published_at: AwareDatetime
    expires_at: AwareDatetime
    clock: Literal["live", "replay"]
    champion: str
    fallback: str
    arms: Mapping[str, ArmTarget]
    experiment: ExperimentRoute | None = None
    limits: RoutingLimits = RoutingLimits()
    external_fields: tuple[str, ...] | None = None
    labels: LabelThresholds = LabelThresholds()
    max_hold_seconds: Annotated[int, Field(gt=0)] = 86_400
    on_database_outage: Literal["champion", "refuse"] = "champion"
    flips: Literal["draw", "refuse"] = "draw"
    retries: Literal["fresh", "strict"] = "fresh"
    reports: ReportBounds = ReportBounds()

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        named = {"champion": self.champion, "fallback": self.fallback}
        if self.experiment:
            named |= {
                "experiment.baseline": self.experiment.baseline,
                "experiment.candidate": self.experiment.candidate,
            }
        for field, name in named.items():
            if name not in self.arms:
                msg = f"{field} names {name!r}, which is not among the arms {sorted(self.arms)}"
                raise ValueError(msg)
        return self

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads a published document.

        Fields of a newer operator are ignored, at any depth: during an upgrade a gateway must go on obeying what it
        understands. What a gateway must not obey without understanding it gets another `version`.

        Raises:
            ValidationError: it is no such document.
        """
        return cls.model_validate_json(text, extra="ignore")

    def out_of_bounds(self, now: datetime) -> str | None:
        """What is not plausible of generation and times, whoever signed it; None: nothing."""
        if self.published_at > now + CLOCK_SKEW:
            return "publishedAt is in the future"
        if self.expires_at > self.published_at + LONGEST_VALIDITY:
            return f"expiresAt is more than {LONGEST_VALIDITY.total_seconds():.0f} s after publishedAt"
        if not is_plausible(self.generation, self.published_at):
            return "generation is ahead of the time"
        return None

    def is_older_than(self, other: Self) -> bool:
        """Whether `other` takes its place. A restored Endpoint may count anew: then the younger document is right all the same."""
        if self.generation == other.generation:
            return self.published_at < other.published_at
        return self.generation < other.generation and self.published_at <= other.published_at

    def to_json(self) -> str:
        """The text that goes into the ConfigMap."""
        return self.model_dump_json(by_alias=True)


def is_plausible(generation: int, at: datetime) -> bool:
    """Whether an operator can have counted so far at that time."""
    return 0 <= generation <= at.timestamp() + GENERATIONS_AHEAD


def generation_after(last: int, now: datetime) -> int:
    """The next one. Wall time keeps generations rising where the last one is not known."""
    return max(last + 1, int(now.timestamp()))


def text_sha256(text: str) -> str:
    """How replicas name the document that they obey."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def live_weight(routing: Routing, now: datetime) -> Decimal:
    """The candidate's weight at `now` in live mode: 0 without an experiment and once the document has expired."""
    if routing.experiment is None or now >= routing.expires_at:
        return Decimal(0)
    return routing.experiment.candidate_weight


def replay_block(experiment: ExperimentRoute, as_of: datetime) -> tuple[int, BlockWeight | None]:
    """The block that `as_of` lies in (negative: before the experiment) and its published weight, if it has one."""
    block = int((as_of - experiment.t0).total_seconds() // experiment.block_seconds)
    return block, next((b for b in experiment.blocks if b.block == block), None)
