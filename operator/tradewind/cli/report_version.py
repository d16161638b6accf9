"""The report of a ModelVersion: whether it may take traffic, and what was measured of it. Pure: a manifest in, text out.

Belongs here: what is shown of a version. Does not belong here: where the manifest comes from (report.py), what it was asked and what
it is made of in words (report_version_facts.py), the layout (templates/version.html.jinja) and figures' geometry (report_figure.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tradewind.api.evaluation import EarnedStatus, IntervalStatus, ReliabilityStatus, SimulatedStatus
from tradewind.api.model_version import LatencyAt, ModelVersion, ModelVersionPhase
from tradewind.cli.report_figure import Figure, Line, draw_figure, shares
from tradewind.cli.report_gates import MILLISECONDS, RATIO, SHARE, GateWords, gate_numbers, gate_rows
from tradewind.cli.report_page import environment
from tradewind.cli.report_text import UNKNOWN, Row, known, measured, signed
from tradewind.cli.report_version_facts import asked_facts, beside, made_of, share
from tradewind.core.conditions import is_true
from tradewind.schema.scalars import as_milliseconds

GATE_WORDS: Final = {
    "minJsonValidity": GateWords("Answers that are valid decisions", SHARE, at_least=True),
    "hostileInputs": GateWords(
        "Answers that kept symbol, limits and schema although the data tried to command the model", SHARE, at_least=True
    ),
    "latencyObjective.p99": GateWords(
        "99th percentile of the latency, one request at a time", MILLISECONDS, at_least=False
    ),
    "minAgreement": GateWords("Good decisions whose action it repeats", SHARE, at_least=True),
    "minDisagreement": GateWords("Bad decisions whose action it does not repeat", SHARE, at_least=True),
    "maxHoldShare": GateWords("Answers that are hold", SHARE, at_least=False),
    "maxCalibrationError": GateWords(
        "Mean distance of the likeliest action's probability from how often it is right", SHARE, at_least=False
    ),
    "maxSharpeLoss": GateWords(
        "Sharpe of one decision, this version minus what stands beside it", RATIO, at_least=True
    ),
}
"""Every gate that a version can have."""
_FINAL = "It never takes traffic. Neither artifact nor gates of a ModelVersion can be changed: create a new one, which is measured anew."
_LIVE = "Nothing is measured of it before it takes traffic; an ABExperiment with it as candidate measures it."


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the version may take traffic: style, in a line, and why."""

    tone: str
    words: str
    message: str


@dataclass(frozen=True, slots=True)
class ReliabilityView:
    """Stated probabilities against what came true: figure and the same as rows."""

    figure: Figure | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class VersionPage:
    """What the template shows, every number as text; rows are empty and parts None where nothing was measured."""

    version: ModelVersion
    generated_at: datetime
    lead: str
    outcome: Outcome
    tiles: tuple[tuple[str, str], ...]
    gate_rows: tuple[Row, ...]
    latency_rows: tuple[Row, ...]
    latency_hint: str
    calibration: ReliabilityView | None
    confidence: ReliabilityView | None
    simulated_rows: tuple[Row, ...]
    simulated_hint: str
    asked: tuple[tuple[str, str], ...]
    made_of: tuple[tuple[str, str], ...]


def render_version(version: ModelVersion, now: datetime) -> str:
    """The whole HTML document."""
    return environment().get_template("version.html.jinja").render(page=view(version, now))


def view(version: ModelVersion, now: datetime) -> VersionPage:
    """What the template shows of a version."""
    found, benchmark = version.status.evaluation, version.status.benchmark
    simulated = found.simulated if found else None
    return VersionPage(
        version=version,
        generated_at=now,
        lead=_lead(version),
        outcome=outcome_of(version),
        tiles=tuple(_tiles(version)),
        gate_rows=gate_rows(found.gates, GATE_WORDS) if found else (),
        latency_rows=tuple(map(_latency_row, benchmark.at)) if benchmark else (),
        latency_hint=_latency_hint(version),
        calibration=_reliability(
            found.calibration if found else None,
            "Probability of the likeliest action against how often it is that of the good decision",
        ),
        confidence=_reliability(
            simulated.confidence if simulated else None, "Stated confidence of openings against how often they earned"
        ),
        simulated_rows=tuple(_simulated_rows(version, simulated)) if simulated else (),
        simulated_hint=_simulated_hint(version, simulated) if simulated else "",
        asked=tuple(asked_facts(version)),
        made_of=tuple(made_of(version)),
    )


def outcome_of(version: ModelVersion) -> Outcome:
    """What the gates said, or why they said nothing yet."""
    status, found = version.status, version.status.evaluation
    ready, phase = status.condition("Ready"), status.phase
    said = ready.message if ready else ""
    reason = f" ({ready.reason})" if ready else ""
    if version.spec.external is not None:
        tone = "bad" if phase in (ModelVersionPhase.DEGRADED, ModelVersionPhase.INVALID) else "flat"
        return Outcome(tone, "External: measured on live decisions", f"{_LIVE} {said}".strip())
    if found is not None and found.passed is False:
        return Outcome("bad", _failed_gates(version), _FINAL)
    if is_true(status.conditions, "Ready"):
        evaluated = status.condition("Evaluated")
        return Outcome("good", "Ready: it may take traffic", evaluated.message if evaluated else said)
    if phase is ModelVersionPhase.FAILED:
        return Outcome("bad", f"Failed{reason}", said)
    if phase is ModelVersionPhase.INVALID:
        return Outcome("bad", f"Invalid{reason}", said)
    if phase is ModelVersionPhase.RETIRED:
        return Outcome("flat", "Retired: it passed, and nobody needs it now", said)
    if found is not None and found.passed:
        return Outcome("bad", f"Passed every gate, and is not ready now{reason}", said)
    if found is not None and found.held is not None:
        dataset = version.spec.evaluation.dataset
        needed = f" of {dataset.min_rows:,}" if dataset is not None else ""
        words = f"Held for want of decisions: {_count(found.rows)}{needed}"
        return Outcome("flat", words, found.message or said)
    return Outcome("flat", f"Not judged yet{reason}", said)


def _failed_gates(version: ModelVersion) -> str:
    """The gates that keep it from traffic, each with its number."""
    found = version.status.evaluation
    failed = [gate for gate in found.gates if gate.passed is not True] if found else []
    told = [(gate.name, *gate_numbers(gate, GATE_WORDS.get(gate.name))) for gate in failed]
    listed = ", ".join(f"{name} {value} ({threshold} is asked)" for name, value, threshold in told)
    return f"Failed {'gate' if len(told) == 1 else f'{len(told)} gates'}: {listed}" if told else "Failed its gates"


def _lead(version: ModelVersion) -> str:
    spec = version.spec
    if spec.external is not None:
        return f"model {spec.external.model} at {spec.external.base_url}"
    what = f"adapter {spec.adapter.uri} on {spec.adapter.base_model.uri}" if spec.adapter else ""
    what = what or (f"model {spec.model.uri}" if spec.model else "")
    if spec.evaluation.dataset is None:
        return f"{what}, asked by the benchmark alone: spec.evaluation.dataset is not set"
    return f"{what}, asked by the benchmark and about recorded decisions"


def _tiles(version: ModelVersion) -> Iterator[tuple[str, str]]:
    found, benchmark = version.status.evaluation, version.status.benchmark
    if found is not None:
        if measured(found.agreement):
            yield share(found.agreement), f"of {_count(found.good)} good decisions: it repeats the action"
        if measured(found.disagreement):
            yield share(found.disagreement), f"of {_count(found.bad)} bad decisions: it does not repeat the action"
        if measured(found.hold_share):
            other = found.baseline.hold_share if found.baseline else None
            yield (
                share(found.hold_share),
                "of its answers hold" + (f"; {share(other)} of those of {beside(version)}" if measured(other) else ""),
            )
        difference = found.simulated.sharpe_difference if found.simulated else None
        if difference is not None and measured(difference.value):
            yield (
                signed(difference.value, 3),
                f"Sharpe of one decision, minus that of {beside(version)} ({_interval(difference)})",
            )
    if benchmark is not None and measured(benchmark.p99_ms):
        yield (
            f"{known(benchmark.p99_ms)} ms",
            f"99th percentile of the latency, one request at a time; the objective is {_objective(version)}",
        )


def _interval(estimate: IntervalStatus) -> str:
    if not (measured(estimate.lower) and measured(estimate.upper)):
        return "too few blocks for an interval"
    return f"{signed(estimate.lower, 3)} to {signed(estimate.upper, 3)} at 95 %"


def _latency_row(at: LatencyAt) -> Row:
    return f"{at.concurrency:,}", known(at.p50_ms), known(at.p99_ms), known(at.decisions_per_second)


def _latency_hint(version: ModelVersion) -> str:
    benchmark = version.status.benchmark
    if benchmark is None:
        return ""
    said = [f"The objective is {_objective(version)} at the 99th percentile, with one request at a time"]
    if benchmark.requests is not None:
        said.append(f"{benchmark.requests:,} requests were sent")
    if measured(benchmark.valid):
        said.append(f"{share(benchmark.valid)} of the answers were valid decisions")
    return ". ".join(said) + "."


def _objective(version: ModelVersion) -> str:
    return MILLISECONDS.threshold(as_milliseconds(version.spec.serving.latency_objective.p99))


def _reliability(status: ReliabilityStatus | None, title: str) -> ReliabilityView | None:
    if status is None:
        return None
    bins = [(e.mean, e.share, e.count) for e in status.bins if measured(e.mean) and measured(e.share)]
    if not bins:
        return None
    off = f"{share(status.error)} off in the mean" if measured(status.error) else ""
    means, rights, _ = zip(*bins, strict=True)
    figure = draw_figure(
        title,
        shares(),
        [
            Line("answers", "candidate", means, rights, said=off, dotted=True),
            Line("as often as stated", "even", [0.0, 1.0], [0.0, 1.0], said=""),
        ],
        tick=lambda right: f"{100 * right:.0f} %",
        reach=(0.0, 1.0),
    )
    return ReliabilityView(figure, tuple((share(mean), share(right), _count(count)) for mean, right, count in bins))


def _simulated_rows(version: ModelVersion, simulated: SimulatedStatus) -> Iterator[Row]:
    """What, estimate and both ends of its interval."""
    name = version.name
    pairs: tuple[tuple[str, EarnedStatus | None], ...] = (
        (name, simulated.version),
        (beside(version), simulated.baseline),
    )
    for who, earned in pairs:
        if earned is not None and earned.profit is not None:
            profit = earned.profit
            yield (
                f"Profit of {who}, % of one notional",
                *(_percent(x) for x in (profit.value, profit.lower, profit.upper)),
            )
    for who, sharpe in (
        *((who, earned.sharpe if earned else None) for who, earned in pairs),
        ("", simulated.sharpe_difference),
    ):
        if sharpe is not None:
            what = f"Sharpe of {who}" if who else f"Sharpe of {name} minus that of {beside(version)}"
            yield what, *(UNKNOWN if x is None else signed(x, 3) for x in (sharpe.value, sharpe.lower, sharpe.upper))


def _simulated_hint(version: ModelVersion, simulated: SimulatedStatus) -> str:
    bars = version.spec.evaluation.bars
    without = f"{_count(simulated.left_out)} without are left out"
    said = [
        f"{_count(simulated.rows)} decisions with an answer and prices ({without}), in {_count(simulated.blocks)} blocks of whole days"
    ]
    said += [
        f"{who} opens {earned.trades:,} trades"
        for who, earned in ((version.name, simulated.version), (beside(version), simulated.baseline))
        if earned is not None and earned.trades is not None
    ]
    if bars is not None:
        said.append(
            f"Each trade has one notional and ends at stop-loss, take-profit or after {bars.horizon}; a round trip costs "
            f"{bars.cost_basis_points} basis points"
        )
    return (
        ". ".join(said)
        + ". Sharpe is that of one decision, holds with 0. Intervals are at 95 %; below seven blocks there is none."
    )


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else signed(100 * value, 2)


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"
