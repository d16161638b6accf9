"""Every golden case decides what it says, and what holds for all decisions holds for it.

A decision is total, idempotent, pure, and bounded by the API's types; a terminal state never acts.
"""

import copy
import json
import os
import re
from dataclasses import fields, replace
from datetime import timedelta

import pytest
import yaml
from golden_worlds import GOLDEN, Case, load, shown
from golden_worlds import KIND_CASES as CASES

from tradewind.api.registry import BY_KIND
from tradewind.core.decision import Apply, Decision, Hold
from tradewind.core.endpoint import TERMINAL as EXPERIMENT_TERMINAL
from tradewind.core.registry import BY_KIND as KINDS
from tradewind.core.training_run import TERMINAL as RUN_TERMINAL


def test_every_kind_of_the_api_is_decided_and_has_cases() -> None:
    assert {type(load(*name).resource).__name__ for name in CASES} == set(KINDS) == set(BY_KIND)


@pytest.fixture(params=CASES, ids=lambda c: f"{c[0]}/{c[1]}")
def named(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture
def case(named: tuple[str, str]) -> Case:
    return load(*named)


def test_decides_what_is_expected(named: tuple[str, str], case: Case) -> None:
    assert case.about.endswith(".")
    path = GOLDEN / named[0] / named[1] / "expected.yaml"
    text = yaml.dump(shown(case.decide()), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert yaml.load(text, yaml.CSafeLoader) == yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


def test_never_raises_whatever_fact_is_missing(case: Case) -> None:
    optional = [
        f.name for f in fields(case.seen) if f.name not in ("holders", "stage", "schema_missing", "tested_before")
    ]
    defaults = type(case.seen)()
    for name in optional:
        decision = case.decide(**{name: getattr(defaults, name)})
        assert isinstance(decision, Decision), name
    assert isinstance(replace(case, seen=defaults).decide(), Decision)


def test_asks_for_nothing_new_once_it_has_what_it_asked_for(case: Case) -> None:
    """A few turns lead to rest: the status stays, and nothing is created, deleted or recorded any more."""
    for _ in range(4):
        case = case.after(case.decide())
    again = case.decide()
    assert again.status == case.resource.status  # type: ignore[attr-defined]
    assert all(isinstance(effect, Apply | Hold) for effect in again.effects), again.effects


def test_is_pure_and_within_the_bounds_of_the_api(case: Case) -> None:
    before = copy.deepcopy((case.resource.model_dump(), repr(case.seen)))
    first, second = case.decide(), case.decide()
    assert shown(first) == shown(second)
    assert (case.resource.model_dump(), repr(case.seen)) == before
    status = first.status.to_manifest()  # type: ignore[attr-defined]
    assert BY_KIND[type(case.resource).__name__].status.model_validate(status) is not None
    json.dumps(status, allow_nan=False)
    assert not re.search(r"'\d+E[+-]?\d+'", str(status))


def test_time_without_news_changes_nothing(case: Case) -> None:
    """Time alone writes no status, but for what is a clock itself; else each resync would be an event for all."""
    for seconds in (0, 0, 60, 0):
        case = replace(case, now=case.now + timedelta(seconds=seconds))
        case = case.after(case.decide())
    first = case.decide().status.to_manifest()  # type: ignore[attr-defined]
    later = case.decide(now=case.now + timedelta(seconds=45)).status.to_manifest()  # type: ignore[attr-defined]
    for clock in ("lastEvaluatedTime", "nextScheduleTime"):
        first.pop(clock, None)
        later.pop(clock, None)
    assert first == later


ENDING = [c for c in CASES if c[0] in ("ab_experiment", "training_run")]


@pytest.mark.parametrize("named", ENDING, ids=lambda c: f"{c[0]}/{c[1]}", indirect=True)
def test_terminal_state_never_acts(case: Case) -> None:
    done = case.after(case.decide())
    if done.resource.status.phase not in EXPERIMENT_TERMINAL | RUN_TERMINAL:  # type: ignore[attr-defined]
        return
    if getattr(done.resource.spec, "ttl_seconds_after_finished", None) is not None:  # type: ignore[attr-defined]
        return  # its Jobs go once, later
    for later in (timedelta(0), timedelta(days=400)):
        again = done.decide(now=done.now + later)
        assert again.status == done.resource.status  # type: ignore[attr-defined]
        assert not again.effects
