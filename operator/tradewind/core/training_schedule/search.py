"""Which setting the next run of a schedule has.

Runs of other weeks were trained and evaluated on other rows, so their losses do not compare. What compares better is the gain: the
share of the base model's loss on the same rows that the adapter took away. The setting with the highest mean gain among the last
runs is used again; now and then, drawn by a hash of the schedule and the time, one that was tried least.

Belongs here: the choice and the record that it is made from. Does not belong here: when runs are due (times.py).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from statistics import fmean
from typing import Any, Final

from tradewind.api.search import MOST_TRIALS, BestSetting, Search, SearchStatus, Trial
from tradewind.api.training_run import TrainingRun, TrainingRunSpec, TrainingSource
from tradewind.api.training_run_status import TrainingRunPhase
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.recipe import Recipe

Settings = Mapping[str, str | int]
"""Values by the names of `SearchSpace`, in the manifest's spelling."""

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "learningRate": ("hyperparameters", "learningRate"),
    "epochs": ("hyperparameters", "epochs"),
    "warmupSteps": ("hyperparameters", "warmupSteps"),
    "weightDecay": ("hyperparameters", "extra", "weight_decay"),
    "neftuneNoiseAlpha": ("hyperparameters", "extra", "neftune_noise_alpha"),
    "rank": ("lora", "rank"),
    "alpha": ("lora", "alpha"),
    "dropout": ("lora", "dropout"),
}
"""Where a knob is in a run's spec."""
_DECIDES: Final = {*Recipe.model_fields, *TrainingSource.model_fields} - {"output", "checkpoint"}
_ITS_FAULT: Final = (ExitCode.DIVERGED.reason, ExitCode.OUT_OF_MEMORY.reason)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The spec of the next run, and in words what it tries; "" where nothing is searched."""

    spec: dict[str, Any]
    words: str = ""


def choose(schedule: TrainingSchedule, due: datetime) -> Chosen:
    """The run that is due at a time. The same schedule, record and time choose the same."""
    template, search = schedule.spec.template.spec, schedule.spec.search
    spec = template.to_manifest()
    if search is None:
        return Chosen(spec)
    trials = _window(search, _template_sha256(template, search), _stored(schedule))
    settings, why = _chosen(search, template, trials, f"{schedule.metadata.uid}/{due.isoformat()}")
    for name, value in settings.items():
        part, last = _place(spec, name)
        part[last] = value
    return Chosen(spec, f"{words_of(settings)}: {why}")


def searched(schedule: TrainingSchedule, runs: Iterable[TrainingRun]) -> SearchStatus | None:
    """The record with the runs that have ended since."""
    search = schedule.spec.search
    if search is None:
        return None
    trials = _record(schedule, runs)
    best = _best(_window(search, _template_sha256(schedule.spec.template.spec, search), trials))
    return SearchStatus(trials=trials, best=best)


def unrecorded(schedule: TrainingSchedule, runs: Iterable[TrainingRun]) -> frozenset[str]:
    """Runs that have ended and are not in the stored record yet: until they are, they must not be deleted."""
    if schedule.spec.search is None:
        return frozenset()
    return frozenset(trial.run for trial in _record(schedule, runs)) - {trial.run for trial in _stored(schedule)}


def words_of(settings: Mapping[str, object]) -> str:
    """A setting in words: `learningRate 0.0002, rank 16`."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _chosen(search: Search, template: TrainingRunSpec, trials: tuple[Trial, ...], draw: str) -> tuple[Settings, str]:
    space = list(_settings(search))
    drawn = hashlib.sha256(draw.encode()).digest()
    best = _best(trials)
    if best is None:
        own = _of_spec(template, search)
        first = next((each for each in space if _as_text(each) == own), space[0])
        if not trials:
            return first, "the first, nothing was measured yet"
        return _least_tried(space, trials, drawn), "nothing has gained yet"
    if int.from_bytes(drawn[:8]) / 2**64 < float(search.explore):
        return _least_tried(space, trials, drawn), "tried least of late"
    chosen = next(each for each in space if _as_text(each) == best.settings)
    of = "last run" if len(trials) == 1 else f"last {len(trials)} runs"
    return chosen, f"best of the {of}, mean gain {best.gain:.4f} of {best.runs}"


def _least_tried(space: list[Settings], trials: tuple[Trial, ...], drawn: bytes) -> Settings:
    def order(settings: Settings) -> tuple[int, bytes]:
        text = _as_text(settings)
        tried = sum(trial.settings == text for trial in trials)
        return tried, hashlib.sha256(drawn + json.dumps(text).encode()).digest()

    return min(space, key=order)


def _best(trials: Iterable[Trial]) -> BestSetting | None:
    """The highest mean gain, above 0, among settings of which no run failed by its own fault; the newest of equal ones."""
    by_setting: dict[str, list[Trial]] = {}
    for trial in trials:
        by_setting.setdefault(json.dumps(trial.settings, sort_keys=True), []).append(trial)
    found = None
    for group in by_setting.values():
        gains = [trial.gain for trial in group if trial.gain is not None]
        if len(gains) < len(group):
            continue
        mean = fmean(gains)
        if mean <= 0:
            continue
        if found is None or found.gain is None or mean >= found.gain:
            found = BestSetting(settings=group[0].settings, gain=round(mean, 6), runs=len(group))
    return found


def _stored(schedule: TrainingSchedule) -> tuple[Trial, ...]:
    return schedule.status.search.trials if schedule.status.search is not None else ()


def _record(schedule: TrainingSchedule, runs: Iterable[TrainingRun]) -> tuple[Trial, ...]:
    """The newest trials, of the stored record and of runs; one that has fallen out of it does not come in again."""
    stored = _stored(schedule)
    names = {trial.run for trial in stored}
    ended = _trials(schedule, (run for run in runs if run.name not in names))
    ordered = sorted((*stored, *ended), key=lambda trial: trial.time.timestamp() if trial.time is not None else 0.0)
    return tuple(ordered[-MOST_TRIALS:])


def _window(search: Search, template: str, trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """The newest runs that compare: of this template, and with settings that are still in the space."""
    space = [_as_text(settings) for settings in _settings(search)]
    comparable = [trial for trial in trials if trial.template == template and trial.settings in space]
    return tuple(comparable[-search.window :])


def _trials(schedule: TrainingSchedule, runs: Iterable[TrainingRun]) -> Iterator[Trial]:
    search = schedule.spec.search
    assert search is not None
    for run in runs:
        outcome, gain = _outcome(run)
        if outcome:
            yield Trial(
                run=run.name,
                time=run.status.completion_time,
                settings=_of_spec(run.spec, search),
                outcome=outcome,
                gain=gain,
                template=_template_sha256(run.spec, search),
            )


def _outcome(run: TrainingRun) -> tuple[str, float | None]:
    """What a finished run says of its setting; "": nothing, as one whose node was lost or whose loss was not measured."""
    result, ended = run.status.result, run.status.condition("Succeeded")
    match run.status.phase:
        case TrainingRunPhase.SUCCEEDED if result is not None and result.gain is not None:
            return "Succeeded", round(result.gain, 6)
        case TrainingRunPhase.FAILED if ended is not None and ended.reason in _ITS_FAULT:
            return ended.reason, None
        case _:
            return "", None


def _settings(search: Search) -> Iterator[Settings]:
    """Every combination, in the order of the spec."""
    over = search.over.to_manifest()
    for values in product(*over.values()):
        yield dict(zip(over, values, strict=True))


def _of_spec(spec: TrainingRunSpec, search: Search) -> dict[str, str]:
    """What a run is trained with, of the knobs that are searched."""
    places = {name: _place(spec.to_manifest(), name) for name in search.over.to_manifest()}
    return {name: str(part[last]) for name, (part, last) in places.items()}


def _place(manifest: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The part of a run's spec that a knob is in, made where it is absent, and its name there."""
    *path, last = _PLACES[name]
    for step in path:
        manifest = manifest.setdefault(step, {})
    return manifest, last


def _as_text(settings: Settings) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items()}


def _template_sha256(spec: TrainingRunSpec, search: Search) -> str:
    """Hash of what decides a training beside the knobs that are searched, in 16 hex digits.

    Fields at their default do not count, so that a release with a new field goes on with what was measured.
    """
    manifest = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=_DECIDES)
    for name in search.over.to_manifest():
        part, last = _place(manifest, name)
        part.pop(last, None)
    said = {name: value for name, value in manifest.items() if value not in ({}, {"extra": {}})}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
