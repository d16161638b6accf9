"""Every sample is read as it is meant: the good ones without a word, the bad ones with the message they name."""

from pathlib import Path

import pytest
import yaml

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import Resource
from tradewind.api.parse import InvalidSpec, parse_manifest, refused_changes
from tradewind.api.registry import BY_KIND
from tradewind.trading.evidence import GUARDRAILS, METRICS, POLICIES, EvidenceSpec

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"
GOOD = sorted(SAMPLES.glob("*.yaml"))
BAD = sorted(SAMPLES.glob("bad/*.yaml"))
PAIRS = sorted(SAMPLES.glob("bad/*/after.yaml"))


def expected(path: Path) -> str:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# expect: ")
    return first.removeprefix("# expect: ")


def load(path: Path) -> Resource:
    (raw,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    parsed = parse_manifest(raw)
    assert isinstance(parsed, Resource), parsed
    return parsed


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_good_sample_is_accepted_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    for raw in yaml.safe_load_all(text):
        parsed = parse_manifest(raw)
        assert not isinstance(parsed, InvalidSpec), parsed.message


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_good_sample_survives_a_round_trip(path: Path) -> None:
    for raw in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        parsed = parse_manifest(raw)
        assert isinstance(parsed, Resource)
        spec = parsed.spec  # type: ignore[attr-defined]
        assert type(spec).model_validate(spec.to_manifest()) == spec


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_sample_is_refused_with_its_message(path: Path) -> None:
    (raw,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    parsed = parse_manifest(raw)
    assert isinstance(parsed, InvalidSpec)
    assert expected(path) in parsed.message
    assert len(parsed.errors) == 1, parsed.message


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.parent.name)
def test_edit_of_an_immutable_field_is_refused(path: Path) -> None:
    before, after = load(path.with_name("before.yaml")), load(path)
    assert any(expected(path) in error.message for error in refused_changes(before, after))
    assert refused_changes(before, before) == ()


def test_every_kind_has_samples() -> None:
    kinds = {raw["kind"] for path in GOOD for raw in yaml.safe_load_all(path.read_text(encoding="utf-8"))}
    assert kinds == set(BY_KIND)


def test_the_full_sample_uses_every_field_of_a_training_run() -> None:
    (raw,) = yaml.safe_load_all((SAMPLES / "trainingrun-full.yaml").read_text(encoding="utf-8"))
    fields = {field.alias for field in BY_KIND["TrainingRun"].spec.model_fields.values()}
    assert set(raw["spec"]) == fields


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("abexperiment-*.yaml")), ids=lambda p: p.stem)
def test_what_the_kind_accepts_the_statistic_can_evaluate(path: Path) -> None:
    experiment = load(path)
    assert isinstance(experiment, ABExperiment)
    spec = EvidenceSpec(rules=experiment.spec)
    assert spec.too_short is None
    assert 0 < spec.policy.largest(spec.ladder) <= 0.5


def test_the_samples_show_every_metric_policy_and_guardrail() -> None:
    specs = [
        raw["spec"] for path in GOOD for raw in yaml.safe_load_all(path.read_text()) if raw["kind"] == "ABExperiment"
    ]
    assert {metric.name for metric in METRICS} == {s.get("evidence", {}).get("primary", METRICS[0].name) for s in specs}
    assert {policy.name for policy in POLICIES} == {s.get("traffic", {}).get("policy", POLICIES[0].name) for s in specs}
    shown = {field for s in specs for field in s.get("guardrails", {})}
    assert shown == {field.alias for guardrail in GUARDRAILS for field in guardrail.settings.model_fields.values()}
