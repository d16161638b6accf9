"""The base model with the adapter merged in, for servers that take whole models: weights, tokenizer, card and hashes, by one rename.

Belongs here: merging what was published, and the proof that what lies on the disk answers as base and adapter do. Does not belong
here: the training, and the adapter's own folder (artifact.py).
"""

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from tradewind.pretrained.agreement import difference as difference_of
from tradewind.pretrained.agreement import log_probabilities, tolerance
from tradewind.pretrained.weights import check_adapter, load_base
from tradewind.trading.artifact import PROBE_FILE
from tradewind.trading.exits import ExitCode
from tradewind.training.artifact import PROVENANCE_FILE, model_card
from tradewind.training.files import published_folder, write_atomic, write_sums
from tradewind.training.outcome import JobError, as_job_error


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
        The artifact's hash and the largest difference of a log-probability on the probe, of tokens that either model finds
        likeliest or gives 1 % or more.

    Raises:
        JobError: exit 68 where memory is too small; exit 66, MergedDiffers: it does not answer as base and adapter do.
    """
    try:
        with as_job_error("base"):
            adapted = PeftModel.from_pretrained(
                load_base(base, dtype="auto")[0], str(adapter), is_trainable=False
            ).eval()
            check_adapter(adapted, adapter)
        expected = log_probabilities(adapted, probe)
        kind = next(adapted.parameters()).dtype
        merged = adapted.merge_and_unload(safe_merge=True)
        with published_folder(target) as draft:
            merged.save_pretrained(draft, safe_serialization=True)
            tokenizer.save_pretrained(draft)
            del adapted, merged  # one model at a time
            gc.collect()
            with as_job_error("output"):
                found = log_probabilities(load_base(draft, dtype="auto")[0].eval(), probe)
            difference = difference_of(expected, found)
            if not difference <= tolerance(kind):
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
            if (adapter / PROBE_FILE).is_file():
                write_atomic(draft / PROBE_FILE, (adapter / PROBE_FILE).read_text(encoding="utf-8"))
            return write_sums(draft), difference
    except (torch.OutOfMemoryError, MemoryError) as error:
        message = "output.merged: the base model does not fit into memory to merge it; raise spec.resources.limits.memory, or leave output.merged out"
        raise JobError(ExitCode.OUT_OF_MEMORY, ExitCode.OUT_OF_MEMORY.reason, message) from error
