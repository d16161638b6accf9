"""The base model and its tokenizer from a local folder, and the adapter on top.

Belongs here: transformers and peft as a trainer of one machine needs them. No code of the model's own is run, nothing is
fetched. Does not belong here: the training itself.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tradewind.trading.decision import DecisionInput
from tradewind.trading.exits import ExitCode
from tradewind.trading.prompt import hold, render_completion, render_prompt
from tradewind.trading.settings.adapter import ALL_LINEAR, Lora
from tradewind.trading.settings.hyperparameters import ExtraHyperparameters
from tradewind.training.config import TrainConfig
from tradewind.training.outcome import JobError, bad_config

_logger = logging.getLogger(__name__)

_PROBE_INPUT = DecisionInput(
    market_data={"BTC": {"price": 65432.1, "change_24h": -0.0123}, "note": "跌破支撑位 – é  two spaces"},
    account_state={"balance": 1000, "positions": []},
    recent_history=({"action": "hold", "pnl": -1.25},),
)


@dataclass(frozen=True, slots=True)
class Method:
    """How the adapter is trained, and why. `name` is lora or qlora; `dtype` is that of the frozen weights."""

    name: str
    dtype: torch.dtype
    reason: str


def choose_method(asked: str) -> Method:
    """The method for this machine: a GPU trains bf16 LoRA where it can, a CPU fp32 LoRA; QLoRA is only taken when asked for.

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
    if asked == "qlora":
        return Method("qlora", half, f"asked for: nf4 with double quantisation, computing in {name}")
    why = "asked for" if asked == "lora" else "faster than QLoRA wherever it fits"
    return Method("lora", half, f"{name} LoRA on {torch.cuda.get_device_name()}: {why}")


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, checked: what it decodes is what it was given.

    A byte-level tokenizer.json that is labelled as a SentencePiece class (as published DeepSeek models are) loses spaces in
    that class's hands. The file itself is then loaded without the class.

    Raises:
        JobError: exit 66 where neither way gives the text back; exit 64 without files.
    """
    loaders: tuple[Callable[[], Any], ...] = (
        lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
        lambda: _plain_tokenizer(folder),
    )
    problem = "no tokenizer could be loaded"
    for loader in loaders:
        try:
            tokenizer = loader()
        except (OSError, ValueError, KeyError, ImportError) as error:
            problem = f"{type(error).__name__}: {str(error)[:400]}"
            continue
        changed = _changed_text(tokenizer)
        if changed is None:
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            return tokenizer
        problem = changed
        _logger.warning("%s does not reproduce text: %s", type(tokenizer).__name__, changed)
    raise JobError(
        ExitCode.PREFLIGHT,
        "TokenizerRoundTrip",
        f"base: the tokenizer in {folder} cannot be used: {problem}; use the base model's own tokenizer.json",
    )


def load_model(folder: Path, method: Method) -> Any:
    """The frozen base model, on the GPU where there is one.

    Raises:
        JobError: exit 64 for a folder that holds no loadable model.
    """
    if not any(folder.glob("*.safetensors")):
        raise bad_config(
            "base", f"{folder} holds no *.safetensors: mount a base model there (pickled weights are not loaded)"
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
        quantization["device_map"] = {"": torch.cuda.current_device()}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=method.dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **quantization,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise bad_config("base", f"{folder} does not load: {type(error).__name__}: {str(error)[:600]}") from error
    model.config.use_cache = False
    return model


def with_adapter(model: Any, config: TrainConfig, method: Method) -> Any:
    """The model with a trainable adapter: a fresh one, or the warm start's.

    Raises:
        JobError: exit 64 where the settings do not fit the model or the warm start.
    """
    checkpointing = _wants_gradient_checkpointing(config.hyperparameters.extra)
    if method.name == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if checkpointing:
        # transformers renamed the method in 5.x
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if config.warm_start is not None:
        return _warm_start(model, config.warm_start, config.lora)
    modules = config.lora.target_modules
    try:
        return get_peft_model(
            model,
            LoraConfig(
                task_type=TaskType.CAUSAL_LM,
                r=config.lora.rank,
                lora_alpha=config.lora.alpha,
                lora_dropout=float(config.lora.dropout),
                target_modules=ALL_LINEAR if modules == (ALL_LINEAR,) else list(modules),
                use_dora=config.lora.dora,
                use_rslora=config.lora.rslora,
                bias="none",
            ),
        )
    except ValueError as error:
        raise bad_config(
            "lora.targetModules", f"{str(error)[:400]}; name linear layers of the base or all-linear"
        ) from error


def _warm_start(model: Any, folder: Path, asked: Lora) -> Any:
    if not (folder / "adapter_model.safetensors").is_file():
        raise bad_config("warmStart", f"{folder} holds no adapter_model.safetensors")
    found = LoraConfig.from_pretrained(str(folder))
    modules = ALL_LINEAR if asked.target_modules == (ALL_LINEAR,) else set(asked.target_modules)
    differing = [
        name
        for name, theirs, ours in (
            ("rank", found.r, asked.rank),
            ("alpha", found.lora_alpha, asked.alpha),
            ("dora", found.use_dora, asked.dora),
            ("rslora", found.use_rslora, asked.rslora),
            ("targetModules", found.target_modules, modules),
        )
        if theirs != ours and not (name == "targetModules" and modules == ALL_LINEAR)
    ]
    if differing:
        fields = ", ".join(f"lora.{name}" for name in differing)
        raise bad_config(
            "warmStart", f"its adapter differs in {fields}; set them to the adapter's or leave warmStart out"
        )
    return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def _wants_gradient_checkpointing(extra: ExtraHyperparameters) -> bool:
    if extra.gradient_checkpointing == "auto":
        return torch.cuda.is_available()
    return extra.gradient_checkpointing == "true"


def _changed_text(tokenizer: Any) -> str | None:
    if tokenizer.eos_token_id is None:
        return "it has no end-of-sequence token"
    for text in (render_prompt(_PROBE_INPUT, "BTC"), render_completion(hold("BTC"))):
        back = tokenizer.decode(
            tokenizer(text, add_special_tokens=False)["input_ids"], clean_up_tokenization_spaces=False
        )
        if back != text:
            at = next(
                (i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back))
            )
            return f"{text[max(at - 20, 0) : at + 20]!r} came back as {back[max(at - 20, 0) : at + 20]!r}"
    return None


def _plain_tokenizer(folder: Path) -> Any:
    stated = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {key: stated[key] for key in ("bos_token", "eos_token", "pad_token", "unk_token") if stated.get(key)}
    special = {key: value["content"] if isinstance(value, dict) else value for key, value in names.items()}
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)
