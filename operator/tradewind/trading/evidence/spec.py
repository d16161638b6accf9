"""What an experiment asks of its evidence: levels, margins, durations, traffic and guardrails.

Belongs here: the frozen specification, its defaults, its validation and how to read it from an ABExperiment's spec.
Does not belong here: any look at data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from tradewind.schema.durations import parse_duration

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


class Metric(StrEnum):
    """A metric that is tested; the primary one decides, the other must not be worse."""

    SHARPE = "sharpe"
    WIN_RATE = "win_rate"


class PolicyKind(StrEnum):
    """How the candidate's weight moves."""

    GATED = "gated"
    FIXED = "fixed"
    SCHEDULE = "schedule"
    THOMPSON_CAPPED = "thompsonCapped"


@dataclass(frozen=True)
class ScheduleStep:
    """A weight that holds for a duration; the last step of a schedule holds for ever."""

    duration: timedelta
    weight: float


@dataclass(frozen=True)
class TrafficPolicy:
    """How the candidate's weight moves.

    Attributes:
        kind: gated climbs and descends `levels`; fixed holds `weight`; schedule follows `steps`; thompsonCapped
            follows the evidence between 0.10 and 0.50.
        levels: rising weights of the gated ladder.
        weight: of the fixed policy.
        steps: of the schedule.
    """

    kind: PolicyKind = PolicyKind.GATED
    levels: tuple[float, ...] = (0.10, 0.25, 0.50)
    weight: float = 0.50
    steps: tuple[ScheduleStep, ...] = ()

    def __post_init__(self) -> None:
        for weight in (*self.levels, self.weight, *(step.weight for step in self.steps)):
            _open_unit(weight, "traffic weight", "a weight of 0 or 1 gives no evidence")
        if not self.levels or list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"traffic levels: {self.levels} must rise; give each level once, the smallest first")
        if self.kind is PolicyKind.SCHEDULE and not self.steps:
            raise ValueError("traffic.steps: empty; give a schedule at least one step of weight and duration")
        for step in self.steps:
            if step.duration <= timedelta(0):
                raise ValueError("traffic.steps duration: 0; give each step a duration above 0s")


@dataclass(frozen=True)
class Guardrails:
    """What trips at once.

    Attributes:
        fast_harm: watch for a candidate that loses far more often.
        fast_harm_margin: fall of the win rate that is still no harm, as a probability.
        error_rate: share of failed candidate requests that is accepted (p0); None: not watched.
        slow_rate: share of candidate requests over the latency objective that is accepted (p0); None: not watched.
        risk_budget_usd: loss or drawdown of the candidate that ends the experiment; None: the default budget, from
            the baseline's trades before t0, where there are enough.
        exposure_ratio: accepted range of mean filled notional, candidate over baseline.
    """

    fast_harm: bool = True
    fast_harm_margin: float = 0.10
    error_rate: float | None = 0.02
    slow_rate: float | None = 0.05
    risk_budget_usd: float | None = None
    exposure_ratio: tuple[float, float] = (0.5, 2.0)

    def __post_init__(self) -> None:
        _open_unit(self.fast_harm_margin, "guardrails.fastHarm margin", "it is a difference of probabilities")
        for name, rate in (("errorRate", self.error_rate), ("latencyShare", self.slow_rate)):
            if rate is not None:
                _open_unit(rate, f"guardrails.{name}", "it is the share of requests that is accepted")
        if self.risk_budget_usd is not None and not 0.0 < self.risk_budget_usd < math.inf:
            raise ValueError(f"guardrails.riskBudgetUSD: {self.risk_budget_usd} is no budget; give an amount above 0")
        low, high = self.exposure_ratio
        if not 0.0 <= low < high:
            raise ValueError(
                f"guardrails.exposureRatio: {self.exposure_ratio} is no range; give [low, high], low < high"
            )


@dataclass(frozen=True)
class EvidenceSpec:
    """All that a verdict depends on besides the rows, t0 and now.

    Attributes:
        primary: the metric that must be better.
        alpha: probability of a false promotion that is accepted, over all looks.
        alpha_rollback: the same of a false statistical rollback.
        margin_win_rate: fall of the win rate that still counts as not worse (primary sharpe), as a probability.
        margin_sharpe: fall of the per-decision Sharpe that still counts as not worse (primary win_rate).
        min_duration: earliest promotion after t0; delays promotion only.
        max_duration: after it an undecided experiment is inconclusive.
        min_trades_per_arm: rows that each arm needs before any statistical decision.
        min_blocks: blocks needed before any statistical decision.
        max_hold: longest time that a position may stay open; open rows older than that are settled by force.
        traffic: how the weight moves.
        guardrails: what trips at once.
        retest: number of earlier tests of the same pair; this one runs at alpha/2^retest.
        candidates: number of candidates tested at once; each runs at alpha/candidates.
    """

    primary: Metric = Metric.SHARPE
    alpha: float = 0.05
    alpha_rollback: float = 0.10
    margin_win_rate: float = 0.05
    margin_sharpe: float = 0.05
    min_duration: timedelta = 14 * _DAY
    max_duration: timedelta = 84 * _DAY
    min_trades_per_arm: int = 30
    min_blocks: int = 7
    max_hold: timedelta = _DAY
    traffic: TrafficPolicy = field(default_factory=TrafficPolicy)
    guardrails: Guardrails = field(default_factory=Guardrails)
    retest: int = 0
    candidates: int = 1

    def __post_init__(self) -> None:
        _open_unit(self.alpha, "evidence.alpha", "it is a probability of error")
        _open_unit(self.alpha_rollback, "evidence.alphaRollback", "it is a probability of error")
        for name, margin in (("winRate", self.margin_win_rate), ("sharpe", self.margin_sharpe)):
            if not 0.0 <= margin < math.inf:
                raise ValueError(f"evidence.nonInferiority.{name}: {margin} is no margin; give a number from 0 up")
        if self.max_hold <= timedelta(0):
            raise ValueError("maxHold: 0; give the longest time that a position may stay open, such as 24h")
        if self.max_duration < self.block_length:
            raise ValueError(
                f"evidence.maxDuration: shorter than one block of {self.block_length.days}d; make it longer"
            )
        if not timedelta(0) <= self.min_duration <= self.max_duration:
            raise ValueError("evidence.minDuration: longer than evidence.maxDuration; make it shorter")
        for name, number, least in (
            ("evidence.minTradesPerArm", self.min_trades_per_arm, 1),
            ("evidence min_blocks", self.min_blocks, 1),
            ("retest", self.retest, 0),
            ("candidates", self.candidates, 1),
        ):
            if number < least:
                raise ValueError(f"{name}: {number}; give a whole number from {least} up")

    def effective_alpha(self, retest: int | None = None, candidates: int | None = None) -> float:
        """Level of this test: alpha / 2^retest / candidates.

        Args:
            retest: number of earlier tests of the same pair (0: this is the first); None: as specified.
            candidates: number of candidates tested at once; None: as specified.
        """
        tests = self.retest if retest is None else retest
        arms = self.candidates if candidates is None else candidates
        return float(self.alpha / 2.0**tests / arms)

    @property
    def block_length(self) -> timedelta:
        """L: whole days, at least one and at least max_hold."""
        return max(1, -(-self.max_hold // _DAY)) * _DAY

    @property
    def block_us(self) -> int:
        """L in microseconds."""
        return self.block_length // _MICROSECOND

    @property
    def max_hold_us(self) -> int:
        """max_hold in microseconds."""
        return self.max_hold // _MICROSECOND

    @property
    def max_blocks(self) -> int:
        """Number of looks: whole blocks within max_duration."""
        return self.max_duration // self.block_length


def evidence_spec_from_mapping(
    spec: Mapping[str, object],
    *,
    max_hold: timedelta | None = None,
    retest: int = 0,
    candidates: int = 1,
) -> EvidenceSpec:
    """EvidenceSpec of an ABExperiment's `spec`, as YAML or JSON gives it; what is absent has its default.

    Reads `evidence`, `traffic`, `guardrails` and `mode`, and ignores the rest of the spec. Latency is not watched in a
    replay: the data's clock knows nothing of the machine that replays it. Decimals are strings such as "0.05"
    (numbers are accepted too), durations texts such as "14d".

    Args:
        spec: the `spec` of an ABExperiment.
        max_hold: of the Endpoint; None: `maxHold` of the mapping, or 24h.
        retest: number of earlier tests of the same pair.
        candidates: number of candidates tested at once.

    Raises:
        ValueError: a field is unknown, has another type or is out of range; the message names it and the remedy.
    """
    evidence = _section(
        spec,
        "evidence",
        {"primary", "alpha", "alphaRollback", "nonInferiority", "minDuration", "maxDuration", "minTradesPerArm"},
    )
    margins = _section(evidence, "nonInferiority", {"winRate", "sharpe"}, "evidence.")
    rails = _guardrails(
        _section(
            spec,
            "guardrails",
            {"fastHarm", "errorRate", "latencyObjective", "latencyShare", "riskBudgetUSD", "exposureRatio"},
        )
    )
    default = EvidenceSpec()
    return EvidenceSpec(
        primary=_primary(evidence.get("primary", default.primary)),
        alpha=_decimal(evidence, "alpha", "evidence.", default.alpha),
        alpha_rollback=_decimal(evidence, "alphaRollback", "evidence.", default.alpha_rollback),
        margin_win_rate=_decimal(margins, "winRate", "evidence.nonInferiority.", default.margin_win_rate),
        margin_sharpe=_decimal(margins, "sharpe", "evidence.nonInferiority.", default.margin_sharpe),
        min_duration=_duration(evidence, "minDuration", "evidence.", default.min_duration),
        max_duration=_duration(evidence, "maxDuration", "evidence.", default.max_duration),
        min_trades_per_arm=_integer(evidence, "minTradesPerArm", "evidence.", default.min_trades_per_arm),
        max_hold=max_hold if max_hold is not None else _duration(spec, "maxHold", "", default.max_hold),
        traffic=_traffic(_section(spec, "traffic", {"policy", "weight", "steps", "mirror"})),
        guardrails=replace(rails, slow_rate=None) if spec.get("mode") == "Replay" else rails,
        retest=retest,
        candidates=candidates,
    )


def _traffic(traffic: Mapping[str, object]) -> TrafficPolicy:
    """Policy of the `traffic` section; `steps` are the levels of gated or the steps of schedule."""
    default = TrafficPolicy()
    given = traffic.get("policy")
    try:
        kind = default.kind if given is None else PolicyKind(str(given))
    except ValueError:
        raise ValueError(f"traffic.policy: {given!r} is unknown; use one of {', '.join(PolicyKind)}") from None
    weight = _decimal(traffic, "weight", "traffic.", default.weight)
    if traffic.get("weight") is not None and kind is not PolicyKind.FIXED:
        raise ValueError(f"traffic.weight: goes with the policy fixed alone; leave it out with {kind}")
    steps = traffic.get("steps")
    if steps is None or steps == []:
        return TrafficPolicy(kind=kind, weight=weight)
    if kind not in {PolicyKind.GATED, PolicyKind.SCHEDULE}:
        raise ValueError(f"traffic.steps: go with the policies gated and schedule; leave them out with {kind}")
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not all(isinstance(s, Mapping) for s in steps):
        raise ValueError("traffic.steps: not a list of steps; give a list of {weight, duration}")
    weights = tuple(_decimal(step, "weight", "traffic.steps.", None) for step in steps)
    if kind is PolicyKind.GATED:
        return TrafficPolicy(kind=kind, levels=weights)
    durations = [_duration(step, "duration", "traffic.steps.", None) for step in steps]
    pairs = zip(durations, weights, strict=True)
    return TrafficPolicy(kind=kind, steps=tuple(ScheduleStep(duration, step) for duration, step in pairs))


def _guardrails(rails: Mapping[str, object]) -> Guardrails:
    default = Guardrails()
    ratio = rails.get("exposureRatio")
    bounds = default.exposure_ratio
    if ratio is not None:
        if not isinstance(ratio, Sequence) or isinstance(ratio, str) or len(ratio) != 2:
            raise ValueError('guardrails.exposureRatio: not a range; give [low, high], such as ["0.5", "2"]')
        bounds = (_number(ratio[0], "guardrails.exposureRatio"), _number(ratio[1], "guardrails.exposureRatio"))
    fast_harm = _section(rails, "fastHarm", {"enabled", "margin"}, "guardrails.")
    enabled = fast_harm.get("enabled", True)
    if not isinstance(enabled, bool):
        raise ValueError(f"guardrails.fastHarm.enabled: {enabled!r} is not true or false")  # noqa: TRY004  as above
    budget = rails.get("riskBudgetUSD")
    return Guardrails(
        fast_harm=enabled,
        fast_harm_margin=_decimal(fast_harm, "margin", "guardrails.fastHarm.", default.fast_harm_margin),
        error_rate=_decimal(rails, "errorRate", "guardrails.", default.error_rate),
        slow_rate=_decimal(rails, "latencyShare", "guardrails.", default.slow_rate),
        risk_budget_usd=None if budget is None else _number(budget, "guardrails.riskBudgetUSD"),
        exposure_ratio=bounds,
    )


def _section(parent: Mapping[str, object], name: str, known: set[str], prefix: str = "") -> Mapping[str, object]:
    section = parent.get(name)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ValueError(f"{prefix}{name}: not a mapping; give its fields indented below it")  # noqa: TRY004  bad input is a ValueError
    unknown = sorted(str(key) for key in section if key not in known)
    if unknown:
        raise ValueError(f"{prefix}{name}.{unknown[0]}: unknown field; use {', '.join(sorted(known))}")
    return section


def _primary(value: object) -> Metric:
    try:
        return Metric("win_rate" if value == "winRate" else str(value))
    except ValueError:
        raise ValueError(f"evidence.primary: {value!r} is unknown; use sharpe or win_rate") from None


def _decimal(section: Mapping[str, object], name: str, prefix: str, default: float | None) -> float:
    value = section.get(name)
    value = default if value is None else value
    if value is None:
        raise ValueError(f'{prefix}{name}: missing; give a decimal such as "0.05"')
    return _number(value, prefix + name)


def _number(value: object, field_name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'{field_name}: {value!r} is not a decimal; write it as a string such as "0.05"')
    return number


def _integer(section: Mapping[str, object], name: str, prefix: str, default: int) -> int:
    number = _decimal(section, name, prefix, default)
    if number != int(number):
        raise ValueError(f"{prefix}{name}: {number} is not a whole number")
    return int(number)


def _duration(section: Mapping[str, object], name: str, prefix: str, default: timedelta | None) -> timedelta:
    value = section.get(name)
    if value is None:
        if default is None:
            raise ValueError(f"{prefix}{name}: missing; give a duration such as 7d")
        return default
    return parse_duration(value, prefix + name)  # type: ignore[arg-type]


def _open_unit(number: float, name: str, why: str) -> None:
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name}: {number} is not between 0 and 1 ({why})")
