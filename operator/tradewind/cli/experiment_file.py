"""Reading an ABExperiment for the commands that need no cluster.

Belongs here: what a manifest says about its statistic, and what the status of one from a cluster fixes on top. Does not
belong here: the kind itself and its validation (api/).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from pydantic import ValidationError

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.api.common import API_VERSION
from tradewind.api.parse import InvalidSpec, explain, parse
from tradewind.core.evidence import accepts_of, basis_of, lost_counts
from tradewind.schema.durations import parse_duration
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.evidence import Basis, EvidenceSpec, ExperimentRules, LostCounts, Settlement


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """What a recomputation needs of an experiment.

    Attributes:
        spec: levels, durations, policy and guardrails.
        t0: start of the first block, where the status or spec.replay says it.
        decided_at: time of the verdict, where there is one.
        slow_ms: the candidate's latency objective; inf where none is known.
        lost: decisions that are no evidence, as the operator last counted them before its verdict; None: not known.
    """

    spec: EvidenceSpec
    t0: datetime | None = None
    decided_at: datetime | None = None
    slow_ms: float = math.inf
    lost: LostCounts | None = None


def read_experiment(
    path: Path | None,
    *,
    max_hold: timedelta | None = None,
    retest: int | None = None,
    reference_notional: float | None = None,
) -> ExperimentFile:
    """The first ABExperiment in a YAML or JSON file; the defaults without a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML, holds no ABExperiment, or a field is wrong.
    """
    if path is None:
        return ExperimentFile(
            _spec(ExperimentRules(), max_hold, retest or 0, Basis(reference_notional=reference_notional))
        )
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    for document in documents:
        if isinstance(document, Mapping) and document.get("kind") == "ABExperiment":
            try:
                return experiment_of(document, max_hold=max_hold, retest=retest, reference_notional=reference_notional)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path}: holds no ABExperiment; give a manifest of kind ABExperiment, apiVersion {API_VERSION}")


def experiment_of(
    document: Mapping[str, object],
    *,
    max_hold: timedelta | None = None,
    retest: int | None = None,
    reference_notional: float | None = None,
) -> ExperimentFile:
    """What a manifest says. Arguments go before its status, and the status before the spec and the defaults.

    Raises:
        ValueError: a field is wrong; the message names it.
    """
    experiment = parse(ABExperiment, _named(document), strict=True)
    if isinstance(experiment, InvalidSpec):
        raise ValueError(experiment.message)  # noqa: TRY004  bad input is a ValueError
    _demand_readable(document.get("status") or {})
    spec, status = experiment.spec, experiment.status
    if max_hold is None and status.max_hold is not None:
        max_hold = parse_duration(status.max_hold, "status.maxHold")
    if retest is None:
        retest = (status.evidence.retest_number if status.evidence is not None else None) or 0
    basis = basis_of(experiment)
    if reference_notional is not None:
        basis = replace(basis, reference_notional=reference_notional)
    objective = spec.guardrails.latency_objective or status.latency_objective
    return ExperimentFile(
        spec=replace(
            _spec(spec, max_hold, retest, basis, replay=spec.mode is Mode.REPLAY), accepts=accepts_of(experiment)
        ),
        t0=status.t0 or (spec.replay.start_time if spec.replay is not None else None),
        decided_at=status.verdict.time if status.verdict is not None else None,
        slow_ms=as_milliseconds(objective.p99) if objective is not None else math.inf,
        lost=lost_counts(status.evidence),
    )


def _demand_readable(status: object) -> None:
    """A status that cannot be read counts as empty in a cluster; here start, maxHold and retests are read from it.

    Raises:
        ValueError: naming the field.
    """
    try:
        ABExperimentStatus.model_validate(status)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        first["loc"] = ("status", *first["loc"])
        raise ValueError(str(explain(first))) from None


def _named(document: Mapping[str, object]) -> Mapping[str, object]:
    """The manifest with the names that it lacks: a spec can be tried out before there is anything to compare."""
    spec = document.get("spec")
    if spec is not None and not isinstance(spec, Mapping):
        raise ValueError("spec: not a mapping; give its fields indented below it")
    named = {"endpointRef": {"name": "unnamed"}, "candidate": "unnamed", **(spec or {})}
    return {"metadata": {"name": "unnamed"}, **document, "spec": named}


def _spec(
    rules: ExperimentRules, max_hold: timedelta | None, retest: int, basis: Basis, *, replay: bool = False
) -> EvidenceSpec:
    settlement = Settlement() if max_hold is None else Settlement(max_hold)
    return EvidenceSpec(rules=rules, settlement=settlement, retest=retest, replay=replay, basis=basis)
