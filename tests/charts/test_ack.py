"""The plans for ACK: each file of values renders, and a real API server takes what it renders and the manifests beside it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import ROOT, kubectl, missing, template

from tradewind.api.common import GROUP, Resource
from tradewind.api.parse import parse_manifest

PLANS = ("on-demand", "reserved", "mixed", "spot", "shared-gpus", "own-servers")
VALUES = ("ack", "own-servers")
ACK = ROOT / "docs" / "ack"


def manifests(plan: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ACK / f"{plan}.yaml").read_text(encoding="utf-8")))


def test_each_plan_has_values_and_manifests_and_each_file_is_in_the_page() -> None:
    names = {f"values-{name}.yaml" for name in VALUES} | {f"{plan}.yaml" for plan in PLANS}
    assert {path.name for path in ACK.glob("*.yaml")} == names
    page = (ACK / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in page for name in names)


@pytest.mark.parametrize("plan", PLANS)
def test_the_kinds_of_a_plan_are_read_as_they_are_meant(plan: str) -> None:
    for raw in manifests(plan):
        if raw["apiVersion"].startswith(GROUP):
            parsed = parse_manifest(raw)
            assert isinstance(parsed, Resource), parsed


@pytest.mark.parametrize(("plan", "serves_on_gpu"), [(plan, plan != "mixed") for plan in PLANS])
def test_a_plan_trains_and_serves_where_it_says(plan: str, *, serves_on_gpu: bool) -> None:
    (schedule,) = [raw for raw in manifests(plan) if raw["kind"] == "TrainingSchedule"]
    run = schedule["spec"]["template"]["spec"]
    serving = run["modelVersion"]["serving"]
    gpu = "aliyun.com/gpu-mem" if plan == "shared-gpus" else "nvidia.com/gpu"
    assert gpu in run["resources"]["limits"]
    assert (gpu in serving["resources"]["limits"]) is serves_on_gpu


@pytest.fixture(scope="module")
def server() -> None:
    if kubectl("get", "--raw", "/readyz").returncode:
        missing("no cluster answers: make cluster, or set KUBECONFIG")
    for path in sorted(Path(ROOT / "crds").glob("*.yaml")):
        assert kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path)).returncode == 0


@pytest.mark.e2e
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.usefixtures("server")
def test_the_api_server_takes_what_the_values_render(name: str) -> None:
    """In a namespace that exists: a dry run makes none. Its own name keeps it from anybody else's objects."""
    values = ("--values", str(ACK / f"values-{name}.yaml"), "--set", "watchNamespaces={default}")
    documents = template("tradewind", *values, "--set", f"fullnameOverride=plan-{name}", namespace="default")
    assert {d["kind"] for d in documents} >= {"Deployment", "Job", "Role"}
    taken = kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(documents))
    assert taken.returncode == 0, taken.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.usefixtures("server")
def test_the_api_server_takes_the_manifests_of_a_plan(plan: str) -> None:
    taken = kubectl("apply", "--dry-run=server", "-n", "default", "-f", str(ACK / f"{plan}.yaml"))
    assert taken.returncode == 0, taken.stderr
    assert len(taken.stdout.splitlines()) == len(manifests(plan))
