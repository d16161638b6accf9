"""The cache: each version is parsed once, the newest stays, lists find what the watch has missed."""

from random import Random
from typing import Any

import pytest
from server_double import Server, key, reconciler, thing

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import PARSES, Cache, Key, key_of
from tradewind.shell.cluster import ClusterError
from tradewind.shell.index import open_keys
from tradewind.shell.shards import UNDIVIDED, Shard
from tradewind.shell.watch import fill, refresh

API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
SPEC = {"endpointRef": {"name": "trader"}, "candidate": "v1"}


def parses() -> float:
    return sum(
        sample.value for metric in PARSES.collect() for sample in metric.samples if sample.name.endswith("_total")
    )


async def refreshed(cache: Cache, server: Server, *namespaces: str) -> list[Key]:
    return list(await refresh(cache, server, Shard(among=namespaces)))  # type: ignore[arg-type]


def test_a_version_is_parsed_once_and_an_older_one_changes_nothing() -> None:
    server, cache = Server(), Cache()
    old = server.put(thing("ModelVersion", "v1", API))
    new = server.put(thing("ModelVersion", "v1", {"external": API["external"] | {"model": "n"}}))
    before = parses()
    for raw in (old, old, new, new):
        cache.take(raw)
    assert parses() - before == 2
    cache.take(old)
    kept = cache.get(ModelVersion, "trading", "v1")
    assert kept is not None
    assert kept.spec.external is not None
    assert kept.spec.external.model == "n"


def test_what_cannot_be_read_is_known_by_name_until_it_is_mended_or_gone() -> None:
    server, cache = Server(), Cache()
    broken = [server.put(thing("ModelVersion", name, {"external": {}})) for name in ("v1", "v2")]
    for raw in (*broken, server.put(thing("ModelVersion", "v3", API))):
        cache.take(raw)
    assert cache.unread(ModelVersion, "trading") == ("v1", "v2")
    assert cache.unread(Endpoint, "trading") == cache.unread(ModelVersion, "other") == ()
    cache.take(server.put(thing("ModelVersion", "v1", API)))
    cache.drop(broken[1])
    assert cache.unread(ModelVersion, "trading") == ()


def test_a_late_event_brings_nothing_back_that_was_deleted() -> None:
    server, cache = Server(), Cache()
    old = server.put(thing("ModelVersion", "v1", API))
    cache.take(old)
    cache.drop(server.put(thing("ModelVersion", "v1", API)))
    cache.take(old)
    assert cache.get(ModelVersion, "trading", "v1") is None
    cache.take(server.put(thing("ModelVersion", "v1", API)))
    assert cache.get(ModelVersion, "trading", "v1") is not None
    cache.drop(old)  # of the one before
    assert cache.get(ModelVersion, "trading", "v1") is not None


async def test_a_list_finds_what_was_missed_and_parses_that_alone() -> None:
    server, cache = Server(*(thing("ModelVersion", f"v{n}", API) for n in range(5))), Cache()
    assert {k.name for k in await refreshed(cache, server)} == {"v0", "v1", "v2", "v3", "v4"}
    before = parses()
    assert await refreshed(cache, server) == []
    assert parses() == before
    del server.objects["ModelVersion", "v0"]
    server.put(thing("ModelVersion", "v1", {"external": {}}))
    assert {k.name for k in await refreshed(cache, server)} == {"v0", "v1"}
    assert parses() - before == 1
    assert [version.name for version in cache.all(ModelVersion, "trading")] == ["v2", "v3", "v4"]
    assert isinstance(cache.take(server.objects["ModelVersion", "v1"]), InvalidSpec)


def test_a_list_that_is_older_than_an_event_changes_nothing() -> None:
    server, cache = Server(), Cache()

    def taken(listed: list[dict[str, Any]], as_of: int) -> list[Any]:
        """What such a list changes: of what it knows more than we do, and what it has not."""
        versions = {key_of(raw): int(raw["metadata"]["resourceVersion"]) for raw in listed}
        newer = cache.differences("ModelVersion", None, versions, as_of)
        return [*newer, *cache.keep("ModelVersion", None, versions, as_of)]

    stale = server.version
    new = server.put(thing("ModelVersion", "new", API))
    cache.take(new)
    assert taken([], stale) == []
    assert cache.get(ModelVersion, "trading", "new") is not None
    gone = server.put(thing("ModelVersion", "gone", API))
    cache.take(gone)
    cache.drop(server.put(thing("ModelVersion", "gone", API)))
    assert taken([new, gone], int(gone["metadata"]["resourceVersion"])) == []
    assert cache.get(ModelVersion, "trading", "gone") is None


async def test_an_operator_of_one_namespace_sees_that_one_alone() -> None:
    server, cache = Server(thing("ModelVersion", "a", API), thing("ModelVersion", "b", API, namespace="other")), Cache()
    await refreshed(cache, server, "trading")
    assert [version.name for version in cache.all(ModelVersion, "trading")] == ["a"]
    assert cache.all(ModelVersion, "other") == ()


async def test_a_namespace_that_is_gone_is_forgotten_and_a_right_that_is_missing_is_an_error() -> None:
    server, cache = Server(thing("ModelVersion", "a", API)), Cache()
    await refreshed(cache, server, "trading")

    async def forbidden(*_: object, **__: object) -> object:
        raise ClusterError("list: forbidden", 403)

    server.listing = forbidden  # type: ignore[method-assign, assignment]
    server.objects["Namespace", "trading"] = {"kind": "Namespace", "metadata": {"name": "trading"}}
    with pytest.raises(ClusterError, match="forbidden"):
        await refreshed(cache, server, "trading")
    del server.objects["Namespace", "trading"]
    await refreshed(cache, server, "trading")
    assert cache.all(ModelVersion, "trading") == ()


async def test_nothing_is_whole_before_there_is_a_list_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.shell.watch._RETRY_SECONDS", 0.0)
    asked: list[str] = []

    async def listing(_: str, kind: str, __: str | None = None) -> tuple[list[object], str]:
        asked.append(kind)
        if kind == "ModelVersion" and asked.count(kind) < 3:
            raise ClusterError("the cluster does not serve it: install it first", 404)
        return [], "1"

    server = Server()
    server.listing = listing  # type: ignore[method-assign, assignment]
    await fill(Cache(), server, UNDIVIDED)  # type: ignore[arg-type]
    assert set(asked) == set(BY_KIND)
    assert asked.count("ModelVersion") == 3


async def test_what_is_finished_costs_nothing() -> None:
    """300 versions and 300 experiments, all but one finished: rounds and turns parse nothing that did not change."""
    over = {"phase": "Inconclusive", "completionTime": "2026-01-01T00:00:00Z"}
    server, cache = Server(), Cache()
    for number in range(300):
        server.put(thing("ModelVersion", f"v{number}", API))
        server.put(thing("ABExperiment", f"ab{number}", SPEC, over if number else None))
    server.put(thing("Endpoint", "trader", {"fallback": "v0"}))
    before = parses()
    await refreshed(cache, server)
    assert parses() - before == 601
    before = parses()
    await refreshed(cache, server)
    assert parses() == before
    assert [k.name for k in open_keys(cache) if k.kind == "ABExperiment"] == ["ab0"]
    assert len(cache.all(ABExperiment, "trading")) == 300
    for kind, name in (("Endpoint", "trader"), ("ABExperiment", "ab0")):
        before = parses()
        await reconciler(server, cache)(key(kind, name))
        assert parses() - before <= 1, f"{kind}: its own new status alone"


async def test_of_what_is_over_only_what_others_read_is_kept_and_its_own_turn_loses_nothing() -> None:
    over = {
        "phase": "Inconclusive",
        "completionTime": "2026-01-01T00:00:00Z",
        "riskBudgetUSD": 7.0,
        "history": [{"time": "2026-01-01T00:00:00Z", "reason": "Started"}],
    }
    asked = {"tradewind.dev/pause": "r1", "tradewind.dev/requested-by": "ada"}
    server, cache = Server(thing("ABExperiment", "ab", SPEC, over, annotations=asked)), Cache()
    await refreshed(cache, server)
    kept = cache.get(ABExperiment, "trading", "ab")
    assert kept is not None
    assert (kept.status.phase, kept.status.history, kept.status.risk_budget_usd) == ("Inconclusive", (), None)
    await reconciler(server, cache)(key("ABExperiment", "ab"))
    written = server.status("ABExperiment", "ab")
    assert [entry["reason"] for entry in written["history"]] == ["Started", "Over"]
    assert written["riskBudgetUSD"] == 7.0


def test_who_names_whom_follows_every_change() -> None:
    random, server, cache = Random(13), Server(), Cache()
    names = ("a", "b", "c")
    for _ in range(600):
        name, named = random.choice(names), random.choice(names)
        if random.random() < 0.5:
            body = thing(
                "ABExperiment", name, SPEC | {"endpointRef": {"name": named}, "candidate": random.choice(names)}
            )
            if random.random() < 0.2:
                body["status"] = {"phase": "RolledBack", "baselineRef": {"name": random.choice(names)}}
        else:
            body = thing("Endpoint", name, {"fallback": named})
            if random.random() < 0.2:
                body["spec"] = {}
        raw = server.put(body)
        if random.random() < 0.3:
            cache.drop(raw)
        elif random.random() < 0.05:
            cache.forget("trading")
        else:
            cache.take(raw)
        for kind in (ABExperiment, Endpoint):
            there = {one.name: one for one in cache.all(kind, "trading")}
            assert cache.by_name(kind, "trading") == there
            for of, wanted in ((Endpoint, named), (ModelVersion, named)):
                found = {n.name for n in cache.naming(kind, Key(of.__name__, "trading", wanted))}
                neighbours = BY_KIND[kind.__name__].neighbours
                assert found == {
                    n for n, one in there.items() if (of, wanted) in {(x.kind, x.name) for x in neighbours(one)}
                }
