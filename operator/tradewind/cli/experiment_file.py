"""Reading an ABExperiment for the commands that need no cluster.

Belongs here: file to EvidenceSpec. Does not belong here: validation of the whole kind (`tradewind lint`).
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import yaml

from tradewind.trading.evidence import EvidenceSpec, evidence_spec_from_mapping

API_VERSION = "tradewind.dev/v1alpha1"


def read_evidence_spec(path: Path | None, *, max_hold: timedelta | None = None, retest: int = 0) -> EvidenceSpec:
    """EvidenceSpec of the first ABExperiment in a YAML file; the defaults without a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML, holds no ABExperiment, or a field is wrong.
    """
    if path is None:
        return evidence_spec_from_mapping({}, max_hold=max_hold, retest=retest)
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    for document in documents:
        if isinstance(document, Mapping) and document.get("kind") == "ABExperiment":
            if document.get("apiVersion") != API_VERSION:
                raise ValueError(f"{path}: apiVersion {document.get('apiVersion')!r} is unknown; use {API_VERSION}")
            spec = document.get("spec") or {}
            if not isinstance(spec, Mapping):
                raise ValueError(f"{path}: spec: not a mapping; give its fields indented below it")
            try:
                return evidence_spec_from_mapping(spec, max_hold=max_hold, retest=retest)
            except ValueError as error:
                raise ValueError(f"{path}: spec.{error}") from None
    raise ValueError(f"{path}: holds no ABExperiment; give a manifest of kind ABExperiment, apiVersion {API_VERSION}")
