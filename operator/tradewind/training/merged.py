"""The base model with the adapter merged in, for servers that take whole models: weights, tokenizer, card and hashes, by one rename.

Belongs here: merging what was published, and the proof that what lies on the disk answers as base and adapter do. Does not belong
here: the training, and the adapter's own folder (artifact.py).
"""

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel

from tradewind.pretrained.weights import check_adapter, load_base
from tradewind.trading.exits import ExitCode
from tradewind.training.artifact import PROVENANCE_FILE, model_card
from tradewind.training.files import published_folder, write_atomic, write_sums
from tradewind.training.outcome import JobError, as_job_error

TOLERANCE: Final = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}
"""Largest difference of a log-probability that rounding the sum to the base's numbers may make, by their type."""


def publish_merged(
    target: Path, base: Path, adapter: Path, tokenizer: Any, probe: list[int], provenance: Mapping[str, Any]
) -> tuple[str, float]:
    """Write the merged model's folder, in the numbers that the base is stored in.

    Args:
        target: the folder; it exists either complete or not at all.
        base: folder of the base model.
        adapter: folder of the published adapter.
        tokenizer: the one that was trained with.
        probe: tokens on which the merged model is held against base and adapter.
        provenance: of the adapter.

    Returns:
        The artifact's hash and the largest difference of a log-probability on the probe, of tokens that either model gives 1 % or more.

    Raises:
        JobError: exit 68 where memory is too small; exit 66, MergedDiffers: it does not answer as base and adapter do.
    """
    try:
        with as_job_error("base"):
            adapted = PeftModel.from_pretrained(
                load_base(base, dtype="auto")[0], str(adapter), is_trainable=False
            ).eval()
            check_adapter(adapted, adapter)
        expected = _likely(adapted, probe)
        kind = next(adapted.parameters()).dtype
        merged = adapted.merge_and_unload(safe_merge=True)
        with published_folder(target) as draft:
            merged.save_pretrained(draft, safe_serialization=True)
            tokenizer.save_pretrained(draft)
            del adapted, merged  # one model at a time
            gc.collect()
            with as_job_error("output"):
                found = _likely(load_base(draft, dtype="auto")[0].eval(), probe)
            difference = _difference(expected, found)
            if not difference <= TOLERANCE.get(kind, TOLERANCE[torch.bfloat16]):
                message = (
                    f"output.merged: the merged model's log-probabilities differ by {difference:.3g} from those of base and adapter; "
                    "serve the adapter beside its base, and leave output.merged out"
                )
                raise JobError(ExitCode.PREFLIGHT, "MergedDiffers", message)
            said = {
                **provenance,
                "mergedDifference": round(difference, 6),
                "mergedType": str(kind).removeprefix("torch."),
            }
            write_atomic(draft / PROVENANCE_FILE, json.dumps(said, indent=1, sort_keys=True) + "\n")
            write_atomic(
                draft / "README.md", model_card(said, "transformers", "base model with a LoRA adapter merged in")
            )
            return write_sums(draft), difference
    except (torch.OutOfMemoryError, MemoryError) as error:
        message = "output.merged: the base model does not fit into memory to merge it; raise spec.resources.limits.memory, or leave output.merged out"
        raise JobError(ExitCode.OUT_OF_MEMORY, ExitCode.OUT_OF_MEMORY.reason, message) from error


def _likely(model: Any, probe: list[int]) -> torch.Tensor:
    """Log-probabilities [tokens, vocabulary] of a model on the probe."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([probe], device=model.device), use_cache=False).logits[0]
        likely: torch.Tensor = logits.float().log_softmax(-1)
    return likely


def _difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The largest one among tokens of 1 % or more; nan where either is not finite."""
    if expected.shape != found.shape or not bool(expected.isfinite().all() and found.isfinite().all()):
        return float("nan")
    told = torch.maximum(expected, found) >= torch.log(torch.tensor(0.01))
    apart = (expected - found).abs()[told]
    return float(apart.max()) if apart.numel() else 0.0
