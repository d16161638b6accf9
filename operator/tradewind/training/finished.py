"""A run that has published its adapter is over, whatever happened to its report; unless another run bears its name now.

Belongs here: whether what lies in the output folder is what is asked for. Does not belong here: checkpoints (checkpoint.py).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from tradewind.schema.rules import wire_name
from tradewind.trading.exits import ExitCode
from tradewind.training.artifact import PROVENANCE_FILE, published_sha256
from tradewind.training.config import TrainConfig
from tradewind.training.files import folder_sha256, read_manifest
from tradewind.training.outcome import JobError
from tradewind.training.request import Request, differences, kto_of, settings_of

ADAPTER: Final = "adapter"
MERGED: Final = "merged"
RESULT: Final = "result.json"
_FACTS: Final = ("baseModel", "baseRevision", "baseSha256", "datasetSha256", "method", "objective", "warmStart")


def finished_result(config: TrainConfig) -> dict[str, Any] | None:
    """The result that a finished training of this request reported; None where none has finished.

    What decides the weights is compared: base, dataset, warm start, method, objective and every setting. The base is hashed where the
    request does not pin it, the dataset is known by its hash.

    Raises:
        JobError: exit 64, AlreadyPublished: the folder holds the adapter of another request. It is neither reported as this one's
            nor overwritten, since a ModelVersion may serve it.
    """
    adapter, report = config.output / ADAPTER, config.output / RESULT
    if not (adapter.is_dir() and report.is_file()):
        return None
    earlier: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if earlier["sha256"] != published_sha256(adapter):
        return None
    provenance = json.loads((adapter / PROVENANCE_FILE).read_text(encoding="utf-8"))
    asked = _asked(config, provenance)
    changed = differences(_published(provenance, asked), asked)
    if changed:
        raise JobError(
            ExitCode.BAD_CONFIG,
            "AlreadyPublished",
            f"output: {adapter} holds the adapter of another request under this name: {changed}; give the run another name, or"
            " delete the folder if nothing serves it",
            sha256=earlier["sha256"],
        )
    return earlier


def _asked(config: TrainConfig, provenance: Mapping[str, Any]) -> Request:
    """The request as a provenance states it; a hash that nobody pins and that cannot be taken any more is as it was."""
    base_sha256 = config.base_sha256
    if base_sha256 is None and (config.base / "config.json").is_file():
        base_sha256 = folder_sha256(config.base)
    warm_start = None
    if config.warm_start is not None:
        warm_start = published_sha256(config.warm_start) or config.warm_start.name
    return {
        "baseModel": config.base_uri or config.base.name,
        "baseRevision": config.base_revision,
        "baseSha256": base_sha256 or provenance.get("baseSha256"),
        "datasetSha256": config.dataset_sha256
        or read_manifest(config.dataset).get("sha256")
        or provenance.get("datasetSha256"),
        "method": provenance.get("method") if config.method == "auto" else config.method,
        "objective": config.objective,
        "warmStart": warm_start,
        **settings_of(config.lora, config.hyperparameters, kto_of(config)),
    }


def _published(provenance: Mapping[str, Any], asked: Request) -> Request:
    """The request of a published adapter, in the names of today; a number is the same number however it was written."""
    then = {name: provenance[name] for name in _FACTS if name in provenance}
    settings = provenance["hyperparameters"]
    then |= {f"lora.{wire_name(name)}": value for name, value in provenance["lora"].items()}
    then |= {f"hyperparameters.{wire_name(name)}": value for name, value in settings.items() if name != "extra"}
    then |= {f"hyperparameters.extra.{name}": value for name, value in settings.get("extra", {}).items()}
    then |= {f"kto.{wire_name(name)}": value for name, value in provenance.get("kto", {}).items()}
    return {name: asked[name] if _same_number(value, asked.get(name)) else value for name, value in then.items()}


def _same_number(one: object, other: object) -> bool:
    try:
        return float(str(one)) == float(str(other))
    except ValueError:
        return False
