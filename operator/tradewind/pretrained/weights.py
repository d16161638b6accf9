"""Weights that are there: what a file lacks is not made up, what it has too much of is not left out.

transformers and peft fill what is missing with random numbers and say so in a log. Belongs here: loading a base, checking an
adapter against it. Does not belong here: devices, and what is done with the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tradewind.pretrained.fault import UnfitError, listed, unfit_config
from tradewind.pretrained.files import check_files, tensor_names
from tradewind.trading.exits import ExitCode

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_COPY_BOTH: Final = "its config.json and its weights are not of one model: copy both again"


def load_base(folder: Path, *, attention: str = "auto", **settings: Any) -> tuple[Any, str]:
    """A causal language model from a local folder, with the attention that it has: sdpa, or eager where there is no sdpa.

    Args:
        folder: safetensors and a config; no code of its own is run.
        attention: auto as above, or sdpa or eager.
        settings: further ones for `from_pretrained`, such as `dtype`.

    Returns:
        The model and the name of its attention.

    Raises:
        UnfitError: exit 64 for a model that transformers does not know or that has not the attention; exit 65 for files that are
            broken or are another model's.
        OSError, ValueError, RuntimeError, KeyError, ImportError: from transformers, for what it cannot load.
    """
    check_files(folder)
    _check_known(folder)
    if attention == "eager":
        return _load(folder, "eager", settings), "eager"
    try:
        return _load(folder, "sdpa", settings), "sdpa"
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        if attention == "sdpa":
            raise unfit_config("attention: this model has no sdpa; use auto or eager") from error
    return _load(folder, "eager", settings), "eager"


def check_adapter(model: Any, folder: Path) -> None:
    """Whether an adapter's file has every tensor of the adapter on a model, and no other.

    Args:
        model: a PEFT model with that adapter on it.
        folder: the adapter's.

    Raises:
        UnfitError: exit 65, AdapterIncomplete.
    """
    from peft import get_peft_model_state_dict

    found = tensor_names(folder / ADAPTER_WEIGHTS)
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    beside = {f"base_model.model.{name}" for name in model.get_base_model().state_dict()}
    _refuse(
        "AdapterIncomplete",
        f"the adapter in {folder}",
        expected - found,
        found - expected - beside,
        "it was trained on another base, or was cut: use the adapter and the base that belong together",
    )


def _check_known(folder: Path) -> None:
    """Whether there is a causal language model of this kind in transformers itself."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise unfit_config(f"{folder} has no config.json: mount a model there, with its configuration")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, ImportError, OSError) as error:
        said = str(error).strip().splitlines()
        raise unfit_config(
            f"transformers does not know the model in {folder}: {said[0][:300] if said else type(error).__name__}; choose a base of a"
            " kind that this release knows, without code of its own"
        ) from error
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise unfit_config(
            f"a {config.model_type} model in {folder} is no causal language model; choose a base that writes text token by token"
        )


def _load(folder: Path, attention: str, settings: Mapping[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        attn_implementation=attention,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, by name
        **settings,
    )
    other = {str(entry[0]) for entry in report["mismatched_keys"]}
    if other:
        message = f"the base model in {folder} has {len(other)} tensors of other shapes ({listed(other)}); {_COPY_BOTH}"
        raise UnfitError(ExitCode.BAD_DATA, "BaseIncomplete", message)
    _refuse(
        "BaseIncomplete",
        f"the base model in {folder}",
        set(report["missing_keys"]),
        set(report["unexpected_keys"]),
        _COPY_BOTH,
    )
    return model


def _refuse(reason: str, what: str, missing: set[str], unexpected: set[str], remedy: str) -> None:
    said = [
        f"{word} {len(names)} tensors ({listed(names)})"
        for word, names in (("lacks", missing), ("has too many:", unexpected))
        if names
    ]
    if said:
        raise UnfitError(ExitCode.BAD_DATA, reason, f"{what} {' and '.join(said)}; {remedy}")
