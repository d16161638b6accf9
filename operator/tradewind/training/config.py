"""Configuration of the Jobs: JSON in TRADEWIND_CONFIG or a file, checked before anything is read or loaded.

Belongs here: the fields, their bounds and what a user reads when one is wrong. An option that is not there yet is refused by
name; nothing is ignored silently. Does not belong here: what the fields do.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from tradewind.schema.durations import parse_duration
from tradewind.trading.dataset import Imitation, Split
from tradewind.trading.duplicates import Dedupe
from tradewind.trading.gates import GateThresholds
from tradewind.trading.labels import Label, LabelThresholds
from tradewind.training.outcome import ExitCode, JobError, bad_config

CONFIG_VARIABLE: Final = "TRADEWIND_CONFIG"
_DURATION_UNITS: Final = frozenset("dhms")


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _time(value: object) -> datetime | timedelta | None:
    if value is None or isinstance(value, datetime | timedelta):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value) if value[-1:] in _DURATION_UNITS else datetime.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("must be a time such as 2026-01-31T00:00:00Z or a length of time back such as 90d")


Duration = Annotated[timedelta, BeforeValidator(_duration)]
TimeOrAge = Annotated[
    datetime | timedelta | None,
    PlainValidator(_time),
    PlainSerializer(lambda value: None if value is None else str(value)),
]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


C = TypeVar("C", bound=_Config)


class EndpointKey(_Config):
    """Whose decisions are taken: the first three columns of every key."""

    installation: Annotated[str, Field(min_length=1)]
    namespace: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]


class ThresholdsConfig(_Config):
    """Bounds of the labels, as fractions of `size_usd`."""

    excellent: Annotated[float, Field(ge=0)] = 0.05
    bad: Annotated[float, Field(ge=0)] = 0.03


class WeightsConfig(_Config):
    """Sample weights. There is none for bad decisions: they are never imitated."""

    excellent: Weight = 1.5
    good: Weight = 1.0
    acceptable_loss: Weight = 0.3


class LabelsConfig(_Config):
    """How closed trades become samples. `hold_weight` is that of logged and of counterfactual holds."""

    thresholds: ThresholdsConfig = ThresholdsConfig()
    weights: WeightsConfig = WeightsConfig()
    counterfactual_holds: bool = False
    hold_weight: Weight = 0.5


class SplitConfig(_Config):
    """Split by time."""

    eval_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embargo: Duration = timedelta(hours=24)


class GatesConfig(_Config):
    """Thresholds of the gates; absent ones are measured and not judged."""

    min_samples: Annotated[int, Field(ge=1)] = 500
    min_per_class: Annotated[int, Field(ge=0)] | None = None
    max_class_share: Share | None = None
    max_action_share: Share | None = None
    max_symbol_share: Share | None = None
    max_direction_share: Share | None = None
    min_label_consistency: Share | None = None
    min_reviewed_accuracy: Share | None = 0.9
    require_review: bool = False
    min_json_validity: Share | None = None
    max_age: Duration | None = None

    def thresholds(self) -> GateThresholds:
        """As the pure gates take them."""
        return GateThresholds(**dict(self))


class SnapshotConfig(_Config):
    """Configuration of `jobs/snapshot.py`."""

    endpoint: EndpointKey
    output: Path
    since: TimeOrAge = None
    until: TimeOrAge = None
    max_samples: Annotated[int, Field(ge=1)] | None = 100_000
    include_replay: bool = False
    include_fallback: bool = False
    dedupe: Dedupe = Dedupe.NEAR
    symbols: tuple[str, ...] | None = None
    labels: LabelsConfig = LabelsConfig()
    split: SplitConfig = SplitConfig()
    gates: GatesConfig = GatesConfig()
    base_tokenizer: Path | None = None
    max_length: Annotated[int, Field(ge=16)] = 2048

    def imitation(self) -> Imitation:
        """What is imitated, as the pure dataset takes it."""
        labels = self.labels
        return Imitation(
            thresholds=LabelThresholds(excellent=labels.thresholds.excellent, bad=labels.thresholds.bad),
            weights={
                Label.EXCELLENT: labels.weights.excellent,
                Label.GOOD: labels.weights.good,
                Label.ACCEPTABLE_LOSS: labels.weights.acceptable_loss,
            },
            hold_weight=labels.hold_weight,
            counterfactual_holds=labels.counterfactual_holds,
            counterfactual_weight=labels.hold_weight,
            include_replay=self.include_replay,
            include_fallback=self.include_fallback,
            dedupe=self.dedupe,
            max_samples=self.max_samples,
        )

    def time_split(self) -> Split:
        """The split, as the pure dataset takes it."""
        return Split(eval_fraction=self.split.eval_fraction, embargo=self.split.embargo)


class LoraConfig(_Config):
    """The low-rank adapter. `target_modules` are names of modules, or the one name `all-linear`."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "k_proj", "v_proj", "o_proj")
    dora: bool = False
    rslora: bool = False


class ExtraConfig(_Config):
    """Further arguments of the trainer, named as transformers names them; any other is refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=None)

    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    gradient_checkpointing: Literal["auto", "true", "false"] = "auto"
    early_stopping_patience: Annotated[int, Field(ge=0)] = 0
    logging_steps: Annotated[int, Field(ge=1)] = 10
    max_steps: Annotated[int, Field(ge=1)] | None = None
    max_too_long_share: Share = 0.01
    threads: Annotated[int, Field(ge=1)] | None = None


class HyperparametersConfig(_Config):
    """Knobs of the optimiser."""

    epochs: Annotated[float, Field(gt=0)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    batch_size: Annotated[int, Field(ge=1)] = 4
    gradient_accumulation: Annotated[int, Field(ge=1)] = 4
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    max_length: Annotated[int, Field(ge=16)] = 2048
    eval_every_steps: Annotated[int, Field(ge=1)] = 100
    save_every_steps: Annotated[int, Field(ge=1)] = 100
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    extra: ExtraConfig = ExtraConfig()


class CheckpointConfig(_Config):
    """Checkpoints that a run resumes from."""

    keep: Annotated[int, Field(ge=1)] = 2
    resume: bool = True


class TrainConfig(_Config):
    """Configuration of `jobs/train.py`."""

    run: Annotated[str, Field(min_length=1)]
    attempt: Annotated[int, Field(ge=0)] = 1
    base: Path
    base_uri: str = ""
    base_revision: str = ""
    warm_start: Path | None = None
    dataset: Path
    dataset_sha256: Sha256 | None = None
    output: Path
    method: Literal["auto", "lora", "qlora"] = "auto"
    objective: str = "sft"
    lora: LoraConfig = LoraConfig()
    hyperparameters: HyperparametersConfig = HyperparametersConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    num_nodes: int = 1
    progress_url: str | None = None
    progress_token_file: Path | None = None
    progress_seconds: Annotated[float, Field(gt=0)] = 10.0


def load_snapshot_config(file: Path | None) -> SnapshotConfig:
    """The snapshot's configuration.

    Raises:
        JobError: exit 64, naming the field and the remedy.
    """
    return _parse(SnapshotConfig, _read(file))


def load_train_config(file: Path | None) -> TrainConfig:
    """The trainer's configuration; what is not supported yet is refused by name.

    Raises:
        JobError: exit 64, naming the field and the remedy.
    """
    config = _parse(TrainConfig, _read(file))
    if config.objective != "sft":
        raise bad_config("objective", f"{config.objective} is not supported yet; use sft")
    if config.num_nodes != 1:
        raise bad_config("numNodes", f"training on {config.num_nodes} nodes is not supported yet; use 1")
    if "all-linear" in config.lora.target_modules and len(config.lora.target_modules) > 1:
        raise bad_config("lora.targetModules", "all-linear stands alone; leave the other names out")
    if config.progress_url is not None and not config.progress_url.startswith(("http://", "https://")):
        raise bad_config("progressUrl", "must begin with http:// or https://")
    return config


def resolve_time(value: datetime | timedelta | None, now: datetime, field: str) -> datetime | None:
    """A point in time: a length of time counts back from now, a time without zone is UTC."""
    if value is None or isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value
    try:
        return now - value
    except OverflowError:
        raise bad_config(field, "lies before the calendar begins") from None


def _read(file: Path | None) -> Mapping[str, object]:
    where = f"--config {file}" if file is not None else CONFIG_VARIABLE
    try:
        text = file.read_text(encoding="utf-8") if file is not None else os.environ[CONFIG_VARIABLE]
        value = json.loads(text)
    except KeyError:
        raise bad_config(
            CONFIG_VARIABLE, "is not set; set it to the JSON configuration or pass --config FILE"
        ) from None
    except OSError as error:
        raise bad_config(where, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise bad_config(where, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise bad_config(where, f"must be a JSON object, got {type(value).__name__}")
    return value


def _parse(kind: type[C], value: Mapping[str, object]) -> C:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(_problem(item) for item in error.errors(include_url=False))
        raise JobError(ExitCode.BAD_CONFIG, "InvalidConfig", problems) from None


def _problem(item: ErrorDetails) -> str:
    field = ".".join(str(part) for part in item["loc"]) or "configuration"
    match item["type"]:
        case "extra_forbidden":
            return f"{field}: is not supported; remove it"
        case "missing":
            return f"{field}: is missing; set it"
        case _:
            return f"{field}: {item['msg'].removeprefix('Value error, ')}, got {str(item['input'])[:80]!r}"
