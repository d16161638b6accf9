"""`tradewind get modelversion` against an API server over HTTP: who reigns, what each version was made of, and what nobody said."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden_worlds import resource_of

from api_double import JSONHandler, serving
from tradewind.api.model_version import ModelVersion
from tradewind.api.registry import KINDS
from tradewind.cli.version_registry import age
from tradewind.core.identity import spec_sha256
from tradewind.core.lineage_record import Known, Past, Role, lineage_of, lineages
from tradewind.main import cli

API = "/apis/tradewind.dev/v1alpha1"
Json = dict[str, Any]
BASE, IMAGE = "b1" * 32, "registry.example.com/predictor@sha256:" + "c1" * 32


def sha(name: str, what: str = "a") -> str:
    return (what + name[-1]) * 32


def made(kind: str, name: str, spec: Json, status: Json, created: str = "2026-02-01T00:00:00Z") -> Json:
    meta = {"name": name, "namespace": "trading", "uid": f"uid-{name}", "generation": 1, "creationTimestamp": created}
    return {"apiVersion": "tradewind.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec, "status": status}


def version(name: str, run: str | None = None, **status: Any) -> Json:
    base = {"uri": "pvc://models/base", "revision": "rev-7", "sha256": BASE}
    adapter = {"uri": f"pvc://models/{name}", "sha256": sha(name), "baseModel": base}
    spec = {"adapter": adapter | ({"trainingRun": run} if run else {})}
    return made("ModelVersion", name, spec, status, f"2026-02-0{int(name[-1]) + 1}T00:00:00Z")


def training(name: str, of: str, source: str | None = None, rows: int = 1200) -> Json:
    spec: Json = {
        "baseModel": {"uri": "pvc://models/base"},
        "dataset": {"endpoint": "trader"},
        "output": {"uri": "pvc://models/runs"},
    }
    status = {
        "completionTime": "2026-02-02T00:00:00Z",
        "dataset": {"sha256": sha(of, "d"), "rows": rows, "watermark": "2026-01-31T00:00:00Z"},
        "result": {"sha256": sha(of)},
    }
    return made("TrainingRun", name, spec | ({"warmStartFrom": source} if source else {}), status)


def ref(body: Json) -> Json:
    parsed = resource_of(body)
    assert isinstance(parsed, ModelVersion)
    adapter = body["spec"].get("adapter") or {}
    name, uid = body["metadata"]["name"], body["metadata"]["uid"]
    return {"name": name, "uid": uid, "sha256": adapter.get("sha256"), "specSha256": spec_sha256(parsed)}


class World(ThreadingHTTPServer):
    """v2, trained from v1, is tested against it; v0 was before; an external API; objects that one may not list."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.forbidden: set[str] = set()
        gates = [
            {"name": "minJsonValidity", "value": 1.0, "threshold": 0.99, "passed": True},
            {"name": "minAgreement", "value": 0.4, "threshold": 0.6, "passed": False},
            {"name": "maxHoldShare"},
        ]
        self.v0, self.v1 = version("v0"), version("v1", "r1", stage="Champion", sha256=sha("v1"))
        self.v2 = version(
            "v2",
            "r2",
            stage="Candidate",
            evaluation={"gates": gates},
            sha256=sha("v2"),
            provenance={"datasetSha256": sha("v2", "d"), "watermark": "2026-02-20T10:00:00Z", "image": IMAGE},
        )
        external = {"baseURL": "https://api.test/v1", "model": "deepseek-chat"}
        external["secretRef"] = {"name": "key", "key": "api-key"}  # type: ignore[assignment]
        self.api = made("ModelVersion", "api", {"external": external}, {}, "2026-01-01T00:00:00Z")
        self.r1, self.r2 = training("r1", "v1"), training("r2", "v2", "v1", 1300)
        self.endpoint = made(
            "Endpoint",
            "trader",
            {"initialChampion": "api", "fallback": "api"},
            {"championRef": ref(self.v1), "fallbackRef": ref(self.api), "previousChampionRef": ref(self.v0)},
        )
        self.experiment = made(
            "ABExperiment",
            "ab",
            {"endpointRef": {"name": "trader"}, "candidate": "v2"},
            {"t0": "2026-02-21T00:00:00Z", "candidateRef": ref(self.v2), "baselineRef": ref(self.v1)},
        )

    def objects(self) -> list[Json]:
        versions = [self.v0, self.api, self.v2, self.v1]
        return [*versions, self.r1, self.r2, self.endpoint, self.experiment]


class Handler(JSONHandler):
    server: World

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix(API)
        if path == "":
            kinds = [{"name": k.plural, "kind": k.kind, "namespaced": True} for k in KINDS]
            return self.answer({"resources": kinds})
        parts = path.strip("/").split("/")
        plural, *name = parts[2:] if parts[0] == "namespaces" else parts
        kind = next(k.kind for k in KINDS if k.plural == plural)
        if kind in self.server.forbidden:
            return self.answer({"message": "no, not you"}, 403)
        found = [body for body in self.server.objects() if body["kind"] == kind]
        if name:
            return self.answer(next(body for body in found if body["metadata"]["name"] == name[0]))
        return self.answer({"metadata": {"resourceVersion": "1"}, "items": found})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    server = World()
    with serving(server, tmp_path / "config", monkeypatch, namespace="trading"):
        yield server


def table(text: str) -> dict[str, dict[str, str]]:
    """Rows by name, cells by column, cut where the head's words begin."""
    head, *lines = text.split("\n\n", maxsplit=1)[0].splitlines()
    words = list(re.finditer(r"\S+", head))
    starts = [0, *(word.start() for word in words)]
    rows = {}
    for line in lines:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        row = dict(zip(["", *(word.group() for word in words)], cells, strict=True))
        rows[row["MODELVERSION"]] = row
    return rows


def known(world: World) -> Known:
    found: dict[str, list[Any]] = {}
    for body in world.objects():
        found.setdefault(body["kind"], []).append(resource_of(body))
    return Known(*(tuple(found[kind]) for kind in ("ModelVersion", "TrainingRun", "Endpoint", "ABExperiment")))


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_newest_is_first_and_the_champion_is_marked(world: World, capsys: Any) -> None:
    assert cli(["get", "modelversion"]) == 0
    rows = table(capsys.readouterr().out)
    assert list(rows) == ["v2", "v1", "v0", "api"]
    assert [row[""] for row in rows.values()] == ["", "*", "", ""]
    assert rows["v1"]["PLACE"] == "champion of trader; baseline of ab"
    assert rows["v2"]["PLACE"] == "candidate of ab"
    assert rows["v0"]["PLACE"] == "champion before of trader"
    assert rows["api"]["PLACE"] == "fallback of trader"


def test_what_nobody_said_is_unknown_and_no_number(world: World, capsys: Any) -> None:
    assert cli(["get", "modelversion", "-o", "wide"]) == 0
    rows = table(capsys.readouterr().out)
    assert {name: row["ROWS"] for name, row in rows.items()} == {
        "v2": "1,300", "v1": "1,200", "v0": "unknown", "api": "-",
    }  # fmt: skip
    assert rows["v0"] | {"AGE": ""} == {
        "": "", "MODELVERSION": "v0", "STAGE": "unknown", "PLACE": "champion before of trader", "READY": "unknown",
        "RUN": "unknown", "ROWS": "unknown", "WATERMARK": "unknown", "GATES": "not judged", "AGE": "",
        "BASE": f"pvc://models/base, revision rev-7, sha256 {BASE[:12]}", "DATASET": "unknown", "SERVED": "unknown",
        "PARENTS": "unknown",
    }  # fmt: skip
    assert rows["v2"]["GATES"] == "1 passed, 1 FAILED (minAgreement), 1 not judged"
    assert rows["v2"]["PARENTS"] == "v2 <- v1"
    assert rows["v1"]["PARENTS"] == "-"
    assert rows["api"]["BASE"] == "external API: deepseek-chat"
    assert (rows["api"]["GATES"], rows["api"]["SERVED"], rows["api"]["DATASET"]) == ("-", "-", "-")


def test_who_may_not_read_endpoints_is_not_told_that_nobody_reigns(world: World, capsys: Any) -> None:
    world.forbidden = {"Endpoint", "TrainingRun"}
    world.v1["status"]["inUseBy"] = ["Endpoint/trader"]
    assert cli(["get", "modelversion"]) == 0
    rows = table(capsys.readouterr().out)
    assert rows["v1"]["PLACE"] == "unknown; status.inUseBy names Endpoint/trader"
    assert rows["v1"]["RUN"] == "r1 (unknown)"
    assert rows["v1"]["ROWS"] == "unknown"
    assert cli(["get", "modelversion", "v1", "-o", "json"]) == 0
    (body,) = json.loads(capsys.readouterr().out)
    assert (body["lineage"]["champion"], body["lineage"]["places"]) == (None, None)


def test_one_version_is_told_whole(world: World, capsys: Any) -> None:
    assert cli(["get", "modelversion", "v2"]) == 0
    text = capsys.readouterr().out
    for line in (
        "parents  v2 <- v1",
        f"dataset  sha256 {sha('v2', 'd')}, rows 1,300, newest decision 2026-02-20 10:00 UTC",
        f"served   sha256 {sha('v2')}",
        f"image    {IMAGE}",
        "gates    1 passed (minJsonValidity), 1 FAILED (minAgreement), 1 not judged (maxHoldShare)",
        f"base     pvc://models/base, revision rev-7, sha256 {BASE}",
        "created  2026-02-03 00:00 UTC",
    ):
        assert f"  {line}\n" in text
    assert "gate minAgreement: FAILED, 0.4 against 0.6" in text


def test_other_outputs(world: World, capsys: Any) -> None:
    assert cli(["get", "modelversions", "-o", "name"]) == 0
    assert "modelversion/v2" in capsys.readouterr().out.splitlines()
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        assert cli(["get", "modelversion", "-o", output]) == 0
        found = load(capsys.readouterr().out)
        assert [body["metadata"]["name"] for body in found] == ["v2", "v1", "v0", "api"]
        assert [body["lineage"]["champion"] for body in found] == [False, True, False, False]
        assert found[0]["lineage"]["dataset"] == {
            "sha256": sha("v2", "d"), "rows": 1300, "watermark": "2026-02-20T10:00:00Z",
        }  # fmt: skip
        assert found[2]["lineage"]["dataset"] == {"sha256": None, "rows": None, "watermark": None}
        assert found[3]["lineage"]["base"] is None
    assert cli(["get", "endpoints", "-o", "yaml"]) == 0
    assert "lineage" not in yaml.safe_load(capsys.readouterr().out)[0]
    assert cli(["get", "-o", "wide"]) == 2
    assert "-o wide: of modelversion alone" in capsys.readouterr().err
    assert cli(["get", "modelversion", "-w", "-o", "yaml"]) == 2
    assert "-o yaml: leave out -w" in capsys.readouterr().err


def test_all_namespaces_have_a_column(world: World, capsys: Any) -> None:
    assert cli(["get", "modelversion", "-A"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["NAMESPACE", "MODELVERSION"]
    assert first.split()[:2] == ["trading", "v2"]


# --- names prove nothing ----------------------------------------------------------------------------------------------


def test_a_run_that_made_other_bytes_tells_nothing_of_a_version(world: World, capsys: Any) -> None:
    world.r2["status"]["result"]["sha256"] = "0f" * 32
    found = {record.version.name: record for record in lineages(known(world))}
    assert (found["v2"].made_here, found["v2"].rows, found["v2"].parents, found["v2"].past) == (
        False,
        None,
        (),
        Past.OTHER,
    )
    assert found["v2"].watermark is not None  # of the adapter's own card
    assert cli(["get", "modelversion", "v2"]) == 0
    assert "r2 (made another artifact)" in capsys.readouterr().out


def test_rows_are_those_of_the_data_that_the_adapters_card_names(world: World) -> None:
    world.r2["status"]["dataset"]["sha256"] = "0f" * 32
    found = {record.version.name: record for record in lineages(known(world))}
    assert (found["v2"].rows, found["v2"].dataset_sha256) == (None, sha("v2", "d"))


def test_a_version_made_anew_with_another_spec_does_not_reign(world: World, capsys: Any) -> None:
    world.v1["spec"]["adapter"]["sha256"] = "0f" * 32
    assert cli(["get", "modelversion"]) == 0
    rows = table(capsys.readouterr().out)
    assert rows["v1"][""] == ""
    assert rows["v1"]["PLACE"] == (
        "champion of trader (as another spec of this name); baseline of ab (as another spec of this name)"
    )
    record = next(record for record in lineages(known(world)) if record.version.name == "v1")
    assert record.reigns is False


def test_a_chain_is_followed_to_its_end_and_a_circle_is_cut(world: World) -> None:
    v3, r3 = version("v3", "r3"), training("r3", "v3", "v2")
    everything = known(world)
    record = lineage_of(
        resource_of(v3),
        Known((*everything.versions, resource_of(v3)), (*(everything.runs or ()), resource_of(r3))),
    )
    assert (record.parents, record.past) == (("v2", "v1"), Past.WHOLE)
    assert record.watermark is None  # the newest of its own and its parents', which its card will say
    gone = lineage_of(resource_of(v3), Known((resource_of(v3),), (resource_of(r3),)))
    assert (gone.parents, gone.past) == (("v2",), Past.GONE)
    world.r1["spec"]["warmStartFrom"] = "v2"
    circle = {one.version.name: one for one in lineages(known(world))}["v2"]
    assert (circle.parents, circle.past) == (("v1",), Past.LONG)


def test_an_experiment_that_has_ended_asks_nobody(world: World) -> None:
    world.experiment["status"]["phase"] = "Succeeded"
    found = {record.version.name: record for record in lineages(known(world))}
    assert found["v2"].places == ()
    assert [place.role for place in found["v1"].places or ()] == [Role.CHAMPION]


def test_a_fallback_that_was_not_observed_yet_is_the_one_that_is_named(world: World) -> None:
    del world.endpoint["status"]["fallbackRef"]
    found = {record.version.name: record for record in lineages(known(world))}
    assert [(place.role, place.same) for place in found["api"].places or ()] == [(Role.FALLBACK, True)]
    world.endpoint["status"]["fallbackRef"] = ref(world.api) | {"specSha256": "0f" * 32}
    found = {record.version.name: record for record in lineages(known(world))}
    assert [(place.role, place.same) for place in found["api"].places or ()] == [(Role.FALLBACK, False)]


def test_a_merged_model_is_its_runs_too(world: World) -> None:
    spec = {"model": {"uri": "pvc://models/merged", "sha256": "3e" * 32}}
    status = {"provenance": {"trainingRun": {"name": "r1"}}}
    whole = resource_of(made("ModelVersion", "m1", spec, status))
    assert lineage_of(whole, known(world)).made_here is False
    world.r1["status"]["result"]["merged"] = {"sha256": "3e" * 32}
    assert lineage_of(whole, known(world)).made_here is True


@pytest.mark.parametrize(
    ("passed", "told"),
    [
        (timedelta(seconds=30), "0m"),
        (timedelta(minutes=59), "59m"),
        (timedelta(hours=3, minutes=4), "3h4m"),
        (timedelta(days=2), "2d"),
        (timedelta(days=400, hours=5), "400d5h"),
        (timedelta(seconds=-90), "0m"),
    ],
)
def test_age(passed: timedelta, told: str) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert age(since, since + passed) == told
    assert age(None, since) == "unknown"
