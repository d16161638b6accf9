"""Configuration of the Jobs: JSON in TRADEWIND_CONFIG or a file, checked before anything is read or loaded.

Belongs here: the models of the Jobs, made of the settings that users write (trading/settings) and of what a Job alone is told
(paths, run, attempt, progress); what a user reads when a field is wrong. Does not belong here: what the fields do.
"""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Sha256, as_timedelta
from tradewind.trading.dataset import Imitation
from tradewind.trading.drift import Mix, Mixes
from tradewind.trading.duplicates import Dedupe
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.dataset import Selection
from tradewind.trading.settings.hyperparameters import Hyperparameters, MaxLength
from tradewind.trading.settings.recipe import Objective, Recipe, Strategy
from tradewind.trading.settings.stores import Stores
from tradewind.training.outcome import JobError, bad_config

CONFIG_VARIABLE: Final = "TRADEWIND_CONFIG"
Given = Annotated[str, Field(min_length=1)]
C = TypeVar("C", bound=StrictModel)


class EndpointKey(StrictModel):
    """Whose decisions are taken: the first three columns of every key."""

    installation: Given
    namespace: Given
    name: Given


class Before(StrictModel):
    """What the dataset was made of that the run before was trained on: rows by category, as its status has them."""

    run: Given
    per_action: dict[str, int] = Field(default_factory=dict)
    per_label: dict[str, int] = Field(default_factory=dict)
    per_symbol: dict[str, int] = Field(default_factory=dict)
    per_regime: dict[str, int] = Field(default_factory=dict)

    @property
    def mixes(self) -> Mixes:
        """The counts as drift takes them."""
        return Mixes({
            Mix.ACTION: self.per_action, Mix.LABEL: self.per_label, Mix.SYMBOL: self.per_symbol, Mix.REGIME: self.per_regime,
        })  # fmt: skip


class SnapshotConfig(Selection):
    """Configuration of `jobs/snapshot.py`."""

    endpoint: EndpointKey
    output: Path
    objective: Objective = "sft"
    include_fallback: bool = False
    base_tokenizer: Path | None = None
    max_length: MaxLength = Hyperparameters().max_length
    before: Before | None = None
    stores: Stores = Stores()

    def imitation(self) -> Imitation:
        """What is imitated, as the pure dataset takes it."""
        return Imitation(
            labels=self.labels,
            include_replay=self.include_replay,
            include_fallback=self.include_fallback,
            dedupe=Dedupe(self.dedupe),
            max_samples=self.max_samples,
            avoid_bad=self.objective != "sft",
        )


class TrainConfig(Recipe):
    """Configuration of `jobs/train.py`.

    Attributes:
        after_out_of_memory: the attempt before was killed for memory: this one takes less.
        silence_seconds: of several nodes: how long is waited for one that does not answer.
        merged: the base with the adapter merged in is published too.
        strategy: of several nodes: whether each holds all of the base, or a share of it.
    """

    run: Given
    attempt: Annotated[int, Field(ge=0)] = 1
    after_out_of_memory: bool = False
    base: Path
    base_uri: str = ""
    base_revision: str = ""
    base_sha256: Sha256 | None = None
    warm_start: Path | None = None
    dataset: Path
    dataset_sha256: Sha256 | None = None
    output: Path
    merged: bool = False
    strategy: Strategy = "auto"
    progress_url: Annotated[str, Field(pattern="^https?://")] | None = None
    progress_token_file: Path | None = None
    progress_seconds: Annotated[float, Field(gt=0)] = 10.0
    silence_seconds: Annotated[float, Field(gt=0)] = 600.0
    stores: Stores = Stores()


def load_config(kind: type[C], file: Path | None) -> C:
    """The configuration of a Job.

    Raises:
        JobError: exit 64, naming the field and the remedy.
    """
    return _parse(kind, _read(file))


def resolve_time(text: str | None, now: datetime) -> datetime | None:
    """A bound of the window as a point in time: a length of time counts back from now."""
    if text is None or "T" in text:
        return None if text is None else datetime.fromisoformat(text)
    return now - as_timedelta(text)


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
        raise JobError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, problems) from None


def _problem(item: ErrorDetails) -> str:
    location = [str(part) for part in item["loc"]]
    if item["type"] == "rule":
        return f"{'.'.join([*location, item['ctx']['field']])}: {item['msg']}"
    field = ".".join(location) or "configuration"
    match item["type"]:
        case "extra_forbidden":
            return f"{field}: is not supported; remove it"
        case "missing":
            return f"{field}: is missing; set it"
        case "string_type":
            return f"{field}: must be text; write it in quotes, got {str(item['input'])[:80]!r}"
        case _:
            return f"{field}: {item['msg']}, got {str(item['input'])[:80]!r}"
