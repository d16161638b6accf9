"""An adapter on its base: of a kind that is served as it was trained, and merged only where the sum answers as the two do.

Belongs here: what of peft is taken, and the proof. Does not belong here: whether these are the pinned files, and whether the base is
the one that it was trained on (artifact.py).
"""

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from tradewind.predictor.failure import StartError
from tradewind.pretrained.agreement import difference, log_probabilities, tolerance
from tradewind.pretrained.fault import UnfitError, unfit_config
from tradewind.pretrained.files import check_files
from tradewind.pretrained.weights import ADAPTER_WEIGHTS, check_adapter
from tradewind.trading.exits import ExitCode

CONFIG_FILE: Final = "adapter_config.json"
SERVED: Final = ("LORA", "LOHA", "LOKR", "IA3")
"""peft's kinds that change weights of layers in place. Others put tokens before the prompt, which the server's own passes have not."""
_logger = logging.getLogger(__name__)


def with_adapter(model: Any, adapter: Path, *, merge: bool, probe: list[int]) -> Any:
    """A base with an adapter, merged or beside it.

    Args:
        model: the base, on its device.
        adapter: folder of the adapter.
        merge: fold it into the weights; the two are then held against their sum.
        probe: tokens of one prompt, on which they are.

    Raises:
        UnfitError: exit 64 for an adapter of another kind or without safetensors; exit 65, AdapterIncomplete, for one that does
            not fit the base.
        StartError: exit 65, MergedDiffers.
    """
    from peft import PeftModel

    check_files(adapter)
    _check_kind(adapter)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below, by name
        try:
            adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False).eval()
        except (RuntimeError, ValueError, KeyError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UnfitError(
                ExitCode.BAD_DATA,
                "AdapterIncomplete",
                f"the adapter in {adapter} does not fit the base: {type(error).__name__}: {str(error)[:600]}; use the adapter and the"
                " base that belong together",
            ) from error
    check_adapter(adapted, adapter)
    if not merge:
        return adapted.get_base_model()
    expected = log_probabilities(adapted, probe)
    _untie(adapted.get_base_model())
    merged = adapted.merge_and_unload()
    _compare(expected, log_probabilities(merged, probe), merged.dtype)
    return merged


def _check_kind(adapter: Path) -> None:
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise unfit_config(f"the adapter has no {ADAPTER_WEIGHTS}: pickled weights are not loaded, convert them")
    if not (adapter / CONFIG_FILE).is_file():
        raise unfit_config(f"the adapter has no {CONFIG_FILE}: publish it with the one that it was saved with")
    stated: Mapping[str, Any] = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    kind = str(stated.get("peft_type"))
    if kind not in SERVED:
        raise unfit_config(
            f"the adapter is a {kind} adapter, and what it adds to a prompt would be left out; served are {', '.join(SERVED)}: train"
            " one of these"
        )
    if stated.get("alora_invocation_tokens"):
        raise unfit_config(
            "the adapter is an activated LoRA (alora_invocation_tokens), which answers by its base up to these tokens and would be"
            " left out; train a LoRA without them"
        )


def _untie(base: Any) -> None:
    """Give the head weights of its own where it shares the embedding's and an adapter changes one of the two alone."""
    inner, outer = base.get_input_embeddings(), base.get_output_embeddings()
    if outer is None:
        return
    head = getattr(outer, "base_layer", outer)
    if (head is outer and not hasattr(inner, "base_layer")) or head.weight is not getattr(
        inner, "base_layer", inner
    ).weight:
        return
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    base.config.tie_word_embeddings = False
    _logger.info(
        "the head has weights of its own now: the base ties them to the embedding, and the adapter changes one"
    )


def _compare(expected: torch.Tensor, found: torch.Tensor, kind: torch.dtype) -> None:
    """Refuse a sum that answers otherwise. Where base and adapter give no numbers, the warm-up says so."""
    if not bool(expected.isfinite().all()):
        return
    apart, most = difference(expected, found), tolerance(kind)
    if apart <= most:
        return
    name = str(kind).removeprefix("torch.")
    raise StartError(
        ExitCode.BAD_DATA,
        "MergedDiffers",
        f"base and adapter merged answer otherwise than side by side: log-probabilities differ by {apart:.3g} on a prompt, rounding to"
        f" {name} explains {most:.3g}; serve it with serving.merge: false (--merge false)",
    )
