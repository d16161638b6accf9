"""Reading an ABExperiment for the commands that need no cluster.

Belongs here: what a manifest says about its statistic, and what the status of one from a cluster fixes on top. Does not
belong here: validation of the whole kind (`tradewind lint`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml

from tradewind.schema.durations import parse_duration
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.evidence import EvidenceSpec, evidence_spec_from_mapping

API_VERSION = "tradewind.dev/v1alpha1"

Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """What a recomputation needs of an experiment.

    Attributes:
        spec: levels, durations, policy and guardrails.
        t0: start of the first block, where the status or spec.replay says it.
        decided_at: time of the verdict, where there is one.
        slow_ms: the candidate's latency objective; inf where none is known.
    """

    spec: EvidenceSpec
    t0: datetime | None = None
    decided_at: datetime | None = None
    slow_ms: float = math.inf


def read_experiment(
    path: Path | None, *, max_hold: timedelta | None = None, retest: int | None = None
) -> ExperimentFile:
    """The first ABExperiment in a YAML or JSON file; the defaults without a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML, holds no ABExperiment, or a field is wrong.
    """
    if path is None:
        return ExperimentFile(evidence_spec_from_mapping({}, max_hold=max_hold, retest=retest or 0))
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    for document in documents:
        if isinstance(document, Mapping) and document.get("kind") == "ABExperiment":
            if document.get("apiVersion") != API_VERSION:
                raise ValueError(f"{path}: apiVersion {document.get('apiVersion')!r} is unknown; use {API_VERSION}")
            try:
                return experiment_of(document, max_hold=max_hold, retest=retest)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path}: holds no ABExperiment; give a manifest of kind ABExperiment, apiVersion {API_VERSION}")


def experiment_of(
    document: Document, *, max_hold: timedelta | None = None, retest: int | None = None
) -> ExperimentFile:
    """What a manifest says. Arguments go before its status, and the status before the spec and the defaults.

    Raises:
        ValueError: a field is wrong; the message names it.
    """
    spec, status = _section(document, "spec"), _section(document, "status")
    if max_hold is None and status.get("maxHold") is not None:
        max_hold = parse_duration(str(status["maxHold"]), "status.maxHold")
    if retest is None:
        retest = _retest(_section(status, "evidence", "status."))
    try:
        found = evidence_spec_from_mapping(spec, max_hold=max_hold, retest=retest)
    except ValueError as error:
        raise ValueError(f"spec.{error}") from None
    rails, replay = _section(spec, "guardrails", "spec."), _section(spec, "replay", "spec.")
    objective = _section(rails, "latencyObjective", "spec.guardrails.") or _section(
        status, "latencyObjective", "status."
    )
    starts = ("status.t0", status.get("t0")), ("spec.replay.startTime", replay.get("startTime"))
    verdict = _section(status, "verdict", "status.")
    return ExperimentFile(
        spec=found,
        t0=next((_time(value, name) for name, value in starts if value is not None), None),
        decided_at=_time(verdict["time"], "status.verdict.time") if verdict.get("time") is not None else None,
        slow_ms=as_milliseconds(str(objective.get("p99", "100ms"))) if objective else math.inf,
    )


def _section(parent: Document, name: str, prefix: str = "") -> Document:
    section = parent.get(name)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ValueError(f"{prefix}{name}: not a mapping; give its fields indented below it")  # noqa: TRY004  bad input is a ValueError
    return section


def _retest(evidence: Document) -> int:
    number = evidence.get("retestNumber", 0)
    if not isinstance(number, int):
        raise ValueError(f"status.evidence.retestNumber: {number!r} is not a whole number")  # noqa: TRY004  as above
    return number


def _time(value: object, name: str) -> datetime:
    """A time that YAML has read already, or its text."""
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{name}: {value!r} is not a time; write ISO 8601, such as 2026-01-01T00:00:00Z") from None
