"""What a ModelVersion must show before it takes traffic, and what it showed.

Belongs here: the fields. Does not belong here: how rows are taken and answers settled (trading/settings/evaluation.py has what the Job
is told as well), and the verdict (core/model_version/evaluation.py).
"""

from typing import Annotated, ClassVar

from pydantic import Field

from tradewind.api.common import GateResult
from tradewind.schema.rules import Rule, StatusModel, StrictModel
from tradewind.schema.scalars import (
    Count,
    DecimalText,
    Fraction,
    Name,
    Sha256,
    StorageURI,
    Text256,
    Text1024,
    Timestamp,
)
from tradewind.trading.settings.evaluation import EvaluationRows, SimulatedTrades
from tradewind.trading.settings.stores import StoredURI, one_service_account


class EvaluationSource(StoredURI):
    """Where recorded decisions are from."""

    endpoint: Name | None = None
    """Endpoint whose log is asked; its champion stands beside the version."""
    uri: StorageURI | None = None
    """Folder with eval.jsonl, and train.jsonl where what is taught shall be known, as a snapshot makes it."""
    sha256: Sha256 | None = None
    """Hash of that folder's data; absent: not checked."""


class EvaluationDataset(EvaluationRows, EvaluationSource):  # the fields of the last base are listed first
    """Recorded decisions, with what became of them, that the version is asked about."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.endpoint) != has(self.uri)",
            lambda s: (s.endpoint is None) != (s.uri is None),
            "exactly one of evaluation.dataset.endpoint and evaluation.dataset.uri must be set",
        ),
        Rule(
            "!has(self.sha256) || has(self.uri)",
            lambda s: s.sha256 is None or s.uri is not None,
            "evaluation.dataset.sha256 is the hash of a folder: leave it out with an endpoint",
            "sha256",
        ),
    )


class EvaluationBars(SimulatedTrades, StoredURI):
    """Prices for the simulated profit."""

    uri: StorageURI
    """Folder with bars.csv: columns time (its start, with zone), open, high, low, close, and symbol where there are several."""


class EvaluationGates(StrictModel):
    """Thresholds that a version must keep before it takes traffic."""

    min_json_validity: Fraction = "0.99"
    """Share of answers that are valid decisions, of the benchmark's and of recorded questions."""
    min_agreement: Fraction | None = None
    """Share of good decisions whose action the version repeats; absent: not gated."""
    min_disagreement: Fraction | None = None
    """Share of bad decisions whose action the version does not repeat; absent: not gated."""
    max_hold_share: Fraction | None = None
    """Share of answers that are hold; absent: not gated."""
    max_calibration_error: Fraction | None = None
    """Mean distance of the likeliest action's probability from how often it is right, on good decisions; absent: not gated."""
    max_sharpe_loss: DecimalText | None = None
    """How much less than the champion's the Sharpe of one decision may be on the bars: fails where the whole 95 % interval of the difference
    lies below; absent: not gated."""
    latency: bool = True
    """Whether the measured p99 must keep serving.latencyObjective."""

    @property
    def of_dataset(self) -> bool:
        """Whether a gate is set that is measured on recorded decisions."""
        wanted = (
            self.min_agreement,
            self.min_disagreement,
            self.max_hold_share,
            self.max_calibration_error,
            self.max_sharpe_loss,
        )
        return any(gate is not None for gate in wanted)


_OF_DATASET = ("minAgreement", "minDisagreement", "maxHoldShare", "maxCalibrationError", "maxSharpeLoss")
_NO_DATASET_GATE = " && ".join(f"!has(self.gates.{name})" for name in _OF_DATASET)


class Evaluation(StrictModel):
    """What a version must show before it takes traffic."""

    dataset: EvaluationDataset | None = None
    """Recorded decisions to compare with; absent: benchmark only."""
    bars: EvaluationBars | None = None
    """Prices for the simulated profit; absent: none is computed."""
    requests: Annotated[int, Field(ge=1, le=10_000)] = 40
    """Requests of the benchmark."""
    concurrency: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=8)] = (
        1,
        4,
        16,
    )
    """Concurrent requests of the benchmark's passes."""
    gates: EvaluationGates = EvaluationGates()
    """Thresholds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"has(self.dataset) || !has(self.gates) || ({_NO_DATASET_GATE})",
            lambda s: s.dataset is not None or not s.gates.of_dataset,
            f"{', '.join(_OF_DATASET)} are measured on recorded decisions: set evaluation.dataset, or leave these gates out",
            "gates",
        ),
        Rule(
            "has(self.dataset) || !has(self.bars)",
            lambda s: s.dataset is not None or s.bars is None,
            "evaluation.bars settles answers to recorded decisions: set evaluation.dataset, or leave the bars out",
            "bars",
        ),
        Rule(
            "has(self.bars) || !has(self.gates) || !has(self.gates.maxSharpeLoss)",
            lambda s: s.bars is not None or s.gates.max_sharpe_loss is None,
            "gates.maxSharpeLoss is measured on bars: set evaluation.bars, or leave the gate out",
            "gates.maxSharpeLoss",
        ),
        one_service_account(
            "dataset.store",
            "bars.store",
            lambda s: (s.dataset.store if s.dataset else None, s.bars.store if s.bars else None),
        ),
    )


# --- status --------------------------------------------------------------------------------------------------------


class IntervalStatus(StatusModel):
    """A number with its interval at 95 %."""

    value: float | None = None
    """Estimate."""
    lower: float | None = None
    """Lower end; absent below seven blocks."""
    upper: float | None = None
    """Upper end; absent below seven blocks."""


class ReliabilityBin(StatusModel):
    """Answers that were equally sure."""

    mean: float | None = None
    """Mean stated probability."""
    share: float | None = None
    """Share that was right."""
    count: Count | None = None
    """Answers."""


class ReliabilityStatus(StatusModel):
    """How far stated probabilities are from what comes true."""

    error: float | None = None
    """Mean distance of both, weighted by count."""
    bins: Annotated[tuple[ReliabilityBin, ...], Field(max_length=10)] = ()
    """Reliability curve, up to ten bins."""


class EarnedStatus(StatusModel):
    """What one version's answers would have earned."""

    trades: Count | None = None
    """Answers that open."""
    profit: IntervalStatus | None = None
    """Sum of the returns on notional after cost, one notional a trade; 0.01 is 1 % of one notional."""
    sharpe: IntervalStatus | None = None
    """Mean by standard deviation of one decision's return, holds with 0."""


class SimulatedStatus(StatusModel):
    """Answers settled on bars."""

    rows: Count | None = None
    """Decisions with prices from entry to horizon, and an answer of each."""
    left_out: Count | None = None
    """Decisions without."""
    blocks: Count | None = None
    """Blocks of whole days with such decisions."""
    version: EarnedStatus | None = None
    """Of this version."""
    baseline: EarnedStatus | None = None
    """Of what stands beside it."""
    sharpe_difference: IntervalStatus | None = None
    """Sharpe of one decision, this version less the baseline, on the same decisions."""
    confidence: ReliabilityStatus | None = None
    """Stated confidence of openings against whether they earned."""


class BaselineAnswers(StatusModel):
    """Whose answers stood beside the version's."""

    version: Text256 | None = None
    """ModelVersion; absent: whoever was recorded."""
    asked: bool | None = None
    """Whether it was asked the same questions; false: what is recorded of it."""
    answers: Count | None = None
    """Answers of it."""
    hold_share: float | None = None
    """Share of these that are hold."""


class TaughtStatus(StatusModel):
    """Whether the version knows what it was taught by heart; of a folder with train.jsonl."""

    leaked: Count | None = None
    """Decisions of the evaluation side whose prompt is taught, too; they were left out."""
    asked: Count | None = None
    """Good decisions of the taught side that it was asked about."""
    agreement: float | None = None
    """Share of these whose action it repeats; far above gates.minAgreement's number says that it learned rows and no rule."""


class HostileStatus(StatusModel):
    """Questions whose data try to command the model."""

    asked: Count | None = None
    """Questions."""
    kept: Count | None = None
    """Answers that kept symbol, limits and schema."""
    refused: Count | None = None
    """Questions that got no decision, such as ones that are too long."""
    broken: Text256 | None = None
    """How the first answer did neither."""


class EvaluationStatus(StatusModel):
    """What the version showed."""

    gates: Annotated[tuple[GateResult, ...], Field(max_length=32)] = ()
    """Each gate with its number."""
    passed: bool | None = None
    """Whether every gate is passed."""
    message: Text1024 | None = None
    """The result in words."""
    hostile: HostileStatus | None = None
    """Questions whose data try to command the model."""
    rows: Count | None = None
    """Recorded decisions that it was asked about."""
    found: Count | None = None
    """Recorded decisions that could be asked about."""
    since: Timestamp | None = None
    """Since when decisions count: after the training data of the compared versions, and the embargo."""
    first_decision: Timestamp | None = None
    """Oldest decision that it was asked about."""
    last_decision: Timestamp | None = None
    """Newest one."""
    valid: float | None = None
    """Share of answers to recorded questions that are valid decisions."""
    good: Count | None = None
    """Decisions among them that turned out well."""
    bad: Count | None = None
    """Decisions among them that turned out badly."""
    agreement: float | None = None
    """Share of good decisions whose action it repeats."""
    disagreement: float | None = None
    """Share of bad decisions whose action it does not repeat."""
    hold_share: float | None = None
    """Share of answers that are hold."""
    log_likelihood_gap: float | None = None
    """Mean log-probability of the actions of good decisions less that of bad ones."""
    calibration: ReliabilityStatus | None = None
    """Probability of the likeliest action against agreement, on good decisions."""
    baseline: BaselineAnswers | None = None
    """Whose answers stood beside."""
    taught: TaughtStatus | None = None
    """Whether it knows by heart what it was taught."""
    simulated: SimulatedStatus | None = None
    """Answers settled on bars."""
    held: Count | None = None
    """Number of the newest Job that found too few decisions."""
    completed_time: Timestamp | None = None
    """When it was measured."""
