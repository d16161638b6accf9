"""The published adapter: weights, tokenizer, model card, hashes, by one rename.

Belongs here: what lies in the folder. The folder is a function of what was trained: no times, attempts or paths, so that a run
that was killed and resumed publishes the same bytes. Does not belong here: training.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tradewind.pretrained.weights import ADAPTER_WEIGHTS
from tradewind.trading.artifact import PROBE_FILE, SUMS_FILE, artifact_sha256, sums_text
from tradewind.trading.exits import ExitCode
from tradewind.training.files import folder_hashes, published_folder, write_atomic, write_sums
from tradewind.training.outcome import JobError

PROVENANCE_FILE: Final = "training.json"
_AIMS: Final = {
    "sft": "Imitates logged decisions that turned out well.",
    "kto": "Learned to prefer logged decisions that turned out well to ones that turned out badly.",
    "sft-then-kto": "Imitates logged decisions that turned out well, and then learned to avoid ones that turned out badly.",
}


def publish_adapter(target: Path, model: Any, tokenizer: Any, provenance: Mapping[str, Any], probe: str = "") -> str:
    """Write the adapter's folder and return the artifact's hash.

    Args:
        target: the folder; it exists either complete or not at all.
        model: a PEFT model; only the adapter is written.
        tokenizer: the one that passed the round trip, so that the server uses the very same.
        provenance: where the weights come from; becomes training.json and the model card.
        probe: questions that go with the weights, lines of JSON; empty: none do.
    """
    settings = model.peft_config[model.active_adapter]
    settings.base_model_name_or_path = provenance["baseModel"]
    settings.revision = provenance["baseRevision"] or None
    with published_folder(target) as draft:
        model.save_pretrained(draft, safe_serialization=True, save_embedding_layers=False)
        _read_back(draft / ADAPTER_WEIGHTS, model)
        _sort_sets(draft / "adapter_config.json")
        tokenizer.save_pretrained(draft)
        write_atomic(draft / PROVENANCE_FILE, json.dumps(provenance, indent=1, sort_keys=True) + "\n")
        write_atomic(draft / "README.md", model_card(provenance, "peft", "LoRA adapter"))
        if probe:
            write_atomic(draft / PROBE_FILE, probe)
        return write_sums(draft)


def published_sha256(folder: Path) -> str | None:
    """Hash of a published adapter whose files are what its SHA256SUMS says, or None."""
    sums = folder / SUMS_FILE
    if not sums.is_file():
        return None
    hashes = folder_hashes(folder)
    return artifact_sha256(hashes) if sums_text(hashes) == sums.read_text(encoding="utf-8") else None


def _read_back(file: Path, model: Any) -> None:
    """What lies on the disk is what was trained: every tensor, bit for bit, and finite."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    trained = get_peft_model_state_dict(model, save_embedding_layers=False)
    written = load_file(file)
    for name in sorted({*trained, *written}):
        if name not in trained or name not in written or not torch.equal(written[name], trained[name].detach().cpu()):
            message = (
                f"output: {name} of {file.name} is not what was trained: the volume does not keep what is written to it"
            )
            raise JobError(ExitCode.BAD_DATA, "PublishedFileDamaged", message)
        if not bool(written[name].isfinite().all()):
            raise JobError(ExitCode.DIVERGED, ExitCode.DIVERGED.reason, f"{name} of the adapter is not finite")


def _sort_sets(config: Path) -> None:
    """Peft writes sets of module names in the order of this process's hash seed."""
    settings: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    for key, value in settings.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            settings[key] = sorted(value)
    write_atomic(config, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def model_card(provenance: Mapping[str, Any], library: str, what: str) -> str:
    """The README of an artifact.

    Args:
        provenance: where the weights come from.
        library: what loads them.
        what: they are, in words.
    """

    def text(value: Any) -> str:
        return f"`{json.dumps(value, sort_keys=True)}`" if isinstance(value, dict | list) else str(value)

    rows = "\n".join(f"| {key} | {text(value)} |" for key, value in sorted(provenance.items()))
    return (
        f"---\nlibrary_name: {library}\nbase_model: {json.dumps(provenance['baseModel'])}\n---\n"
        f"# Trading decisions, {what}\n\n"
        f"{_AIMS[provenance['objective']]} It was not tested on decisions later than its watermark, and nothing\n"
        "here says that it earns money: that is what the A/B test is for.\n\n"
        f"| | |\n| --- | --- |\n{rows}\n"
    )
