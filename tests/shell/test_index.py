"""Who is looked at when something changes."""

from typing import Any

from server_double import Server, key, thing

from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache
from tradewind.shell.index import changed, notified, open_keys, owner_of, published_for

SPEC = {"endpointRef": {"name": "trader"}, "candidate": "v1"}
API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
ADAPTER = {"uri": "pvc://m/x", "sha256": "a" * 64, "baseModel": {"uri": "pvc://m/base"}, "trainingRun": "r"}
ENDPOINT = thing(
    "Endpoint",
    "trader",
    {"fallback": "api"},
    {
        "activeExperiment": {"name": "ab", "uid": "u"},
        "championRef": {"name": "v1"},
        "previousChampionRef": {"name": "api"},
    },
)


class Watched:
    """A cache fed by events, each a newer version."""

    def __init__(self) -> None:
        self.cache, self.server = Cache(), Server()

    def sees(self, body: dict[str, Any], *, deleted: bool = False) -> list[Any]:
        return list(changed(self.cache, self.server.put(body), deleted=deleted))


def test_endpoint_concerns_its_experiment_and_its_versions() -> None:
    found = Watched().sees(ENDPOINT)
    assert found[0] == key("Endpoint", "trader")
    assert set(found[1:]) == {key("ABExperiment", "ab"), key("ModelVersion", "v1"), key("ModelVersion", "api")}


def test_experiment_concerns_its_endpoint_versions_and_schedule() -> None:
    labels = {"tradewind.dev/training-schedule": "weekly"}
    experiment = thing("ABExperiment", "ab", SPEC, {"baselineRef": {"name": "api"}}, labels=labels)
    assert set(Watched().sees(experiment)) == {
        key("ABExperiment", "ab"),
        key("Endpoint", "trader"),
        key("ModelVersion", "v1"),
        key("ModelVersion", "api"),
        key("TrainingSchedule", "weekly"),
    }


def test_version_concerns_whoever_may_wait_for_it_in_its_namespace() -> None:
    watched = Watched()
    watched.sees(ENDPOINT)
    watched.sees(thing("ABExperiment", "waiting", SPEC))
    watched.sees(thing("ABExperiment", "over", SPEC, {"phase": "Inconclusive"}))
    watched.sees(thing("Endpoint", "other", {"fallback": "api"}, namespace="elsewhere"))
    assert set(watched.sees(thing("ModelVersion", "v1", {"adapter": ADAPTER}))) == {
        key("ModelVersion", "v1"),
        key("Endpoint", "trader"),
        key("ABExperiment", "waiting"),
        key("TrainingRun", "r"),
    }


def test_version_concerns_nobody_who_does_not_name_it() -> None:
    watched = Watched()
    watched.sees(ENDPOINT)
    watched.sees(
        thing(
            "Endpoint",
            "asked",
            {"fallback": "api"},
            annotations={"tradewind.dev/promote": "v8/r1", "tradewind.dev/by": "ada"},
        )
    )
    watched.sees(thing("Endpoint", "quiet", {"fallback": "api"}))
    watched.sees(thing("ABExperiment", "first", SPEC | {"endpointRef": {"name": "quiet"}, "candidate": "v9"}))
    watched.sees(thing("ABExperiment", "second", SPEC | {"baseline": "v7"}))
    for version, concerned in {
        "v6": set(),
        "v7": {key("ABExperiment", "second"), key("Endpoint", "trader")},
        "v8": {key("Endpoint", "asked")},
        "v9": {key("ABExperiment", "first"), key("Endpoint", "quiet")},
    }.items():
        assert set(watched.sees(thing("ModelVersion", version, API))) == {key("ModelVersion", version)} | concerned


def test_what_was_deleted_is_forgotten_but_its_neighbours_are_told() -> None:
    watched = Watched()
    watched.sees(ENDPOINT)
    assert key("ABExperiment", "ab") in watched.sees(ENDPOINT, deleted=True)
    assert list(open_keys(watched.cache)) == []
    assert list(notified(watched.cache, "trading/trader")) == []


def test_notification_concerns_the_active_experiment() -> None:
    watched = Watched()
    watched.sees(ENDPOINT)
    assert list(notified(watched.cache, "trading/trader")) == [(key("ABExperiment", "ab"), False)]
    watched.sees(ENDPOINT | {"spec": {"fallback": "api", "clock": "replay"}})
    assert list(notified(watched.cache, "trading/trader")) == [(key("ABExperiment", "ab"), True)]
    assert list(notified(watched.cache, "trading/trader/arms")) == [(key("Endpoint", "trader"), True)]
    for payload in ("trading/unknown", "trading/unknown/arms", "nonsense", ""):
        assert list(notified(watched.cache, payload)) == []


def test_what_is_finished_gets_no_turns_and_what_cannot_be_read_does() -> None:
    watched = Watched()
    run = {"baseModel": {"uri": "pvc://m/base"}, "dataset": {"endpoint": "trader"}, "output": {"uri": "pvc://m/out"}}
    over = {"phase": "Succeeded", "completionTime": "2026-01-01T00:00:00Z"}
    watched.sees(thing("ABExperiment", "over", SPEC, {"phase": "RolledBack"}))
    watched.sees(thing("TrainingRun", "kept", run, over))
    watched.sees(thing("TrainingRun", "going", run | {"ttlSecondsAfterFinished": 60}, over))
    gone = over | {"conditions": [_condition("JobsDeleted")]}
    watched.sees(thing("TrainingRun", "gone", run | {"ttlSecondsAfterFinished": 60}, gone))
    watched.sees(thing("ModelVersion", "broken", {"external": {}}))
    assert set(open_keys(watched.cache)) == {key("TrainingRun", "going"), key("ModelVersion", "broken")}


def _condition(kind: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": "Given", "lastTransitionTime": "2026-01-01T00:00:00Z"}


def test_child_names_its_owner() -> None:
    labels = {"tradewind.dev/owner-kind": "Endpoint", "tradewind.dev/owner-name": "trader"}
    assert owner_of(thing("Deployment", "trader-gateway", {}, labels=labels)) == key("Endpoint", "trader")
    assert owner_of(thing("Deployment", "strange", {})) is None


def test_a_routing_document_wakes_its_endpoint_whatever_its_labels_say() -> None:
    labels = {"tradewind.dev/owner-kind": "Endpoint", "tradewind.dev/owner-name": "another"}
    assert published_for(thing("ConfigMap", "trader-routing", {}, labels=labels)) == key("Endpoint", "trader")
    assert published_for(thing("ConfigMap", "-routing", {})) is None
    assert published_for(thing("ConfigMap", "prompts", {})) is None


def test_numbers_of_a_look_are_nobodys_turn_and_a_weight_is() -> None:
    server, cache = Server(), Cache()
    cache.take(server.put(ENDPOINT))
    seen = server.put(thing("ABExperiment", "e", SPEC, {"phase": "Running"}))
    quiet = BY_KIND["ABExperiment"].quiet
    statuses = [
        ABExperimentStatus.model_validate({"phase": "Running", **more})
        for more in (
            {"riskBudgetUSD": 1.0},
            {"riskBudgetUSD": 2.0},
            {"riskBudgetUSD": 2.0, "weight": {"desired": "0.5"}},
        )
    ]
    assert quiet(statuses[0], statuses[1])
    assert not quiet(statuses[1], statuses[2])
    cache.take(seen)
    assert list(changed(cache, seen, deleted=False)) != []
    cache.quieten(seen)
    assert list(changed(cache, seen, deleted=False)) == []
    newer = server.put(thing("ABExperiment", "e", SPEC, {"phase": "Running"}))
    assert key("Endpoint", "trader") in list(changed(cache, newer, deleted=False))


def test_what_is_over_and_known_concerns_nobody_when_a_watch_begins_and_everybody_when_it_has_changed() -> None:
    """Seen: 2,000 experiments that are over brought 2,000 versions into line that had been deleted long before."""
    server, cache = Server(), Cache()
    cache.take(server.put(ENDPOINT))
    over = server.put(thing("ABExperiment", "e", SPEC | {"candidate": "gone"}, {"phase": "Inconclusive"}))
    assert key("ModelVersion", "gone") in list(changed(cache, over, deleted=False, listed=True)), "it was not known"
    assert list(changed(cache, over, deleted=False, listed=True)) == []
    assert key("Endpoint", "trader") in list(changed(cache, over, deleted=False))
