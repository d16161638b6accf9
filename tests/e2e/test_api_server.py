"""A real API server takes the CRDs and every sample, and refuses every bad one with the message it names.

Uses the cluster of KUBECONFIG with server-side dry runs in a namespace of its own.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tradewind.api.common import Resource
from tradewind.api.parse import parse_manifest
from tradewind.shell.children import NO_OBJECT
from workshop.client import Cluster
from workshop.namespace import Namespace

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
CRDS = sorted(ROOT.glob("crds/*.yaml"))
GOOD = sorted(ROOT.glob("crds/samples/*.yaml"))
BAD = sorted(ROOT.glob("crds/samples/bad/*.yaml"))
PAIRS = sorted(ROOT.glob("crds/samples/bad/*/after.yaml"))


def expected(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# expect: ")


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[Namespace]:
    """An empty namespace on a server that has the definitions."""
    cluster.apply(*[yaml.safe_load(path.read_text(encoding="utf-8")) for path in CRDS])
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *[f"--filename={p}" for p in CRDS])
    found = Namespace(cluster, f"api-{uuid.uuid4().hex[:8]}")
    cluster.kubectl("create", "namespace", found.name)
    yield found
    cluster.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.mark.parametrize("path", CRDS, ids=lambda p: p.stem)
def test_definition_is_established_without_complaint(path: Path, space: Namespace) -> None:
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    shown = space.attempt("get", "crd", definition["metadata"]["name"], "-o", "yaml")
    conditions = {c["type"]: c["status"] for c in yaml.safe_load(shown.stdout)["status"]["conditions"]}
    assert conditions.get("NamesAccepted") == "True"
    assert conditions.get("Established") == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_good_sample_is_accepted(path: Path, space: Namespace) -> None:
    created = space.attempt("create", "--dry-run=server", "-f", str(path))
    assert created.returncode == 0, created.stderr
    assert "unknown field" not in created.stderr


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_sample_is_refused_with_its_message(path: Path, space: Namespace) -> None:
    created = space.attempt("create", "--dry-run=server", "-f", str(path))
    assert created.returncode != 0
    assert expected(path) in created.stderr
    assert "rule evaluation error" not in created.stderr
    assert "no such key" not in created.stderr


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.parent.name)
def test_edit_of_an_immutable_field_is_refused(path: Path, space: Namespace) -> None:
    before = path.with_name("before.yaml")
    created = space.attempt("create", "-f", str(before))
    assert created.returncode == 0, created.stderr
    try:
        edited = space.attempt("apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", str(path))
        assert edited.returncode != 0
        assert expected(path) in edited.stderr
    finally:
        space.attempt("delete", "-f", str(before))


def test_the_server_fills_the_defaults_that_the_types_assume(space: Namespace) -> None:
    for path in GOOD:
        shown = space.attempt("create", "--dry-run=server", "-f", str(path), "-o", "yaml")
        stored = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(shown.stdout)}
        for written in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            ours, theirs = parse_manifest(written), parse_manifest(stored[written["kind"], written["metadata"]["name"]])
            assert isinstance(ours, Resource)
            assert isinstance(theirs, Resource), theirs
            assert ours.spec == theirs.spec, path.stem  # type: ignore[attr-defined]


def test_only_suspend_of_a_run_can_change(space: Namespace) -> None:
    sample = yaml.safe_load((ROOT / "crds/samples/trainingrun-minimal.yaml").read_text(encoding="utf-8"))
    created = space.attempt("create", "-f", "-", given=yaml.safe_dump(sample))
    assert created.returncode == 0, created.stderr
    sample["spec"]["suspend"] = True
    changed = space.attempt("apply", "--server-side", "--force-conflicts", "-f", "-", given=yaml.safe_dump(sample))
    assert changed.returncode == 0, changed.stderr
    space.attempt("delete", "trainingrun", sample["metadata"]["name"])


def test_kubectl_shows_the_kinds_by_category_and_short_name(space: Namespace) -> None:
    listed = space.attempt("api-resources", "--categories=tradewind", "--no-headers").stdout
    for plural, short in (
        ("endpoints", "twep"),
        ("trainingruns", "twrun"),
        ("trainingschedules", "twsched"),
        ("modelversions", "twmv"),
        ("abexperiments", "twab"),
    ):
        assert any(line.split()[:2] == [plural, short] for line in listed.splitlines()), listed
    explained = space.attempt("explain", "abexperiment.spec.evidence.alpha")
    assert "Chance of promoting a candidate that is no better" in explained.stdout


# What shell/children.py rests on. A double of the server keeps to the same answers: tests/shell/server_double.py.


def applied(space: Namespace, name: str, **metadata: str) -> subprocess.CompletedProcess[str]:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"by": "us"}}
    command = ("apply", "--server-side", "--force-conflicts", "--field-manager=us", "-o", "json", "-f", "-")
    return space.attempt(*command, given=json.dumps(body))


def test_an_apply_bound_to_no_version_makes_an_object_and_takes_none_over(space: Namespace) -> None:
    made = applied(space, "bound", resourceVersion=NO_OBJECT)
    assert made.returncode == 0, made.stderr
    fields = json.loads(space.kubectl("get", "configmap", "bound", "-o", "json", "--show-managed-fields"))["metadata"]
    assert [(e["manager"], e["operation"]) for e in fields["managedFields"]] == [("us", "Apply")]
    space.kubectl("create", "configmap", "foreign", "--from-literal=by=them")
    for name in ("bound", "foreign"):
        again = applied(space, name, resourceVersion=NO_OBJECT)
        assert again.returncode != 0
        assert "the object has been modified" in again.stderr
    assert json.loads(space.kubectl("get", "configmap", "foreign", "-o", "json"))["data"] == {"by": "them"}


def test_an_apply_bound_to_a_uid_reaches_that_object_alone(space: Namespace) -> None:
    uid = json.loads(applied(space, "first").stdout)["metadata"]["uid"]
    assert applied(space, "first", uid=uid).returncode == 0
    space.kubectl("create", "configmap", "second", "--from-literal=by=them")
    refused = applied(space, "second", uid=uid)
    assert refused.returncode != 0
    assert "field is immutable" in refused.stderr
    absent = applied(space, "third", uid=uid)
    assert absent.returncode != 0
    assert "no existing object was found" in absent.stderr
    assert space.get("ConfigMap", "third") is None
