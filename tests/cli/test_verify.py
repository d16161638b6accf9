"""`tradewind verify`: every link breaks alone, what is not known is never right, and what may not be read says so."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api_double import JSONHandler, serving
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse
from tradewind.cli.verify import exit_code, render
from tradewind.core.identity import spec_sha256
from tradewind.core.lineage import EVALUATED, PODS, ROWS, RUN, SERVED, TEMPLATE, Found, Link, Listed, Read, State
from tradewind.core.lineage_use import ENDPOINT, EXPERIMENT, ROUTING, links, worst
from tradewind.main import cli

Json = dict[str, Any]
OURS = "tradewind.dev/v1alpha1"
DATA, ADAPTER, BASE, OTHER = "d1" * 32, "a1" * 32, "b1" * 32, "0f" * 32
IMAGE = "registry.example.com/predictor@sha256:" + "c1" * 32
LABELS = {"serving.kserve.io/inferenceservice": "v1"}
TREE = {
    OURS: {
        "Endpoint": "endpoints",
        "TrainingRun": "trainingruns",
        "TrainingSchedule": "trainingschedules",
        "ModelVersion": "modelversions",
        "ABExperiment": "abexperiments",
    },
    "serving.kserve.io/v1beta1": {"InferenceService": "inferenceservices"},
    "apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
    "v1": {"Pod": "pods", "ConfigMap": "configmaps"},
}


def thing(api_version: str, kind: str, name: str, uid: str, owner: tuple[str, str, str, str] | None = None) -> Json:
    meta: Json = {"name": name, "namespace": "trading", "uid": uid, "generation": 1}
    if owner is not None:
        meta["ownerReferences"] = [dict(zip(("apiVersion", "kind", "name", "uid"), owner, strict=True))]
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": {}, "status": {}}


def condition(kind: str, status: str = "True") -> Json:
    when = "2026-03-01T00:00:00Z"
    return {"type": kind, "status": status, "reason": "Why", "observedGeneration": 1, "lastTransitionTime": when}


def parsed(body: Json) -> ModelVersion:
    version = parse(ModelVersion, body)
    assert not isinstance(version, InvalidSpec), version
    return version


class World:
    """A version of which every link holds, with all that it is held against."""

    def __init__(self) -> None:
        self.version = thing(OURS, "ModelVersion", "v1", "u-version")
        base = {"uri": "pvc://models/base", "sha256": BASE}
        adapter = {"uri": "pvc://models/runs/r1/adapter", "sha256": ADAPTER, "baseModel": base, "trainingRun": "r1"}
        self.version["spec"] = {"adapter": adapter, "evaluation": {"dataset": {"endpoint": "trader"}}}
        self.version["status"] = {
            "conditions": [condition("ArtifactVerified"), condition("Evaluated")],
            "sha256": ADAPTER,
            "evaluation": {
                "gates": [
                    {"name": "minJsonValidity", "value": 1.0, "threshold": 0.99, "passed": True},
                    {"name": "minAgreement", "value": 0.7, "threshold": 0.6, "passed": True},
                ],
                "since": "2026-02-03T00:00:00Z",
            },
            "provenance": {
                "trainingRun": {"name": "r1"},
                "datasetSha256": DATA,
                "watermark": "2026-02-01T00:00:00Z",
                "image": IMAGE,
                "templateHash": "feedfeedfeedfeed",
            },
        }
        self.run = thing(OURS, "TrainingRun", "r1", "u-run")
        self.run["spec"] = {
            "baseModel": {"uri": "pvc://models/base"},
            "dataset": {"endpoint": "trader"},
            "output": {"uri": "pvc://models/runs"},
        }
        self.run["status"] = {
            "completionTime": "2026-02-02T00:00:00Z",
            "dataset": {"sha256": DATA, "watermark": "2026-02-01T08:00:00+08:00"},
            "result": {"sha256": ADAPTER, "baseSha256": BASE, "uri": "pvc://models/runs/r1/adapter"},
            "modelVersionRef": {"name": "v1", "uid": "u-version"},
        }
        kserve = "serving.kserve.io/v1beta1"
        self.service = thing(kserve, "InferenceService", "v1", "u-isvc", (OURS, "ModelVersion", "v1", "u-version"))
        self.service["metadata"]["annotations"] = {"tradewind.dev/template-hash": "feedfeedfeedfeed"}
        owner = kserve, "InferenceService", "v1", "u-isvc"
        self.deployment = thing("apps/v1", "Deployment", "v1-predictor", "u-deploy", owner)
        owner = "apps/v1", "Deployment", "v1-predictor", "u-deploy"
        self.replicas = thing("apps/v1", "ReplicaSet", "v1-predictor-1", "u-rs", owner)
        self.pods = [self.pod("a"), self.pod("b")]
        ref = {"name": "v1", "uid": "u-version", "sha256": ADAPTER, "specSha256": spec_sha256(parsed(self.version))}
        self.endpoint = thing(OURS, "Endpoint", "trader", "u-endpoint")
        self.endpoint["status"] = {"championRef": dict(ref)}
        self.routing = thing("v1", "ConfigMap", "trader-routing", "u-cm", (OURS, "Endpoint", "trader", "u-endpoint"))
        self.arm = {"sha256": ADAPTER, "specSha256": ref["specSha256"]}
        self.experiment = thing(OURS, "ABExperiment", "ab", "u-ab")
        self.experiment["spec"] = {"endpointRef": {"name": "trader"}}
        self.experiment["status"] = {"t0": "2026-03-02T00:00:00Z", "baselineRef": dict(ref)}

    def pod(self, name: str) -> Json:
        pod = thing(
            "v1", "Pod", f"v1-predictor-1-{name}", f"u-{name}", ("apps/v1", "ReplicaSet", "v1-predictor-1", "u-rs")
        )
        pod["metadata"]["labels"] = LABELS
        pod["status"] = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"ready": True, "imageID": IMAGE}],
        }
        return pod

    def all(self) -> list[Json]:
        """What the API server has."""
        self.routing["data"] = {"routing.json": json.dumps({"arms": {"v1": self.arm}})}
        chain = [self.version, self.run, self.service, self.deployment, self.replicas, *self.pods]
        return [*chain, self.endpoint, self.routing, self.experiment]

    def found(self) -> Found:
        self.all()
        owners = {body["metadata"]["uid"]: Read(body) for body in (self.service, self.deployment, self.replicas)}
        return Found(
            parsed(self.version),
            run=Read(self.run),
            service=Read(self.service),
            pods=Listed(tuple(self.pods)),
            owners=owners,
            endpoints=Listed((self.endpoint,)),
            experiments=Listed((self.experiment,)),
            routing={"trader": Read(self.routing)},
        )


def at(body: Json, path: str) -> tuple[Any, Any]:
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    holder: Any = body
    for part in way:
        holder = holder[part]
    return holder, last


def differing(chain: tuple[Link, ...], state: State) -> list[str]:
    return [link.link for link in chain if link.state is state]


def test_all_that_is_read_holds() -> None:
    chain = links(World().found())
    assert {link.state for link in chain} == {State.OK}, render(chain)
    assert {link.link for link in chain} == {
        ROWS, RUN, SERVED, TEMPLATE, PODS, EVALUATED, ENDPOINT, ROUTING, EXPERIMENT,
    }  # fmt: skip
    assert exit_code(chain) == 0
    assert len([link for link in chain if link.link == PODS]) == 2


BREAKS: list[tuple[str, str, Any, str, str]] = [
    ("run", "status.dataset.sha256", OTHER, ROWS, "status.dataset.sha256"),
    ("run", "status.dataset.watermark", "2026-02-01T00:00:01Z", ROWS, "status.dataset.watermark"),
    ("version", "status.provenance.trainingRun.name", "r2", RUN, "status.provenance.trainingRun.name"),
    ("run", "status.result.sha256", OTHER, RUN, "status.result.sha256"),
    ("run", "status.result.uri", "pvc://models/runs/r2/adapter", RUN, "status.result.uri"),
    ("run", "status.result.baseSha256", OTHER, RUN, "status.result.baseSha256"),
    ("run", "status.modelVersionRef.name", "v2", RUN, "status.modelVersionRef.name"),
    ("run", "status.modelVersionRef", None, RUN, "status.modelVersionRef.name"),
    ("version", "status.sha256", OTHER, SERVED, "spec.adapter.sha256"),
    ("version", "status.conditions.0.status", "False", SERVED, "condition ArtifactVerified"),
    ("version", "status.provenance.templateHash", "0123456789abcdef", TEMPLATE, "status.provenance.templateHash"),
    ("service", "metadata.annotations", {"tradewind.dev/template-hash": "00"}, TEMPLATE, "templateHash"),
    ("service", "metadata.ownerReferences.0.uid", "u-before", TEMPLATE, "InferenceService/v1 owner's uid"),
    ("pods", "0.status.containerStatuses.0.imageID", IMAGE.replace("c1", "c2"), PODS, "provenance.image"),
    ("pods", "1.metadata.ownerReferences.0.uid", "u-foreign", PODS, "Pod/v1-predictor-1-b"),
    ("pods", "1.metadata.ownerReferences", [], PODS, "Pod/v1-predictor-1-b"),
    ("version", "status.conditions.1.status", "False", EVALUATED, "condition Evaluated"),
    ("version", "status.evaluation.gates.1.passed", False, EVALUATED, "gate minAgreement"),
    ("version", "status.evaluation.since", "2026-01-31T00:00:00Z", EVALUATED, "status.evaluation.since"),
    ("version", "status.evaluation.since", "2026-02-01T23:59:59Z", EVALUATED, "status.evaluation.since"),
    ("endpoint", "status.championRef.sha256", OTHER, ENDPOINT, "championRef.sha256"),
    ("endpoint", "status.championRef.specSha256", OTHER, ENDPOINT, "championRef.specSha256"),
    ("endpoint", "status.fallbackRef", {"name": "v1", "uid": "u-before"}, ENDPOINT, "fallbackRef.uid"),
    ("arm", "sha256", OTHER, ROUTING, "arms[v1].sha256"),
    ("arm", "specSha256", OTHER, ROUTING, "arms[v1].specSha256"),
    ("routing", "metadata.ownerReferences.0.uid", "u-before", ROUTING, "routing of Endpoint/trader"),
    ("experiment", "status.baselineRef.sha256", OTHER, EXPERIMENT, "baselineRef.sha256"),
    ("experiment", "status.baselineRef.specSha256", OTHER, EXPERIMENT, "baselineRef.specSha256"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "path", "value", "link", "what"), BREAKS)
def test_what_breaks_is_reported_alone(body: str, path: str, value: Any, link: str, what: str) -> None:
    world = World()
    holder, key = at(getattr(world, body), path)
    holder[key] = value
    chain = links(world.found())
    broken = [found for found in chain if found.state is State.BROKEN]
    assert [found.link for found in broken] == [link], render(chain)
    assert what in broken[0].sides[0].what
    assert exit_code(chain) == 1
    assert render(chain).count("BROKEN ") == 1


SILENT = [
    ("run", "status.dataset.sha256", ROWS),
    ("run", "status.dataset.watermark", ROWS),
    ("version", "status.provenance.datasetSha256", ROWS),
    ("version", "spec.adapter.baseModel.sha256", RUN),
    ("run", "status.result.baseSha256", RUN),
    ("version", "status.sha256", SERVED),
    ("version", "status.conditions.0", SERVED),
    ("version", "status.provenance.templateHash", TEMPLATE),
    ("service", "metadata.annotations", TEMPLATE),
    ("version", "status.provenance.image", PODS),
    ("version", "status.evaluation.since", EVALUATED),
    ("version", "status.evaluation.gates.0.passed", EVALUATED),
    ("version", "status.evaluation.gates", EVALUATED),
    ("endpoint", "status.championRef.specSha256", ENDPOINT),
    ("arm", "sha256", ROUTING),
    ("experiment", "status.baselineRef.specSha256", EXPERIMENT),
]


@pytest.mark.parametrize(("body", "path", "link"), SILENT)
def test_what_is_not_said_is_unknown(body: str, path: str, link: str) -> None:
    world = World()
    holder, key = at(getattr(world, body), path)
    del holder[key]
    if path == "spec.adapter.baseModel.sha256":  # who counts on it knows it as it is
        known = spec_sha256(parsed(world.version))
        for ref in (world.endpoint["status"]["championRef"], world.experiment["status"]["baselineRef"], world.arm):
            ref["specSha256"] = known
    chain = links(world.found())
    assert set(differing(chain, State.UNKNOWN)) == {link}, render(chain)
    assert not differing(chain, State.BROKEN), render(chain)
    assert exit_code(chain) == 3


@pytest.mark.parametrize(
    ("asked", "told", "state"),
    [
        ("int8", {"bits": 8}, State.OK),
        ("int8", {"bits": 4}, State.BROKEN),
        ("none", {"bits": 8}, State.BROKEN),
        ("int4", None, State.UNKNOWN),
        ("int4", {}, State.UNKNOWN),
    ],
)
def test_the_bits_that_were_measured_are_those_of_the_spec(asked: str, told: Json | None, state: State) -> None:
    """The hash is of the files, which are the same whatever they are rounded to."""
    world = World()
    world.version["spec"]["serving"] = {"quantization": asked}
    if told is not None:
        world.version["status"]["serving"] = {"quantization": told}
    chain = links(world.found())
    assert [link.state for link in chain if "quantization" in link.sides[0].what] == [state], render(chain)


def test_two_empty_words_are_not_the_same_hash() -> None:
    world = World()
    world.run["status"]["dataset"]["sha256"] = world.version["status"]["provenance"]["datasetSha256"] = ""
    assert differing(links(world.found()), State.UNKNOWN) == [ROWS]


def test_a_verified_condition_of_an_earlier_spec_says_nothing() -> None:
    world = World()
    world.version["metadata"]["generation"] = 2
    assert set(differing(links(world.found()), State.UNKNOWN)) == {SERVED, EVALUATED}


def test_a_run_that_cannot_be_read_is_unknown() -> None:
    world = World()
    world.run["spec"] = {}
    chain = links(world.found())
    assert differing(chain, State.UNKNOWN) == [ROWS, RUN]
    assert all("cannot be read: spec.baseModel" in link.why for link in chain if link.state is State.UNKNOWN)


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"arms": {"v2": {}}}', '{"arms": {"v1": 1}}', '{"arms": []}'])
def test_a_routing_document_without_the_arm_is_unknown(text: str) -> None:
    found = World().found()
    body = {**(found.routing["trader"].body or {}), "data": {"routing.json": text}}
    chain = links(replace(found, routing={"trader": Read(body)}))
    assert differing(chain, State.UNKNOWN) == [ROUTING]
    assert not differing(chain, State.BROKEN)


def test_a_run_that_goes_on_breaks_nothing() -> None:
    world = World()
    del world.run["status"]["completionTime"], world.run["status"]["modelVersionRef"], world.run["status"]["result"]
    chain = links(world.found())
    assert not differing(chain, State.BROKEN)
    assert set(differing(chain, State.UNKNOWN)) == {RUN}


def test_an_adapter_that_training_starts_from_has_a_watermark_of_its_own() -> None:
    world = World()
    world.run["spec"]["warmStartFrom"] = "v0"
    world.run["status"]["dataset"]["watermark"] = "2026-01-15T00:00:00Z"
    assert differing(links(world.found()), State.UNKNOWN) == [ROWS]
    parent = deepcopy(world.version)
    chain = links(replace(world.found(), parent=Read(parent)))
    assert {link.state for link in chain} == {State.OK}
    parent["status"]["provenance"]["watermark"] = "2026-01-20T00:00:00Z"
    chain = links(replace(world.found(), parent=Read(parent)))
    assert differing(chain, State.BROKEN) == [ROWS]


def test_rows_of_its_own_training_are_none_of_another() -> None:
    world = World()
    world.version["status"]["evaluation"]["since"] = "2026-01-31T00:00:00Z"
    for dataset, state in (
        ({"uri": "pvc://models/runs/r1/dataset", "sha256": DATA}, State.UNKNOWN),
        ({"uri": "pvc://models/runs/r1/dataset"}, State.UNKNOWN),
        ({"uri": "pvc://models/other", "sha256": OTHER}, State.BROKEN),
    ):
        world.version["spec"]["evaluation"]["dataset"] = dataset
        chain = links(world.found())
        assert differing(chain, state) == [EVALUATED], dataset


IMAGES = [
    ("docker-pullable://mirror.example.com/p@sha256:" + "c1" * 32, State.OK),
    ("registry.example.com/predictor:1.0", State.UNKNOWN),
    ("sha256:" + "c1" * 32, State.UNKNOWN),
]


@pytest.mark.parametrize(("image", "state"), IMAGES)
def test_an_image_is_its_digest(image: str, state: State) -> None:
    world = World()
    world.pods = world.pods[:1]
    world.pods[0]["status"]["containerStatuses"][0]["imageID"] = image
    assert [link.state for link in links(world.found()) if link.link == PODS] == [state]


def test_pods_that_are_not_ready_are_not_asked() -> None:
    world = World()
    for pod in world.pods:
        pod["status"]["containerStatuses"][0]["imageID"] = "another"
        pod["status"]["conditions"][0]["status"] = "False"
    chain = links(world.found())
    assert differing(chain, State.UNKNOWN) == [PODS]
    assert not differing(chain, State.BROKEN)


def foreign(world: World) -> None:
    del world.version["spec"]["adapter"]["trainingRun"]


def whole(world: World) -> None:
    world.version["spec"] = {"model": {"uri": "pvc://models/merged", "sha256": ADAPTER}}


@pytest.mark.parametrize("made", [foreign, whole])
def test_what_no_run_here_has_made_is_unknown_and_says_why(made: Callable[[World], None]) -> None:
    world = World()
    made(world)
    world.endpoint["status"] = world.experiment["status"] = {}
    chain = links(world.found())
    (unknown,) = [link for link in chain if link.state is State.UNKNOWN]
    assert unknown.link == RUN
    assert "no TrainingRun is named" in unknown.why
    assert not differing(chain, State.BROKEN)
    assert not {ROWS, ENDPOINT, ROUTING, EXPERIMENT} & {link.link for link in chain}


def test_an_external_version_is_never_right_by_hashes() -> None:
    world = World()
    external = {"external": {"baseURL": "https://api.example.com/v1", "model": "deepseek-chat"}}
    world.version["spec"] = external
    world.version["status"] = {"conditions": [condition("ArtifactVerified")]}
    known = spec_sha256(parsed(world.version))
    for ref in (world.endpoint["status"]["championRef"], world.experiment["status"]["baselineRef"], world.arm):
        ref["specSha256"] = known
        del ref["sha256"]
    chain = links(world.found())
    assert differing(chain, State.UNKNOWN) == [RUN]
    assert {link.link for link in chain if link.state is State.OK} == {ENDPOINT, ROUTING, EXPERIMENT}
    assert exit_code(chain) == 3
    world.arm["sha256"] = ADAPTER
    assert differing(links(world.found()), State.BROKEN) == [ROUTING]


def test_experiments_that_have_ended_mean_whoever_was_there_then() -> None:
    world = World()
    world.experiment["status"] |= {"completionTime": "2026-04-01T00:00:00Z"}
    world.experiment["status"]["baselineRef"]["specSha256"] = OTHER
    assert {link.state for link in links(world.found())} == {State.OK}


def test_a_version_that_was_made_anew_from_git_is_the_same() -> None:
    """Its uid is another one, and so are those that were kept of it before (docs/decisions/2026-11-27-versions-by-hash.md)."""
    world = World()
    world.run["status"]["modelVersionRef"]["uid"] = "u-before"
    world.endpoint["status"]["championRef"]["uid"] = "u-before"
    world.experiment["status"]["baselineRef"]["uid"] = "u-before"
    assert {link.state for link in links(world.found())} == {State.OK}


def test_of_no_link_nothing_is_known() -> None:
    assert worst(()) is State.UNKNOWN


def test_hashes_that_begin_alike_are_shown_whole() -> None:
    world = World()
    nearly = DATA[:-2] + "00"
    assert DATA not in render(links(world.found()))
    world.run["status"]["dataset"]["sha256"] = nearly
    told = render(links(world.found()))
    assert f"{nearly} != status.provenance.datasetSha256 {DATA}" in told
    assert (
        "status.evaluation.since 2026-02-03T00:00:00Z against status.provenance.watermark 2026-02-01T00:00:00Z" in told
    )


class Server(ThreadingHTTPServer):
    """The objects of a world; what stands in `refused` may not be read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = World()
        self.gone: set[str] = set()
        self.refused: set[str] = set()


class Handler(JSONHandler):
    server: Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        for api_version, plurals in TREE.items():
            base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            if path == base:
                kinds = [{"name": plural, "kind": kind, "namespaced": True} for kind, plural in plurals.items()]
                return self.answer({"resources": kinds})
            if path.startswith(f"{base}/"):
                plural, *name = path.removeprefix(f"{base}/namespaces/trading/").split("/")
                kind = next(kind for kind, known in plurals.items() if known == plural)
                return self.tell(kind, name, query)
        return self.answer({"message": "nothing"}, 404)

    def tell(self, kind: str, name: list[str], query: str) -> None:
        if kind in self.server.refused:
            return self.answer({"message": "no, not you"}, 403)
        bodies = [body for body in self.server.world.all() if body["kind"] == kind and kind not in self.server.gone]
        if name:
            bodies = [body for body in bodies if body["metadata"]["name"] == name[0]]
            return self.answer(bodies[0]) if bodies else self.answer({"message": "not found"}, 404)
        assert kind != "Pod" or "inferenceservice" in query
        return self.answer({"metadata": {"resourceVersion": "1"}, "items": bodies})


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    with serving(server, tmp_path / "config", monkeypatch, namespace="trading"):
        yield server


def test_the_command_reads_the_whole_chain(api: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["verify", "modelversion/v1"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1].endswith("0 BROKEN, 0 unknown")
    assert told == render(links(api.world.found())) + "\n"
    api.world.arm["sha256"] = OTHER
    assert cli(["verify", "modelversions", "v1", "-n", "trading", "-o", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["state"] == "BROKEN"
    (broken,) = [link for link in answer["links"] if link["state"] == "BROKEN"]
    assert [side["value"] for side in broken["sides"]] == [OTHER, ADAPTER]


@pytest.mark.parametrize(
    ("kind", "unknown"),
    [
        ("TrainingRun", {ROWS, RUN}),
        ("InferenceService", {TEMPLATE, PODS}),
        ("Pod", {PODS}),
        ("ConfigMap", {ROUTING}),
        ("Endpoint", set()),
        ("ABExperiment", set()),
    ],
)
def test_what_is_gone_is_unknown_or_left_out(
    kind: str, unknown: set[str], api: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    api.gone = {kind}
    assert cli(["verify", "modelversion/v1", "-o", "json"]) == (3 if unknown else 0)
    found = json.loads(capsys.readouterr().out)["links"]
    assert {link["link"] for link in found if link["state"] != "ok"} == unknown
    assert all(link["why"] for link in found if link["state"] != "ok")


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        ("TrainingRun", RUN),
        ("InferenceService", TEMPLATE),
        ("Pod", PODS),
        ("ReplicaSet", PODS),
        ("Endpoint", ENDPOINT),
        ("ConfigMap", ROUTING),
        ("ABExperiment", EXPERIMENT),
    ],
)
def test_a_right_that_is_missing_is_named(
    kind: str, link: str, api: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refused = {kind}
    assert cli(["verify", "modelversion/v1", "-o", "json"]) == 2
    found = json.loads(capsys.readouterr().out)["links"]
    assert any(
        each["link"] == link and each["state"] == "unknown" and f" {kind}: " in each["why"] and "ask for" in each["why"]
        for each in found
    )
    assert not any(each["state"] == "BROKEN" for each in found)


def test_a_replica_set_made_anew_under_its_name_owns_nothing(api: Server, capsys: pytest.CaptureFixture[str]) -> None:
    api.world.replicas["metadata"]["uid"] = "u-after"
    assert cli(["verify", "modelversion/v1"]) == 1
    assert capsys.readouterr().out.count("BROKEN   served -> pods") == 2


def test_an_arm_that_is_only_tested_is_routed_as_well(api: Server, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, endpoint = api.world.experiment["status"], api.world.endpoint["status"]
    experiment["candidateRef"] = experiment.pop("baselineRef")
    endpoint["championRef"]["name"] = "v0"
    api.world.arm["sha256"] = OTHER
    assert cli(["verify", "modelversion/v1", "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["links"]
    assert [link["link"] for link in found if link["state"] == "BROKEN"] == [ROUTING]
    assert not any(link["link"] == ENDPOINT for link in found)
    experiment["completionTime"] = "2026-04-01T00:00:00Z"
    assert cli(["verify", "modelversion/v1"]) == 0


def test_owners_that_no_cluster_serves_own_nothing(api: Server, capsys: pytest.CaptureFixture[str]) -> None:
    api.world.pods[0]["metadata"]["ownerReferences"][0]["apiVersion"] = "made.example.com/v1"
    api.world.pods[0]["metadata"]["ownerReferences"][0]["uid"] = "u-made"
    assert cli(["verify", "modelversion/v1"]) == 1
    assert "Pod/v1-predictor-1-a owners != InferenceService uid u-isvc" in capsys.readouterr().out


def test_what_cannot_be_verified_says_what_to_write(api: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code, told in (
        (["modelversion/v2"], 1, "did you mean v1?"),
        (["endpoint/trader"], 2, "write modelversion/NAME"),
        (["modelversion"], 2, "write modelversion/NAME"),
        (["modelversion/v1", "v2"], 2, "one name"),
    ):
        assert cli(["verify", *words]) == code
        assert told in capsys.readouterr().err
    api.world.version["spec"] = {}
    assert cli(["verify", "modelversion/v1"]) == 2
    assert "exactly one of adapter, model and external" in capsys.readouterr().err
