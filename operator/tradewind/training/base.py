"""The base model and its tokenizer from a local folder, and the adapter on top.

Belongs here: transformers and peft as a trainer of one machine needs them. No code of the model's own is run, nothing is
fetched. Does not belong here: the training itself.
"""

import json
import logging
import math
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open

from tradewind.pretrained.fault import listed
from tradewind.pretrained.files import check_files
from tradewind.pretrained.servable import check_servable
from tradewind.pretrained.weights import ADAPTER_WEIGHTS, check_adapter, load_base
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.adapter import ALL_LINEAR, Lora
from tradewind.training.artifact import PROVENANCE_FILE
from tradewind.training.config import TrainConfig
from tradewind.training.dropout import quicken_dropout
from tradewind.training.outcome import JobError, as_job_error, bad_config
from tradewind.training.planner import gigabytes, needs_quantisation
from tradewind.training.targets import Targets, resolve_targets

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """How the adapter is trained, and why. `name` is lora or qlora; `dtype` is that of the frozen weights."""

    name: str
    dtype: torch.dtype
    reason: str


def choose_method(asked: str, *, no_room: str = "") -> Method:
    """The method for this machine: a GPU trains bf16 LoRA where it can, a CPU fp32 LoRA.

    Args:
        asked: auto, lora or qlora.
        no_room: why LoRA on half-precision weights does not fit the GPU, which is when auto takes QLoRA; empty: it may.

    Raises:
        JobError: exit 64 for qlora without a CUDA GPU.
    """
    if not torch.cuda.is_available():
        if asked == "qlora":
            raise bad_config(
                "method", "qlora needs a CUDA GPU and this node has none; use lora or auto, or request a GPU"
            )
        return Method("lora", torch.float32, "no CUDA GPU: float32 LoRA on the CPU")
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    name = str(half).removeprefix("torch.")
    if asked == "qlora" or (asked == "auto" and no_room):
        why = "asked for" if asked == "qlora" else no_room
        return Method("qlora", half, f"nf4 with double quantisation, computing in {name}: {why}")
    why = "asked for" if asked == "lora" else "faster than QLoRA wherever it fits"
    return Method("lora", half, f"{name} LoRA on {torch.cuda.get_device_name()}: {why}")


def lack_of_room(folder: Path, *, shared_by: int = 1) -> str:
    """Why weights of two bytes do not fit this machine's GPU; empty where they do, or there is none.

    Args:
        folder: the base's.
        shared_by: machines that can share it out among them.
    """
    if not torch.cuda.is_available():
        return ""
    parameters, gpu_bytes = parameters_of(folder), torch.cuda.get_device_properties(0).total_memory
    if not needs_quantisation(-(-parameters // shared_by), gpu_bytes):
        return ""
    shares = f", in {shared_by} shares" if shared_by > 1 else ""
    return f"{parameters:.3g} weights of two bytes{shares} leave no room on a GPU of {gigabytes(gpu_bytes)}"


def parameters_of(folder: Path) -> int:
    """Numbers in a folder's safetensors, from their headers alone; whoever loads a file that has none says what is wrong with it."""
    count = 0
    for file in folder.glob("*.safetensors"):
        with suppress(SafetensorError), safe_open(file, framework="pt") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


def load_model(folder: Path, method: Method, tokenizer: Any, *, to_share: bool = False) -> tuple[Any, str]:
    """The frozen base model, on the GPU where there is one, and the name of its attention.

    Args:
        folder: the base's.
        method: how it is trained.
        tokenizer: the base's.
        to_share: whether it is shared out after this: it then stays on the CPU, and weights that have the numbers of the file are not
            read before they are needed.

    Raises:
        JobError: exit 64 for a folder that holds no loadable model, or one that a server would refuse; exit 65 for files that
            are broken or not of one model.
    """
    if not any(folder.glob("*.safetensors")):
        raise bad_config(
            "base", f"{folder} holds no *.safetensors: mount a base model there (pickled weights are not loaded)"
        )
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    if stated and to_share:
        raise bad_config(
            "strategy", f"fsdp shares out plain weights and those in {folder} are quantised: set it to ddp"
        )
    if stated and not torch.cuda.is_available():
        kind = stated.get("quant_method", "quantised") if isinstance(stated, dict) else "quantised"
        raise bad_config(
            "base",
            f"{folder} holds {kind} weights and this node has no CUDA GPU: request a GPU or mount the base unquantised",
        )
    quantization: dict[str, Any] = {}
    if method.name == "qlora":
        from transformers import BitsAndBytesConfig

        quantization["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=method.dtype,
        )
    if torch.cuda.is_available() and not to_share:
        quantization["device_map"] = {"": torch.cuda.current_device()}
    try:
        with as_job_error("base"):
            model, attention = load_base(folder, dtype=method.dtype, **quantization)
            check_servable(model, tokenizer)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise bad_config("base", f"{folder} does not load: {type(error).__name__}: {str(error)[:600]}") from error
    model.config.use_cache = False
    return model, attention


def with_adapter(model: Any, config: TrainConfig, method: Method, base_sha256: str = "") -> tuple[Any, Targets]:
    """The model with a trainable adapter, a fresh one or the warm start's, and the layers that have it.

    Args:
        model: the base.
        config: what the Job was told.
        method: how it is trained.
        base_sha256: hash of the base's folder; a warm start that was trained on another is refused. Empty: not asked.

    Raises:
        JobError: exit 64 where the settings do not fit the model or the warm start; exit 65 for a warm start that is not whole.
    """
    targets = resolve_targets(model, config.lora.target_modules)
    if method.name == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if config.warm_start is not None:
        warm = _warm_start(model, config.warm_start, config.lora, targets, base_sha256)
        quicken_dropout(warm)
        return warm, targets
    try:
        adapted = get_peft_model(
            model,
            LoraConfig(
                task_type=TaskType.CAUSAL_LM,
                r=config.lora.rank,
                lora_alpha=config.lora.alpha,
                lora_dropout=float(config.lora.dropout),
                target_modules=ALL_LINEAR if targets.modules == (ALL_LINEAR,) else list(targets.modules),
                exclude_modules=targets.exclude,
                use_dora=config.lora.dora,
                use_rslora=config.lora.rslora,
                bias="none",
            ),
        )
    except ValueError as error:
        raise bad_config(
            "lora.targetModules", f"{str(error)[:400]}; name linear layers of the base or all-linear"
        ) from error
    _refuse_other_layers(adapted, targets, "lora.targetModules", "name linear layers of the base or all-linear")
    quicken_dropout(adapted)
    return adapted, targets


def trainable_share(model: Any) -> float:
    """Share of the parameters that are trained, 0 to 1."""
    trainable, total = model.get_nb_trainable_parameters()
    return float(trainable / total)


def _warm_start(model: Any, folder: Path, asked: Lora, targets: Targets, base_sha256: str) -> Any:
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise bad_config("warmStart", f"{folder} holds no {ADAPTER_WEIGHTS}")
    provenance = warm_start_provenance(folder)
    theirs = provenance.get("baseSha256")
    if base_sha256 and theirs not in (None, base_sha256):
        raise JobError(
            ExitCode.BAD_DATA,
            "WarmStartMismatch",
            f"warmStart: {folder} was trained on a base that hashes to {theirs}, this one hashes to {base_sha256}; choose an"
            " adapter of this base or leave warmStart out",
        )
    found = LoraConfig.from_pretrained(str(folder))
    differing = [
        name
        for name, theirs, ours in (
            ("rank", found.r, asked.rank),
            ("alpha", found.lora_alpha, asked.alpha),
            ("dora", found.use_dora, asked.dora),
            ("rslora", found.use_rslora, asked.rslora),
        )
        if theirs != ours
    ]
    if differing:
        fields = ", ".join(f"lora.{name}" for name in differing)
        raise bad_config(
            "warmStart", f"its adapter differs in {fields}; set them to the adapter's or leave warmStart out"
        )
    found.lora_dropout = float(asked.dropout)  # of the training that is asked for, not of its parent's
    with as_job_error("warmStart"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below, by name
        check_files(folder)
        try:
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=True, config=found)
        except (ValueError, RuntimeError, KeyError) as error:
            message = f"{folder} does not fit this base: {type(error).__name__}: {str(error)[:400]}"
            raise bad_config("warmStart", f"{message}; choose an adapter of this base or leave it out") from error
        check_adapter(adapted, folder)
    remedy = "name the adapter's layers in lora.targetModules or leave warmStart out"
    _refuse_other_layers(adapted, targets, "warmStart", remedy)
    return adapted


def warm_start_provenance(folder: Path) -> dict[str, Any]:
    """What a warm start's own training says of itself; empty where it was not made here.

    Raises:
        JobError: exit 65 for files that were cut.
    """
    with as_job_error("warmStart"):
        check_files(folder)
    file = folder / PROVENANCE_FILE
    provenance: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return provenance


def _refuse_other_layers(adapted: Any, targets: Targets, field: str, remedy: str) -> None:
    """The layers that peft gave an adapter are the ones that were resolved, all of them and no other."""
    prefix = "base_model.model."
    given = {
        name.removeprefix(prefix)
        for name, module in adapted.named_modules()
        if isinstance(module, LoraLayer) and "default" in {*module.lora_A, *module.lora_embedding_A}
    }
    wanted = set(targets.names)
    if given != wanted:
        said = "; ".join(
            f"{words} {listed(names)}"
            for words, names in (("no adapter on", wanted - given), ("an adapter on", given - wanted))
            if names
        )
        raise bad_config(field, f"not the layers that were asked for: {said}; {remedy}")
