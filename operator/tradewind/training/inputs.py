"""What a training reads, verified before anything is loaded: the base model and the data are those that the run asks for."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.trading.exits import ExitCode
from tradewind.training.config import TrainConfig
from tradewind.training.files import (
    EVAL_FILE,
    TRAIN_FILE,
    Example,
    dataset_sha256,
    folder_sha256,
    read_examples,
    read_manifest,
)
from tradewind.training.outcome import JobError, bad_config

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Base and data of a training.

    Attributes:
        base_sha256: of the base model's folder.
        dataset_sha256: of the data.
        manifest: what the dataset says of itself.
        examples, eval_examples: its samples.
    """

    base_sha256: str
    dataset_sha256: str
    manifest: Mapping[str, Any]
    examples: list[Example]
    eval_examples: list[Example]


def read_inputs(config: TrainConfig) -> Inputs:
    """What a training reads.

    Raises:
        JobError: exit 64 without a base; exit 65 where base or data are not those that were asked for, or are empty.
    """
    if not (config.base / "config.json").is_file():
        raise bad_config("base", f"{config.base} holds no config.json: mount the base model there")

    # A version is served on the very weights that its adapter was trained on.
    _logger.info("hashing the base model in %s", config.base)
    base_sha256 = folder_sha256(config.base)
    if config.base_sha256 not in (None, base_sha256):
        message = (
            f"baseModel.sha256: {config.base} hashes to {base_sha256}, the run asks for {config.base_sha256}; "
            "restore the base model, or name its hash as it is"
        )
        raise JobError(ExitCode.BAD_DATA, "BaseMismatch", message, expected=config.base_sha256, actual=base_sha256)

    # The data is the one that passed the gates, or nothing is trained.
    manifest = read_manifest(config.dataset)
    expected, found = config.dataset_sha256 or manifest.get("sha256"), dataset_sha256(config.dataset)
    if found != expected:
        remedy = "snapshot again" if expected else "set datasetSha256 or bring a manifest.json"
        message = f"datasetSha256: {config.dataset} hashes to {found}, the run asks for {expected}; {remedy}"
        raise JobError(ExitCode.BAD_DATA, "DatasetMismatch", message, expected=expected, actual=found)
    examples, eval_examples = read_examples(config.dataset / TRAIN_FILE), read_examples(config.dataset / EVAL_FILE)
    if not examples:
        raise JobError(ExitCode.BAD_DATA, "EmptyDataset", f"{config.dataset / TRAIN_FILE} holds no sample to train on")
    return Inputs(base_sha256, found, manifest, examples, eval_examples)
