"""Reading manifests: errors name the field and the remedy; statuses of newer operators do no harm."""

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.parse import InvalidSpec, parse, parse_manifest
from tradewind.schema.scalars import StorageLocation, as_milliseconds, as_timedelta, parse_storage_uri

MANIFEST: dict[str, Any] = {
    "apiVersion": "tradewind.dev/v1alpha1",
    "kind": "Endpoint",
    "metadata": {"name": "trader", "namespace": "desk", "uid": "u1", "generation": 3, "managedFields": [{}]},
    "spec": {"fallback": "deepseek-api"},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Served", "lastTransitionTime": "2026-11-01T00:00:00Z"}
        ]
    },
}


def changed(**parts: Any) -> dict[str, Any]:
    return deepcopy(MANIFEST) | parts


def test_reads_metadata_spec_and_status() -> None:
    endpoint = parse(Endpoint, MANIFEST)
    assert isinstance(endpoint, Endpoint)
    assert endpoint.key == ("desk", "trader")
    assert endpoint.metadata.generation == 3
    assert endpoint.spec.gateway.auth.secret_ref is not None
    ready = endpoint.status.condition("Ready")
    assert ready is not None
    assert ready.reason == "Served"
    assert endpoint.status.condition("Nothing") is None


def test_unknown_status_fields_are_ignored() -> None:
    endpoint = parse(Endpoint, changed(status={"epoch": 4, "future": {"x": 1}}))
    assert isinstance(endpoint, Endpoint)
    assert endpoint.status.epoch == 4


@pytest.mark.parametrize(
    "status", [{"phase": "Quantum", "epoch": 4}, None, "broken", {"conditions": [{"type": "Ready"}]}]
)
def test_a_status_that_cannot_be_read_counts_as_empty(status: Any) -> None:
    endpoint = parse(Endpoint, changed(status=status))
    assert isinstance(endpoint, Endpoint)
    assert endpoint.status.epoch is None


def test_fields_of_newer_kinds_are_ignored_in_the_cluster_and_refused_in_files() -> None:
    """After a rollback the API server still fills in the defaults of the newer kinds."""
    steps = [{"weight": "0.1", "shape": "linear"}]
    newer = changed(kind="ABExperiment") | {
        "spec": {"endpointRef": {"name": "t", "zone": "a"}, "candidate": "v", "traffic": {"steps": steps}, "novel": {}}
    }
    experiment = parse(ABExperiment, newer)
    assert isinstance(experiment, ABExperiment), experiment
    assert experiment.spec.traffic.steps is not None
    assert experiment.spec.traffic.steps[0].weight == "0.1"
    assert newer["spec"]["novel"] == {}
    strict = parse_manifest(newer)
    assert isinstance(strict, InvalidSpec)
    assert {e.path for e in strict.errors} == {
        "spec.endpointRef.zone",
        "spec.traffic.steps[0].shape",
        "spec.novel",
    }


def test_rules_hold_beside_fields_of_newer_kinds() -> None:
    spec = {"endpointRef": {"name": "t"}, "candidate": "v", "baseline": "v", "novel": 1}
    invalid = parse(ABExperiment, changed(kind="ABExperiment", spec=spec))
    assert isinstance(invalid, InvalidSpec)
    assert invalid.message == "spec.candidate: candidate must be another ModelVersion than baseline"


def test_all_errors_are_told_at_once_with_paths() -> None:
    spec = {"clock": "sundial", "gateway": {"replicas": 0}, "maxHold": "long", "limts": {}}
    invalid = parse(Endpoint, changed(spec=spec, status={"phase": "Quantum"}), strict=True)
    assert isinstance(invalid, InvalidSpec)
    assert {error.path for error in invalid.errors} == {
        "spec.fallback",
        "spec.clock",
        "spec.gateway.replicas",
        "spec.maxHold",
        "spec.limts",
    }
    assert 'spec.clock: Unsupported value: "sundial": supported values: "live", "replay"' in invalid.message


def test_a_missing_spec_is_an_error_not_a_crash() -> None:
    invalid = parse(Endpoint, {k: v for k, v in MANIFEST.items() if k != "spec"})
    assert isinstance(invalid, InvalidSpec)
    assert invalid.message == "spec: Required value: add this field"


@pytest.mark.parametrize("raw", [changed(kind="Pod"), changed(apiVersion="tradewind.dev/v9"), {}])
def test_other_kinds_are_refused_by_name(raw: dict[str, Any]) -> None:
    invalid = parse_manifest(raw)
    assert isinstance(invalid, InvalidSpec)
    assert "must be one of Endpoint, TrainingRun" in invalid.message


@pytest.mark.parametrize("name", ["Trader", "1trader", "trader-", "tra.der", "t" * 51, "", "tr\u00e4der"])
def test_names_that_leave_no_room_or_break_dns_are_refused(name: str) -> None:
    invalid = parse_manifest(changed(metadata={"name": name}))
    assert isinstance(invalid, InvalidSpec)
    assert invalid.errors[0].path == "metadata.name"


def test_specs_are_frozen() -> None:
    endpoint = parse(Endpoint, MANIFEST)
    assert isinstance(endpoint, Endpoint)
    with pytest.raises(ValueError, match="frozen"):
        endpoint.spec.fallback = "other"  # type: ignore[misc]


def test_lengths_of_time() -> None:
    assert as_timedelta("14d") == timedelta(days=14)
    assert as_milliseconds("100ms") == 100
    assert as_milliseconds("2s") == 2000
    with pytest.raises(ValueError, match="such as 100ms or 2s"):
        as_milliseconds("2m")


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("pvc://models/runs/v1", StorageLocation("models", "runs/v1")),
        ("pvc://models", StorageLocation("models", "")),
        ("pvc://models/", StorageLocation("models", "")),
        ("file:///mnt/models", StorageLocation(None, "/mnt/models")),
        ("s3://models/runs/v1/", StorageLocation(None, "runs/v1", "models")),
        ("oss://models", StorageLocation(None, "", "models")),
    ],
)
def test_storage_uris(uri: str, location: StorageLocation) -> None:
    assert parse_storage_uri(uri) == location


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/x",
        "s3://Bucket/x",
        "s3://b/x",
        "oss://bucket/../x",
        "pvc://models/../etc",
        "file:///a/../b",
        "file://host/x",
        "/mnt",
        "",
    ],
)
def test_other_storage_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="write pvc://<claim>"):
        parse_storage_uri(uri)


@pytest.mark.parametrize(
    ("gateway", "says"),
    [
        (
            {"replicas": "2"},
            'spec.gateway.replicas: Invalid value: "2": must be of type integer: write it without quotes',
        ),
        ({"replicas": True}, 'spec.gateway.replicas: Invalid value: "True": must be of type integer'),
        ({"openai": {"enabled": "yes"}}, 'spec.gateway.openai.enabled: Invalid value: "yes": must be of type boolean'),
        ({"openai": {"enabled": 1}}, 'spec.gateway.openai.enabled: Invalid value: "1": must be of type boolean'),
    ],
)
def test_numbers_and_booleans_are_of_their_type_as_an_api_server_has_them(gateway: dict[str, Any], says: str) -> None:
    """Seen: `lint` took what the API server refuses."""
    invalid = parse_manifest(changed(spec=MANIFEST["spec"] | {"gateway": gateway}))
    assert isinstance(invalid, InvalidSpec)
    assert says in invalid.message


def test_a_whole_number_with_a_fraction_of_zero_is_one() -> None:
    endpoint = parse_manifest(changed(spec=MANIFEST["spec"] | {"gateway": {"replicas": 2.0}}))
    assert isinstance(endpoint, Endpoint)
    assert endpoint.spec.gateway.replicas == 2


@pytest.mark.parametrize(
    "time",
    [
        "1769817600",
        1769817600,
        "2026-01-31",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-02-30T00:00:00Z",
    ],
)
def test_a_time_is_written_as_one_and_lies_in_years_that_can_be_counted_in(time: Any) -> None:
    """Seen: an API server refuses the first three, and with the next two a decision ended in an OverflowError."""
    spec = {"endpointRef": {"name": "t"}, "candidate": "v", "mode": "Replay", "replay": {"startTime": time}}
    invalid = parse(ABExperiment, changed(kind="ABExperiment", spec=spec))
    assert isinstance(invalid, InvalidSpec)
    assert [error.path for error in invalid.errors] == ["spec.replay.startTime"]
