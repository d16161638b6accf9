"""One installation for all tests on the cluster, one namespace a test module.

Fixtures:
    cluster       (session) kubectl, helm, reads.
    installation  (session) both charts, installed by helm into `tradewind-e2e`, watching the namespaces of NAMESPACES alone.
    space         (module)  the module's namespace, with the Secrets that Endpoints need; our kinds in it are deleted
                  afterwards, the namespace with the installation, whose Roles are in it.
    arms          (session) URL of the stand-in arms, for their counts.

An operator that watches the whole cluster (the demo's) would work on the same objects. So the namespaces are labelled,
and an admission policy of the session's own refuses the writes of other operators in them. Nothing of anybody else's is
changed or stopped.
"""

import json
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from chart_tools import missing
from e2e_cluster import (
    RELEASE,
    ROOT,
    SESSION_LABEL,
    SYSTEM,
    Cluster,
    Installation,
    Space,
    arms_server,
    load_images,
    secrets,
    wait_for,
)

NAMESPACES = {f"test_{name}": f"{SYSTEM}-{name}" for name in ("faults", "install", "live", "loop", "replay")}
"""Namespace of each module. A Role and a copy of the database's Secret are made in each at installation."""
SHIELD = f"{SYSTEM}-shield"
CRDS_NAMESPACE = "tradewind-system"
"""Where `make demo` has the release of the kinds, too."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    found = Cluster.connect()
    if found is None:
        missing("no cluster answers: make cluster, or set KUBECONFIG")
    yield found
    found.close()


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    return load_images()


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    names = list(NAMESPACES.values())
    keep = bool(os.environ.get("E2E_KEEP"))  # while writing tests: the installation stays for the next session
    _remove(cluster, [] if keep else names, system=not keep)
    wait_for("namespaces of an earlier session are gone", lambda: not _terminating(cluster, names), 180)
    for name in (SYSTEM, *names):
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {SESSION_LABEL: SYSTEM}}}
        cluster.kubectl("apply", "-f", "-", given=json.dumps(made))
    cluster.kubectl("apply", "-f", "-", given=json.dumps(_shield()))
    # The kinds are the cluster's, whoever installs them: one release of them, which outlives this session.
    crds = ["helm", "upgrade", "--install", "-n", CRDS_NAMESPACE, "--create-namespace", "--take-ownership", "--wait"]
    cluster.run(*crds, "tradewind-crds", str(ROOT / "charts" / "tradewind-crds"))
    system = Space(cluster, SYSTEM)
    system.apply(*arms_server(images["demo"]))
    installation = Installation(cluster, images, names, tmp_path_factory.mktemp("e2e"))
    installation.upgrade()
    wait_for("the arms answer", lambda: _ready(system, "arms"), 120)
    yield installation
    if not keep:
        _remove(cluster, names)
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            cluster.kubectl("delete", kind, SHIELD, "--ignore-not-found", check=False)


@pytest.fixture(scope="session")
def arms(cluster: Cluster, installation: Installation) -> str:
    service = cluster.get("Service", "arms", SYSTEM)
    assert service is not None
    return f"http://{service['spec']['clusterIP']}"


@pytest.fixture(scope="module")
def space(request: pytest.FixtureRequest, cluster: Cluster, installation: Installation) -> Iterator[Space]:
    found = Space(cluster, NAMESPACES[request.module.__name__.rpartition(".")[2]])
    if os.environ.get("E2E_KEEP"):
        found.clear()
        installation.forget()
    found.apply(*secrets())
    yield found
    if not os.environ.get("E2E_KEEP"):
        found.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What the cluster looked like when a test failed."""
    outcome: Any = yield
    report = outcome.get_result()
    cluster = getattr(item, "funcargs", {}).get("cluster") or getattr(
        getattr(item, "funcargs", {}).get("space"), "cluster", None
    )
    if report.failed and isinstance(cluster, Cluster):
        name = NAMESPACES.get(item.module.__name__.rpartition(".")[2]) if isinstance(item, pytest.Function) else None
        for namespace in (SYSTEM, *([name] if name else [])):
            try:
                report.sections.append((f"cluster: {namespace}", Space(cluster, namespace).anatomy()))
            except Exception as error:  # the anatomy of a failure must not hide the failure
                report.sections.append((f"cluster: {namespace}", f"not readable: {error!r}"))


def _module(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _terminating(cluster: Cluster, names: list[str]) -> bool:
    """Whether a namespace is still going; versions whose operator is gone are let go of, or it would never end."""
    for name in names:
        for version in Space(cluster, name).select("ModelVersion"):
            if version["metadata"].get("deletionTimestamp") and version["metadata"].get("finalizers"):
                patch = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
                cluster.kubectl("-n", name, "patch", "modelversion", version["metadata"]["name"], *patch, check=False)
    found = [cluster.get("Namespace", name) for name in (SYSTEM, *names)]
    return any(space and space["status"]["phase"] == "Terminating" for space in found)


def _ready(space: Space, deployment: str) -> bool:
    found = space.get("Deployment", deployment)
    return bool(found and (found.get("status") or {}).get("readyReplicas"))


def _shield() -> dict[str, Any]:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": SHIELD},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]},
                ]
            },
            "matchConditions": [
                {
                    "name": "another-operator",
                    "expression": "request.userInfo.username.matches('^system:serviceaccount:[^:]+:.*-operator$') && "
                    f"!request.userInfo.username.startsWith('system:serviceaccount:{SYSTEM}:')",
                }
            ],
            "validations": [
                {"expression": "false", "message": "this namespace belongs to the installation under test"}
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": SHIELD},
        "spec": {
            "policyName": SHIELD,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {SESSION_LABEL: SYSTEM}}},
        },
    }
    return {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}


def _remove(cluster: Cluster, names: list[str], *, system: bool = True) -> None:
    """What this session, or an earlier one that was interrupted, has made. Endpoints go while their operator runs."""
    for name in names:
        Space(cluster, name).delete()
    if system and cluster.get("Namespace", SYSTEM) is not None:
        cluster.run("helm", "uninstall", "-n", SYSTEM, RELEASE, "--ignore-not-found", "--wait", check=False)
        cluster.kubectl("delete", "namespace", SYSTEM, "--wait=false", "--ignore-not-found", check=False)
