"""What a training was asked for, field by field: what its checkpoints are held against.

Belongs here: the record that is written into a checkpoint, and what differs between two of them. Does not belong here: files.
A field that a record does not have was not there when it was written: it counts as its default, so that a release that brings a
field restarts nothing. A default that changes restarts nothing either: objects store the value that they were made with.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from pydantic import JsonValue

from tradewind.schema.rules import StrictModel
from tradewind.trading.settings.adapter import Lora
from tradewind.trading.settings.hyperparameters import Hyperparameters
from tradewind.trading.settings.recipe import Kto
from tradewind.training.config import TrainConfig

Request: TypeAlias = Mapping[str, JsonValue]
LAYERS: Final = "lora.layers"  # the layers that were trained, where they are not the names that were asked for

NODES: Final = "numNodes"  # each draws a dropout of its own


def request_of(config: TrainConfig, facts: Request) -> Request:
    """The record of a training: each setting under its name in the manifest, such as `lora.rank`.

    Args:
        config: what the Job was told.
        facts: what else decides the weights: hashes of base and data, the method that was chosen, the learning rate in use.
    """
    return {**facts, **settings_of(config.lora, config.hyperparameters, kto_of(config))}


def differences(then: Request, now: Request) -> str:
    """What differs, such as `hyperparameters.epochs was 3 and is 4`; empty where nothing does."""
    defaults = {NODES: 1, **settings_of(Lora(), Hyperparameters(), Kto())}
    before = {name: defaults[name] for name in now if name in defaults} | dict(then)
    if LAYERS in now:
        before.setdefault(LAYERS, before.get("lora.targetModules"))
    return "; ".join(
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in sorted(before)
        if before.get(name) != now.get(name)
    )


def kto_of(config: TrainConfig) -> Kto:
    """The knobs of kto that decide something: under sft nothing reads them."""
    return Kto() if config.objective == "sft" else config.kto


def settings_of(lora: Lora, hyperparameters: Hyperparameters, kto: Kto) -> dict[str, JsonValue]:
    """Each setting under its name in the manifest, such as `lora.rank`."""
    return _flat("lora", lora) | _flat("hyperparameters", hyperparameters) | _flat("kto", kto)


def _flat(prefix: str, model: StrictModel) -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for name, value in model.model_dump(mode="json", by_alias=True).items():
        inner = {f"{prefix}.{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else None
        flat |= {f"{prefix}.{name}": value} if inner is None else inner
    return flat


def _shown(value: JsonValue) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


_Convert: TypeAlias = Callable[[Any], JsonValue]
_LORA: Final[Mapping[str, _Convert]] = MappingProxyType(
    {"rank": int, "alpha": int, "dropout": float, "target_modules": list, "dora": bool, "rslora": bool}
)
_HYPERPARAMETERS: Final[Mapping[str, _Convert]] = MappingProxyType(
    {"epochs": float, "learning_rate": float}
    | dict.fromkeys(("batch_size", "gradient_accumulation", "warmup_steps", "max_length"), int)
    | dict.fromkeys(("eval_every_steps", "save_every_steps", "seed"), int)
)
_EXTRA: Final[Mapping[str, _Convert]] = MappingProxyType(
    dict.fromkeys(("weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2", "max_too_long_share"), float)
    | dict.fromkeys(("early_stopping_patience", "logging_steps", "max_steps", "threads"), int)
    | dict.fromkeys(("lr_scheduler_type", "gradient_checkpointing"), str)
)


def earlier_fingerprint(config: TrainConfig, facts: Request, watermark: JsonValue) -> str:
    """The hash that checkpoints carried before they carried the record: of every field that there was then, as numbers.

    Args:
        config: what the Job was told.
        facts: as for `request_of`.
        watermark: of the dataset's manifest; it was hashed too.
    """
    settings = config.hyperparameters
    hyperparameters = _numbers(settings, _HYPERPARAMETERS) | {"extra": _numbers(settings.extra, _EXTRA)}
    rate = facts["learningRate"]
    decisive = {name: value for name, value in facts.items() if name != "learningRate"}
    decisive |= {
        "watermark": watermark,
        "lora": _numbers(config.lora, _LORA),
        "hyperparameters": hyperparameters,
    }
    return hashlib.sha256(json.dumps([decisive, rate], sort_keys=True).encode()).hexdigest()


def _numbers(model: StrictModel, names: Mapping[str, _Convert]) -> dict[str, JsonValue]:
    values = {name: getattr(model, name) for name in names}
    return {name: None if value is None else names[name](value) for name, value in values.items()}
