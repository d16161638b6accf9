"""A real API server takes the CRDs and every sample, and refuses every bad one with the message it names.

Uses the cluster of KUBECONFIG with server-side dry runs in a namespace of its own.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from e2e_cluster import Cluster

from tradewind.api.common import Resource
from tradewind.api.parse import parse_manifest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
CRDS = sorted(ROOT.glob("crds/*.yaml"))
GOOD = sorted(ROOT.glob("crds/samples/*.yaml"))
BAD = sorted(ROOT.glob("crds/samples/bad/*.yaml"))
PAIRS = sorted(ROOT.glob("crds/samples/bad/*/after.yaml"))

CACHE = Path.home() / ".cache" / "tradewind" / "cluster"


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("kubectl") or str(CACHE / "bin" / "kubectl")
    environment = os.environ | {"KUBECONFIG": os.environ.get("KUBECONFIG", str(CACHE / "kubeconfig"))}
    return subprocess.run(
        [binary, *arguments], input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def expected(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# expect: ")


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    assert cluster
    for path in CRDS:
        applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
        assert applied.returncode == 0, applied.stderr
    waited = kubectl("wait", "--for=condition=Established", "--timeout=30s", *[f"--filename={p}" for p in CRDS])
    assert waited.returncode == 0, waited.stderr
    name = f"api-{uuid.uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).returncode == 0
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("path", CRDS, ids=lambda p: p.stem)
def test_definition_is_established_without_complaint(path: Path, namespace: str) -> None:
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    shown = kubectl("get", "crd", definition["metadata"]["name"], "-o", "yaml")
    conditions = {c["type"]: c["status"] for c in yaml.safe_load(shown.stdout)["status"]["conditions"]}
    assert conditions.get("NamesAccepted") == "True"
    assert conditions.get("Established") == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_good_sample_is_accepted(path: Path, namespace: str) -> None:
    created = kubectl("create", "--dry-run=server", "-n", namespace, "-f", str(path))
    assert created.returncode == 0, created.stderr
    assert "unknown field" not in created.stderr


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_sample_is_refused_with_its_message(path: Path, namespace: str) -> None:
    created = kubectl("create", "--dry-run=server", "-n", namespace, "-f", str(path))
    assert created.returncode != 0
    assert expected(path) in created.stderr
    assert "rule evaluation error" not in created.stderr
    assert "no such key" not in created.stderr


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.parent.name)
def test_edit_of_an_immutable_field_is_refused(path: Path, namespace: str) -> None:
    before = path.with_name("before.yaml")
    created = kubectl("create", "-n", namespace, "-f", str(before))
    assert created.returncode == 0, created.stderr
    try:
        edited = kubectl(
            "apply", "--dry-run=server", "--server-side", "--force-conflicts", "-n", namespace, "-f", str(path)
        )
        assert edited.returncode != 0
        assert expected(path) in edited.stderr
    finally:
        kubectl("delete", "-n", namespace, "-f", str(before))


def test_the_server_fills_the_defaults_that_the_types_assume(namespace: str) -> None:
    for path in GOOD:
        shown = kubectl("create", "--dry-run=server", "-n", namespace, "-f", str(path), "-o", "yaml")
        stored = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(shown.stdout)}
        for written in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            ours, theirs = parse_manifest(written), parse_manifest(stored[written["kind"], written["metadata"]["name"]])
            assert isinstance(ours, Resource)
            assert isinstance(theirs, Resource), theirs
            assert ours.spec == theirs.spec, path.stem


def test_only_suspend_of_a_run_can_change(namespace: str) -> None:
    sample = yaml.safe_load((ROOT / "crds/samples/trainingrun-minimal.yaml").read_text(encoding="utf-8"))
    created = kubectl("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(sample))
    assert created.returncode == 0, created.stderr
    sample["spec"]["suspend"] = True
    changed = kubectl(
        "apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(sample)
    )
    assert changed.returncode == 0, changed.stderr
    kubectl("delete", "-n", namespace, "trainingrun", sample["metadata"]["name"])


def test_kubectl_shows_the_kinds_by_category_and_short_name(namespace: str) -> None:
    listed = kubectl("api-resources", "--categories=tradewind", "--no-headers").stdout
    for plural, short in (
        ("endpoints", "twep"),
        ("trainingruns", "twrun"),
        ("trainingschedules", "twsched"),
        ("modelversions", "twmv"),
        ("abexperiments", "twab"),
    ):
        assert any(line.split()[:2] == [plural, short] for line in listed.splitlines()), listed
    explained = kubectl("explain", "abexperiment.spec.evidence.alpha")
    assert "Chance of promoting a candidate that is no better" in explained.stdout
