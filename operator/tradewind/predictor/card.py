"""What the weights say of their making: of an adapter that a TrainingRun made, its training.json, which its hash covers.

Belongs here: reading it. It is told to whoever asks for the verification; nothing is served by it.
"""

import json
from pathlib import Path
from typing import Final

from pydantic import JsonValue

PROVENANCE_FILE: Final = "training.json"
_TOLD: Final = ("run", "watermark", "datasetSha256", "baseSha256")


def card(folder: Path) -> dict[str, JsonValue]:
    """Run, watermark (the newest moment that the training data know of) and hashes; empty where nothing is said."""
    file = folder / PROVENANCE_FILE
    if not file.is_file():
        return {}
    said = json.loads(file.read_text(encoding="utf-8"))
    return {name: said[name] for name in _TOLD if said.get(name)} if isinstance(said, dict) else {}
