"""Where the operator acts: in named namespaces, or in labelled ones; what lies elsewhere is left alone, and that is said."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from server_double import Json, Server, key, thing

from tradewind.api.common import ENABLED_LABEL
from tradewind.shell import reach as reaching
from tradewind.shell.cache import Cache, Key
from tradewind.shell.reach import Reach, add_all, fill, within
from tradewind.shell.shards import UNDIVIDED, Shard
from tradewind.shell.watch import refresh

API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}


def place(name: str, value: str | None = "true") -> Json:
    labels = {ENABLED_LABEL: value} if value is not None else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


class Labelled(Server):
    """Lists the namespaces that a selector asks for."""

    async def select(self, *_: Any, **which: Any) -> list[Json]:
        name, _, value = which["label_selector"].partition("=")
        found = [o for (kind, _), o in self.objects.items() if kind == "Namespace"]
        return [o for o in found if o["metadata"]["labels"].get(name) == value]


def test_named_namespaces_need_no_label() -> None:
    reach = Reach(Shard(among=("a", "b")))
    assert "a" in reach
    assert "c" not in reach
    reach.note(place("c"), deleted=False)
    assert "c" not in reach


@pytest.mark.parametrize("value", [None, "false", "True", ""])
def test_only_the_label_true_brings_a_namespace_in(value: str | None) -> None:
    reach = Reach()
    assert not reach.note(place("a", value), deleted=False)
    assert "a" not in reach


def test_a_label_brings_a_namespace_in_and_its_end_takes_it_out() -> None:
    reach = Reach()
    assert reach.note(place("a"), deleted=False)
    assert not reach.note(place("a"), deleted=False)  # it was there
    assert "a" in reach
    reach.note(place("a", None), deleted=False)
    assert "a" not in reach
    reach.note(place("a"), deleted=False)
    reach.note(place("a"), deleted=True)
    assert "a" not in reach


async def test_a_list_finds_what_the_watch_has_missed() -> None:
    server, reach = Labelled(place("a"), place("b", None)), Reach()
    await fill(reach, server)  # type: ignore[arg-type]
    assert "a" in reach
    assert "b" not in reach
    server.put(place("b"))
    server.put(place("a", None))
    assert await reach.refresh(server) == {"b"}  # type: ignore[arg-type]
    assert "a" not in reach


async def test_nothing_is_done_outside() -> None:
    done: list[Key] = []

    async def work(one: Key) -> float | None:
        done.append(one)
        return 5.0

    turn = within(Reach(Shard(among=("a",))), work)
    assert await turn(Key("Endpoint", "a", "x")) == 5.0
    assert await turn(Key("Endpoint", "b", "x")) is None
    assert done == [Key("Endpoint", "a", "x")]


async def test_what_is_left_alone_is_said_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(reaching.log, "warning", lambda event, **more: told.append({"event": event} | more))
    cache = Cache()
    await refresh(cache, Server(thing("ModelVersion", "v1", API), thing("ModelVersion", "v2", API)), UNDIVIDED)  # type: ignore[arg-type]
    reach = Reach()
    reach.tell(cache)
    reach.tell(cache)
    (line,) = told
    assert (line["namespace"], line["objects"]) == ("trading", 2)
    assert line["remedy"] == "kubectl label namespace trading tradewind.dev/enabled=true"
    assert REGISTRY.get_sample_value("tradewind_objects_outside", {"namespace": "trading"}) == 2
    reach.note(place("trading"), deleted=False)
    added: list[Key] = []
    add_all(cache, added.append, "trading")
    assert set(added) == {key("ModelVersion", "v1"), key("ModelVersion", "v2")}
    reach.tell(cache)
    assert REGISTRY.get_sample_value("tradewind_objects_outside", {"namespace": "trading"}) is None
