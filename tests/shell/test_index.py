"""Who is looked at when something changes."""

from typing import Any

from tradewind.shell.index import Index, owner_of
from tradewind.shell.reconcile import Key


def body(
    kind: str, name: str, spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **labels: str
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "trading", "labels": labels}
    return {"kind": kind, "metadata": metadata, "spec": spec or {}, "status": status or {}}


def key(kind: str, name: str) -> Key:
    return Key(kind, "trading", name)


ENDPOINT = body(
    "Endpoint",
    "trader",
    {"fallback": "api"},
    {
        "activeExperiment": {"name": "ab", "uid": "u"},
        "championRef": {"name": "v1"},
        "previousChampionRef": {"name": "api"},
    },
)


def test_endpoint_concerns_its_experiment_and_its_versions() -> None:
    found = list(Index().seen(ENDPOINT, deleted=False))
    assert found[0] == key("Endpoint", "trader")
    assert set(found[1:]) == {key("ABExperiment", "ab"), key("ModelVersion", "v1"), key("ModelVersion", "api")}


def test_experiment_concerns_its_endpoint_versions_and_schedule() -> None:
    experiment = body(
        "ABExperiment",
        "ab",
        {"endpointRef": {"name": "trader"}, "candidate": "v1"},
        {"baselineRef": {"name": "api"}},
        **{"tradewind.dev/training-schedule": "weekly"},
    )
    assert set(Index().seen(experiment, deleted=False)) == {
        key("ABExperiment", "ab"),
        key("Endpoint", "trader"),
        key("ModelVersion", "v1"),
        key("ModelVersion", "api"),
        key("TrainingSchedule", "weekly"),
    }


def test_version_concerns_whoever_may_wait_for_it_in_its_namespace() -> None:
    index = Index()
    list(index.seen(ENDPOINT, deleted=False))
    list(index.seen(body("ABExperiment", "waiting", {"endpointRef": {"name": "trader"}}), deleted=False))
    list(index.seen(body("ABExperiment", "over", {}, {"completionTime": "2026-01-01T00:00:00Z"}), deleted=False))
    elsewhere = body("Endpoint", "other")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    list(index.seen(elsewhere, deleted=False))
    version = body("ModelVersion", "v1", {"adapter": {"trainingRun": "r"}})
    assert set(index.seen(version, deleted=False)) == {
        key("ModelVersion", "v1"),
        key("Endpoint", "trader"),
        key("ABExperiment", "waiting"),
        key("TrainingRun", "r"),
    }


def test_what_was_deleted_is_forgotten_but_its_neighbours_are_told() -> None:
    index = Index()
    list(index.seen(ENDPOINT, deleted=False))
    assert key("ABExperiment", "ab") in list(index.seen(ENDPOINT, deleted=True))
    assert list(index.everything()) == []
    assert list(index.notified("trading/trader")) == []


def test_notification_concerns_the_active_experiment() -> None:
    index = Index()
    list(index.seen(ENDPOINT, deleted=False))
    assert list(index.notified("trading/trader")) == [(key("ABExperiment", "ab"), False)]
    replay = ENDPOINT | {"spec": {"fallback": "api", "clock": "replay"}}
    list(index.seen(replay, deleted=False))
    assert list(index.notified("trading/trader")) == [(key("ABExperiment", "ab"), True)]
    for payload in ("trading/unknown", "nonsense", ""):
        assert list(index.notified(payload)) == []


def test_child_names_its_owner() -> None:
    labels = {"tradewind.dev/owner-kind": "Endpoint", "tradewind.dev/owner-name": "trader"}
    assert owner_of(body("Deployment", "trader-gateway", **labels)) == key("Endpoint", "trader")
    assert owner_of(body("Deployment", "strange")) is None
