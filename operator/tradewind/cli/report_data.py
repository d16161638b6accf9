"""What a report is made of, and how it is read from a bundle.

A bundle is a JSON object: `experiment` (the ABExperiment with its status), `trades` (rows of the view judged_rows) and,
where there are any, `endpoint`, `trainingRun`, `modelVersions`, `otherExperiments`, `facts.latency` and `notes`.

Belongs here: the parts of a report and the numbers that follow from them. Does not belong here: how it looks
(report_page.py), the command (report.py) and any statistic of its own (trading/evidence recomputes each look).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint, EndpointCosts
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse
from tradewind.cli.experiment_file import experiment_of
from tradewind.core.costs import Month, Payer, month
from tradewind.schema.durations import parse_duration
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import (
    Cells,
    EvidenceSpec,
    Judgement,
    LostCounts,
    PaperTrades,
    RequestRow,
    Requests,
    Status,
    TradeRow,
    TradeTable,
    judge,
    paper_trades,
    request_row,
    settled_at,
    trade_row,
)
from tradewind.trading.performance import ArmMetrics, Differences, arm_metrics, compare

Json = Mapping[str, Any]

R = TypeVar("R", ABExperiment, Endpoint)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One decision of the experiment with what the gateway measured beside it."""

    trade: TradeRow
    request: RequestRow | None = None
    """None while it is being asked."""


@dataclass(frozen=True, slots=True)
class ArmLine:
    """One arm in the table: the seven-day report's numbers and what stands beside them. Latencies in ms."""

    arm: Arm
    version: str
    decisions: int
    holds: int
    metrics: ArmMetrics
    mean_return_bp: float
    p50_ms: float | None
    p99_ms: float | None
    errors: int
    fallbacks: int


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """A measured latency: of whom, how, how often, and its percentiles in ms."""

    what: str
    how: str
    requests: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; `render_page` needs nothing else.

    Attributes:
        experiment: with its status.
        spec: levels and durations in force, retests counted.
        rows: every decision of the experiment, any order.
        prior: the baseline's decisions before the start, which set the default risk budget.
        slow_ms: the candidate's latency objective; inf: none.
        lost: decisions that are no evidence, as the operator counted them; None: not known.
        provenance: pairs of what and which, shown as they are.
        latency: measurements outside of the experiment.
        others: name, verdict and message of experiments that belong to the same story.
        notes: sentences that a reader must know.
        generated_at: with a time zone.
        versions: baseline and candidate; None: not in the bundle.
        server: prices of the Endpoint.
    """

    experiment: ABExperiment
    spec: EvidenceSpec
    rows: tuple[ReportRow, ...]
    prior: tuple[TradeRow, ...] = ()
    slow_ms: float = math.inf
    lost: LostCounts | None = None
    provenance: tuple[tuple[str, str], ...] = ()
    latency: tuple[LatencyLine, ...] = ()
    others: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    generated_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    versions: tuple[ModelVersion | None, ModelVersion | None] = (None, None)
    server: EndpointCosts = field(default_factory=EndpointCosts)

    @property
    def t0(self) -> datetime:
        """Start of the first block.

        Raises:
            ValueError: the experiment has not started.
        """
        t0 = self.experiment.status.t0
        if t0 is None and self.experiment.spec.replay:
            t0 = self.experiment.spec.replay.start_time
        if t0 is None:
            raise ValueError(
                "experiment.status.t0: missing; the experiment has not started, there is nothing to report"
            )
        return t0

    @property
    def until(self) -> datetime:
        """The instant that the report speaks of: the verdict's, or that of the newest decision."""
        verdict = self.experiment.status.verdict
        newest = max((row.trade.decided_at for row in self.rows), default=self.t0)
        return max(self.t0, verdict.time if verdict else newest)

    def judgement(self) -> Judgement:
        """Evidence and checks at `until`, recomputed from the rows."""
        table = self._table()
        requests = Requests.from_rows(row.request for row in self.rows if row.request is not None)
        names_from, names_until = self.spec.naming(self.t0, self.until)
        log = requests.log(self.until, self.slow_ms, names_until, names_from)
        return judge(table, self.t0, self.until, self.spec, log, self.lost)

    def paper_trades(self) -> PaperTrades:
        """The trades whose papers the judgement speaks of."""
        return paper_trades(settled_at(self._table(), self.t0, self.until, self.spec.known_at(self.until)))

    def month(self) -> Month | None:
        """What 30 days cost at the experiment's rate of decisions; None before a day with decisions is over."""
        days = (
            self.until - self.t0
        ).days  # whole ones: a rate that moves with each second would be a new report each time
        end = self.t0 + timedelta(days=days)
        decisions = sum(row.trade.decided_at < end for row in self.rows)
        costs = {arm.role: arm.cost_cny for arm in self.experiment.status.arms}

        def payer(arm: ArmLine, version: ModelVersion | None) -> Payer:
            paid = costs.get(arm.arm.value)
            return Payer(version, paid / arm.decisions if paid is not None and arm.decisions else None)

        baseline, candidate = (payer(*arm) for arm in zip(self.arms(), self.versions, strict=True))
        return month(self.experiment.spec.costs, self.server, (baseline, candidate), decisions, days)

    def _table(self) -> TradeTable:
        return TradeTable.from_rows([*self.prior, *(row.trade for row in self.rows)])

    @property
    def first_block(self) -> int:
        """Block that the evidence at `until` starts with, counted from t0."""
        return self.spec.known_at(self.until).first_block

    def arms(self) -> tuple[ArmLine, ArmLine]:
        """Baseline and candidate."""
        baseline, candidate = _names(self.experiment)
        return self._arm(Arm.BASELINE, baseline), self._arm(Arm.CANDIDATE, candidate)

    def comparison(self) -> Differences:
        """The seed's differences, candidate minus baseline."""
        baseline, candidate = self.arms()
        return compare(baseline.metrics, candidate.metrics)

    def _arm(self, arm: Arm, version: str) -> ArmLine:
        rows = [row for row in self.rows if row.trade.arm is arm]
        closed = [row.trade for row in rows if row.trade.status is Status.CLOSED]
        earned = [(t.pnl_usd or 0.0) / t.notional_usd for t in closed if t.notional_usd]
        requests = [row.request for row in rows if row.request is not None]
        times = sorted(request.latency_ms for request in requests if request.latency_ms is not None)
        return ArmLine(
            arm=arm,
            version=version,
            decisions=len(rows),
            holds=sum(row.trade.status is Status.HOLD for row in rows),
            metrics=arm_metrics([t.pnl_usd or 0.0 for t in closed]),
            mean_return_bp=1e4 * sum(earned) / len(rows) if rows else 0.0,
            p50_ms=times[len(times) // 2] if times else None,
            p99_ms=times[min(len(times) - 1, int(0.99 * len(times)))] if times else None,
            errors=sum(request.error_kind is not None for request in requests),
            fallbacks=sum(request.fallback for request in requests),
        )


def read_bundle(bundle: Json, generated_at: datetime) -> ReportData:
    """The report's data from a bundle.

    Raises:
        ValueError: a part is missing or cannot be read; the message names it.
    """
    experiment = _parsed(ABExperiment, bundle.get("experiment"), "experiment")
    endpoint = bundle.get("endpoint")
    max_hold: timedelta | None = None
    if experiment.status.max_hold is None and endpoint:  # of an operator that did not fix it at the start yet
        max_hold = parse_duration(_parsed(Endpoint, endpoint, "endpoint").spec.max_hold, "endpoint.spec.maxHold")
    try:
        found = experiment_of(bundle["experiment"], max_hold=max_hold)
    except ValueError as error:
        raise ValueError(f"experiment.{error}") from None
    rows = [_row(number, row) for number, row in enumerate(bundle.get("trades") or (), 1)]
    return ReportData(
        experiment=experiment,
        spec=found.spec,
        rows=tuple(row for row in rows if row.trade.candidate_weight > 0.0),
        prior=tuple(row.trade for row in rows if row.trade.candidate_weight <= 0.0),
        slow_ms=found.slow_ms,
        lost=found.lost,
        provenance=tuple(_provenance(bundle, experiment)),
        latency=tuple(_latency((bundle.get("facts") or {}).get("latency") or {})),
        others=tuple(_other(other) for other in bundle.get("otherExperiments") or () if other),
        notes=tuple(str(note) for note in bundle.get("notes") or ()),
        generated_at=generated_at,
        versions=_versions(bundle, experiment),
        server=_server(endpoint),
    )


def verdict_of(experiment: ABExperiment) -> tuple[str, str]:
    """The verdict with its reason, and its message; the phase where there is none."""
    verdict = experiment.status.verdict
    if verdict is None:
        return "none yet", str(experiment.status.phase or "")
    return f"{verdict.decision} ({verdict.reason})", verdict.message


def _names(experiment: ABExperiment) -> tuple[str, str]:
    """Names of baseline and candidate."""
    baseline, candidate = experiment.status.baseline_ref, experiment.status.candidate_ref
    return (
        baseline.name if baseline else experiment.spec.baseline or "champion",
        candidate.name if candidate else experiment.spec.candidate,
    )


def _versions(bundle: Json, experiment: ABExperiment) -> tuple[ModelVersion | None, ModelVersion | None]:
    """Baseline and candidate as far as they can be read: only prices are taken from them."""
    found = (parse(ModelVersion, raw) for raw in bundle.get("modelVersions") or () if isinstance(raw, Mapping))
    known = {version.name: version for version in found if isinstance(version, ModelVersion)}
    baseline, candidate = _names(experiment)
    return known.get(baseline), known.get(candidate)


def _server(endpoint: object) -> EndpointCosts:
    found = parse(Endpoint, endpoint) if isinstance(endpoint, Mapping) else None
    return found.spec.costs if isinstance(found, Endpoint) else EndpointCosts()


def _parsed(resource: type[R], raw: object, where: str) -> R:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where}: missing from the bundle; give the object as `kubectl get -o json` prints it")  # noqa: TRY004
    found = parse(resource, raw)
    if isinstance(found, InvalidSpec):
        raise ValueError(f"{where}: {found.message}")  # noqa: TRY004
    return found


def _row(number: int, row: Json) -> ReportRow:
    cells = Cells(number, {name: "" if value is None else str(value) for name, value in row.items()})
    try:
        return ReportRow(trade_row(cells), request_row(cells))
    except ValueError as error:
        raise ValueError(f"trades: row {number} cannot be read: {error}") from error


def _provenance(bundle: Json, experiment: ABExperiment) -> Iterable[tuple[str, str]]:
    yield "Experiment", f"{experiment.namespace}/{experiment.name}, uid {experiment.metadata.uid}"
    for version in bundle.get("modelVersions") or ():
        if version:
            yield (
                f"Version {version['metadata']['name']}",
                _version(version.get("spec") or {}, version.get("status") or {}),
            )
    training = bundle.get("trainingRun") or {}
    status = training.get("status") or {}
    dataset, result = status.get("dataset") or {}, status.get("result") or {}
    if dataset:
        labels = ", ".join(f"{name} {count}" for name, count in sorted((dataset.get("perLabel") or {}).items()))
        yield (
            "Data set",
            f"{dataset.get('rows')} rows ({labels}), up to {dataset.get('watermark')}, sha256 {dataset.get('sha256')}",
        )
    if result:
        yield (
            "Training",
            (
                f"{result.get('steps')} steps on {result.get('samples')} samples in {result.get('seconds')} s, "
                f"loss {result.get('loss')}, evaluation loss {result.get('evalLoss')}, torch {result.get('torch')}"
            ),
        )


def _version(spec: Json, status: Json) -> str:
    if external := spec.get("external"):
        return f"{external.get('model')} at {external.get('baseURL')} ({external.get('protocol', 'openai')} protocol)"
    weights = spec.get("adapter") or spec.get("model") or {}
    base = (weights.get("baseModel") or {}).get("revision", "")
    return f"sha256 {weights.get('sha256')}, base {base or 'unnamed'}, phase {status.get('phase', 'unknown')}"


def _latency(table: Json) -> Iterable[LatencyLine]:
    low, high = table.get("standinArtificialDelayMs") or (0, 0)
    hows = {"standin": f"artificial delay of {low} to {high} ms", "predictor": "measured, one request at a time"}
    for name, how in hows.items():
        if found := table.get(name):
            yield LatencyLine(name, how, int(found["requests"]), float(found["p50Ms"]), float(found["p99Ms"]))


def _other(raw: Json) -> tuple[str, str, str]:
    experiment = _parsed(ABExperiment, raw, "otherExperiments")
    return (experiment.name, *verdict_of(experiment))
