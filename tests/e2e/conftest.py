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

import os
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from chart_tools import missing
from installation import RELEASE, SESSION_LABEL, SYSTEM, Installation
from space import Space

from cluster import current
from cluster.images import built
from cluster.layout import Layout
from manifests import arms_server, secrets
from workshop import charts
from workshop.client import Cluster, Json
from workshop.progress import StepError
from workshop.waiting import wait_for

NAMESPACES = {
    f"test_{name}": f"{SYSTEM}-{name.replace('_', '-')}"
    for name in (
        "by_hand",
        "external",
        "faults",
        "forged_routing",
        "foreign_objects",
        "install",
        "interrupted",
        "kueue",
        "live",
        "loop",
        "namespace_going",
        "network_policies",
        "no_host_access",
        "nodes",
        "recovery",
        "replay",
        "secrets_go_nowhere",
        "shadow",
        "shared_gateways",
        "stores",
        "swaps",
        "swapped_versions",
        "tenants",
        "troubleshooting",
        "under_fire",
        "verbs",
    )
}
"""Namespace of each module. A Role and a copy of the database's Secret are made in each at installation."""
SHIELD = f"{SYSTEM}-shield"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster(current.environment(Layout.default())) as found:
        try:
            answer = found.readiness()
        except StepError as error:
            missing(f"{error}: make cluster")
        if answer.status != HTTPStatus.OK:
            missing(f"no cluster answers ({answer.body}): make cluster, or CLUSTER=current and KUBECONFIG")
        yield found


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    return built(Layout.default())


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    names = list(NAMESPACES.values())
    keep = bool(os.environ.get("E2E_KEEP"))  # while writing tests: the installation stays for the next session
    _remove(cluster, [] if keep else names, system=not keep)
    wait_for(
        "namespaces of an earlier session to go", lambda: _going(cluster, names), lambda left: not left, seconds=180
    )
    for name in (SYSTEM, *names):
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {SESSION_LABEL: SYSTEM}}}
        cluster.apply(made)
    cluster.apply(*_shield())
    charts.install_kinds(cluster)  # they outlive this session
    system = Space(cluster, SYSTEM)
    system.apply(*arms_server(images["demo"]))
    installation = Installation(cluster, images, names, tmp_path_factory.mktemp("e2e"))
    installation.upgrade()
    system.wait_available("arms", seconds=120)
    yield installation
    if not keep:
        _remove(cluster, names)
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            cluster.kubectl("delete", kind, SHIELD, "--ignore-not-found", check=False)


@pytest.fixture(scope="session")
def arms(cluster: Cluster, installation: Installation) -> str:
    return Space(cluster, SYSTEM).address("arms")


@pytest.fixture(scope="module")
def space(request: pytest.FixtureRequest, cluster: Cluster, installation: Installation) -> Iterator[Space]:
    found = Space(cluster, NAMESPACES[request.module.__name__.rpartition(".")[2]])
    if os.environ.get("E2E_KEEP"):
        found.clear()
        installation.database.forget()
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


def _going(cluster: Cluster, names: list[str]) -> list[str]:
    return [name for name in (SYSTEM, *names) if Space(cluster, name).terminating()]


def _shield() -> tuple[Json, Json]:
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
    return policy, binding


def _remove(cluster: Cluster, names: list[str], *, system: bool = True) -> None:
    """What this session, or an earlier one that was interrupted, has made. Endpoints go while their operator runs."""
    for name in names:
        Space(cluster, name).delete()
    if system and cluster.get("Namespace", SYSTEM) is not None:
        cluster.run("helm", "uninstall", "-n", SYSTEM, RELEASE, "--ignore-not-found", "--wait", check=False)
        cluster.kubectl("delete", "namespace", SYSTEM, "--wait=false", "--ignore-not-found", check=False)
