"""The registry's record of a version: what it was made of, what it showed, and who asks it. Pure: what was read in, a record out.

    run, base, rows -> version -> Endpoints and experiments
    parent <- run

Names prove nothing: a run tells of a version's rows only where it made these very bytes, and an Endpoint has a version as champion
only where it means this very spec. What nobody said is None, and a shell writes it as unknown.

Belongs here: which objects speak of a version, and what follows of what they say. Does not belong here: whether what they say
agrees (core/lineage.py), reading them and words (cli/version_registry.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import VersionStatusRef
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion, Provenance
from tradewind.api.training_run import TrainingRun
from tradewind.core.endpoint import TERMINAL
from tradewind.core.identity import is_meant, version_sha256

LONGEST_CHAIN: Final = 64
"""Parents that are followed; a chain that is longer, or a circle, is cut and says so."""


class Role(StrEnum):
    """What somebody asks a version as."""

    CHAMPION = "champion"
    FALLBACK = "fallback"
    CANDIDATE = "candidate"
    BASELINE = "baseline"
    BEFORE = "champion before"


@dataclass(frozen=True, slots=True)
class Place:
    """One that names the version.

    Attributes:
        holder: Kind/name.
        same: False: it means another spec that had this name, and whoever has the name now is not asked in its place.
    """

    role: Role
    holder: str
    same: bool = True


class Past(StrEnum):
    """Why a chain of parents ends where it ends."""

    WHOLE = "whole"
    """The oldest one was trained from its base alone."""
    GONE = "gone"
    """An object of the chain does not exist, or may not be read."""
    OTHER = "other"
    """The run of that name made other bytes than the version has."""
    OUTSIDE = "outside"
    """No run here made the oldest one."""
    LONG = "long"
    """It was followed far enough."""


@dataclass(frozen=True, slots=True)
class Known:
    """Objects that may speak of versions, of one namespace; None: they may not be read."""

    versions: Sequence[ModelVersion] = ()
    runs: Sequence[TrainingRun] | None = ()
    endpoints: Sequence[Endpoint] | None = ()
    experiments: Sequence[ABExperiment] | None = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """What is known of a version; None: nobody said it.

    Attributes:
        places: None: Endpoints or experiments may not be read, so that there may be others.
        run: name of the run that the spec or the adapter's card names; None: none does.
        made_here: whether that run made these bytes; None: it does not exist, may not be read, or has not ended.
        rows: of the training data.
        dataset_sha256: of the training data.
        parents: versions that training started from, the nearest first.
        past: why `parents` ends.
        gates: names by whether each was passed, under the key None those that could not be judged; None: none has a result.
        served_sha256: of what the predictor serves, verified by it.
    """

    version: ModelVersion
    places: tuple[Place, ...] | None
    run: str | None
    made_here: bool | None
    base: str | None
    base_revision: str | None
    base_sha256: str | None
    rows: int | None
    dataset_sha256: str | None
    watermark: datetime | None
    parents: tuple[str, ...]
    past: Past
    gates: Mapping[bool | None, tuple[str, ...]] | None
    served_sha256: str | None

    @property
    def reigns(self) -> bool | None:
        """Whether an Endpoint has this very version as champion; None: it is not known."""
        if any(place.role is Role.CHAMPION and place.same for place in self.places or ()):
            return True
        return None if self.places is None else False


def lineages(known: Known) -> tuple[Lineage, ...]:
    """A record of each version, the newest first; those of the same second by name."""
    by_name = sorted(known.versions, key=lambda version: version.name)
    return tuple(lineage_of(version, known) for version in sorted(by_name, key=_born, reverse=True))


def _born(version: ModelVersion) -> float:
    created = version.metadata.creation_timestamp
    return created.timestamp() if created is not None else 0.0


def lineage_of(version: ModelVersion, known: Known) -> Lineage:
    """The record of one."""
    spec, status = version.spec, version.status
    made = status.provenance or Provenance()
    named = _run_name(version)
    run = _run(named, known)
    mine = None if run is None else made_by(version, run)
    told = run.status.dataset if run is not None and mine else None
    base = spec.adapter.base_model if spec.adapter is not None else None
    sha256 = made.dataset_sha256 or (told.sha256 if told else None)
    same_rows = told is not None and told.sha256 is not None and told.sha256 == sha256
    parents, past = _parents(version, known)
    judged = status.evaluation.gates if status.evaluation is not None else ()
    return Lineage(
        version=version,
        places=_places(version, known),
        run=named,
        made_here=mine,
        base=None if base is None else made.base_model or base.uri,
        base_revision=None if base is None else made.base_revision or base.revision or None,
        base_sha256=None if base is None else base.sha256,
        rows=told.rows if told is not None and same_rows else None,
        dataset_sha256=sha256,
        watermark=made.watermark or (told.watermark if told is not None and not parents else None),
        parents=parents,
        past=past,
        gates={state: tuple(gate.name for gate in judged if gate.passed is state) for state in (True, False, None)}
        if judged
        else None,
        served_sha256=status.sha256,
    )


def made_by(version: ModelVersion, run: TrainingRun) -> bool | None:
    """Whether a run made the bytes of a version; None: it has not said what it made."""
    result = run.status.result
    if result is None or result.sha256 is None:
        return None if run.status.completion_time is None else False
    made = {result.sha256, result.merged.sha256 if result.merged is not None else None} - {None}
    return version_sha256(version) in made


def _run_name(version: ModelVersion) -> str | None:
    made, adapter = version.status.provenance, version.spec.adapter
    if adapter is not None and adapter.training_run is not None:
        return adapter.training_run
    return made.training_run.name if made is not None and made.training_run is not None else None


def _run(name: str | None, known: Known) -> TrainingRun | None:
    return next((run for run in known.runs or () if run.name == name), None)


def _parents(version: ModelVersion, known: Known) -> tuple[tuple[str, ...], Past]:
    """Versions that training started from, the nearest first, and why the chain ends."""
    found: list[str] = []
    here: ModelVersion | None = version
    while here is not None:
        name = _run_name(here)
        if name is None:
            return tuple(found), Past.OUTSIDE
        run = _run(name, known)
        if run is None:
            return tuple(found), Past.GONE
        if made_by(here, run) is False:
            return tuple(found), Past.OTHER
        source = run.spec.warm_start_from
        if source is None:
            return tuple(found), Past.WHOLE
        if source in found or source == version.name or len(found) >= LONGEST_CHAIN:
            return tuple(found), Past.LONG
        found.append(source)
        here = next((one for one in known.versions if one.name == source), None)
    return tuple(found), Past.GONE


def _places(version: ModelVersion, known: Known) -> tuple[Place, ...] | None:
    if known.endpoints is None or known.experiments is None:
        return None
    return (*_of_endpoints(version, known.endpoints), *_of_experiments(version, known.experiments))


def _of_endpoints(version: ModelVersion, endpoints: Sequence[Endpoint]) -> Iterator[Place]:
    for endpoint in sorted(endpoints, key=lambda one: one.name):
        status = endpoint.status
        for role, ref in (
            (Role.CHAMPION, status.champion_ref),
            (Role.FALLBACK, status.fallback_ref),
            (Role.BEFORE, status.previous_champion_ref),
        ):
            yield from _place(version, role, f"Endpoint/{endpoint.name}", ref)
        if (
            status.fallback_ref is None and endpoint.spec.fallback == version.name
        ):  # not observed yet: the name is all there is
            yield Place(Role.FALLBACK, f"Endpoint/{endpoint.name}")


def _of_experiments(version: ModelVersion, experiments: Sequence[ABExperiment]) -> Iterator[Place]:
    for experiment in sorted(experiments, key=lambda one: one.name):
        status = experiment.status
        if status.t0 is None or status.phase in TERMINAL:
            continue
        for role, ref in ((Role.CANDIDATE, status.candidate_ref), (Role.BASELINE, status.baseline_ref)):
            yield from _place(version, role, f"ABExperiment/{experiment.name}", ref)


def _place(version: ModelVersion, role: Role, holder: str, ref: VersionStatusRef | None) -> Iterator[Place]:
    if ref is not None and ref.name == version.name:
        yield Place(role, holder, is_meant(version, ref))
