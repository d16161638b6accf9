"""The demo's manifests, and how they are filled in."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
SCRIPTS: Final = ("demo/bars.py", "demo/base_model.py", "workshop/tiny_llama.py")  # where base-model.yaml puts them
MANIFESTS: Final = Path(__file__).parent / "manifests"


def render(manifest: str, values: Mapping[str, str]) -> str:
    """Text of one of demo/manifests with its values.

    Raises:
        KeyError: the manifest names a value that is not given.
    """
    return Template((MANIFESTS / manifest).read_text(encoding="utf-8")).substitute(values)


def base_model_scripts() -> dict[str, Any]:
    """The ConfigMap from which base-model.yaml runs: the scripts come from the checkout."""
    data = {Path(name).name: (ROOT / name).read_text(encoding="utf-8") for name in SCRIPTS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "base-model-scripts"}, "data": data}
