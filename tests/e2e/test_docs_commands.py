"""The commands of README.md and docs/install.md on a cluster, word for word but for what SUBSTITUTES and LEFT_OUT name.

An installation of its own, from the documented commands alone: kinds, operator with the embedded database, a namespace with an
Endpoint, an upgrade, a rollback, and the end. What needs no cluster is in tests/docs/.
"""

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from installation import ROOT, SYSTEM
from pages import Page
from space import Space

from workshop import charts
from workshop.client import Cluster, condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

INSTALL, README, RECOVERY = (Page(ROOT / page) for page in ("docs/install.md", "README.md", "docs/recovery.md"))
OPERATORS, TRADING = f"{SYSTEM}-docs", f"{SYSTEM}-docs-trading"
SHIELD = f"{OPERATORS}-shield"
SUBSTITUTES = (
    # The names on the pages may be somebody's installation.
    (r"(-n|--namespace|namespace) tradewind\b", rf"\1 {OPERATORS}"),
    (r"(-n|--namespace|namespace) trading\b", rf"\1 {TRADING}"),
    (r"\{trading\}", f"{{{TRADING}}}"),
    # The kinds belong to the release of all tests, which takes them back at the end.
    (r"helm (install|upgrade) tradewind-crds (.*)", r"helm \1 tradewind-crds \2 --take-ownership"),
    # This checkout's images, no operator over other people's namespaces, no volume that stays.
    (r"helm (install|upgrade) tradewind charts", r"helm \1 tradewind --values $VALUES charts"),
    # Nothing of anybody else's is deleted.
    (
        r"kubectl delete endpoints.tradewind.dev --all --all-namespaces",
        f"kubectl delete -n {TRADING} endpoints.tradewind.dev --all",
    ),
)
KINDS_FIRST = "helm install tradewind-crds charts/tradewind-crds -n tradewind --create-namespace"
LEFT_OUT = "not with shareWith"
FIRST_DECISION_SECONDS = 120
"""What the README promises."""


@pytest.fixture(scope="module")
def typed(cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator["Typed"]:
    values = tmp_path_factory.mktemp("docs") / "values.yaml"
    values.write_text(
        yaml.safe_dump(
            {
                "watchNamespaces": [TRADING],
                "installation": "docs",
                "image": charts.image_values(images),
                "database": {"embedded": {"persistence": {"enabled": False}}},
            }
        ),
        encoding="utf-8",
    )
    _remove(cluster)
    cluster.apply(*_shield())
    yield Typed(cluster, values)
    if not os.environ.get("E2E_KEEP"):
        _remove(cluster)
        cluster.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", SHIELD, check=False)
    charts.install_kinds(cluster)


class Typed:
    """What a reader types, in a shell at the root of the checkout."""

    def __init__(self, cluster: Cluster, values: Path) -> None:
        self.cluster, self.values = cluster, values

    def sample(self, name: str) -> Path:
        """A sample with the addresses of this installation."""
        text = (ROOT / "crds" / "samples" / name).read_text(encoding="utf-8")
        copy = self.values.with_name(name)
        copy.write_text(
            text.replace("tradewind-standin.tradewind.svc", f"tradewind-standin.{OPERATORS}.svc"), encoding="utf-8"
        )
        return copy

    def __call__(self, block: str, *, seconds: float = 600, here: bool = False) -> str:
        """The output of a block of commands; the first that fails ends it. `here`: the namespaces in it are ours already."""
        text = "\n".join(line for line in block.splitlines() if LEFT_OUT not in line)
        for pattern, replacement in () if here else SUBSTITUTES:
            text = re.sub(pattern, replacement, text)
        program = f"set -euo pipefail; cd {ROOT}; export PATH={ROOT}/.venv/bin:$PATH VALUES={self.values}\n{text}"
        return self.cluster.run("bash", "-c", program, seconds=seconds)


def test_the_first_decision_by_the_readme_alone(typed: Typed) -> None:
    """From nothing but images at hand to a valid decision, by what the page says; two minutes are promised."""
    block = README.block(f"{KINDS_FIRST}\nkubectl create namespace trading")
    block = block.replace("8080", "18080").replace("> /dev/null &", '> /dev/null & trap "kill $!" EXIT')
    block = block.replace(
        "apply -f crds/samples/endpoint-trial.yaml", f"apply -f {typed.sample('endpoint-trial.yaml')}"
    )
    began = time.monotonic()
    told = typed(block)
    seconds = time.monotonic() - began
    decision = json.loads(told.splitlines()[-1])
    assert (decision["action"], decision["_model_used"], decision["_fallback"]) == ("open_long", "standin", False)
    assert seconds < FIRST_DECISION_SECONDS, f"the first decision took {seconds:.0f} s"
    _remove(typed.cluster)
    typed.cluster.apply(*_shield())


def test_install_with_a_database_for_trials(typed: Typed) -> None:
    kinds, *_ = INSTALL.block("helm install tradewind-crds").split("\n\n")
    typed(kinds)
    typed(INSTALL.block("kubectl create namespace trading\nhelm install"))
    (pod,) = typed.cluster.select("Pod", OPERATORS, "app.kubernetes.io/component=operator")
    assert condition(pod, "Ready").get("status") == "True"


def test_a_namespace_gets_its_endpoint(typed: Typed) -> None:
    told = typed(INSTALL.block("kubectl -n trading create secret generic tradewind-database"))
    assert "deepseek-api" in told
    space = Space(typed.cluster, TRADING)
    space.wait_condition("Endpoint", "trader", "GatewayReady", seconds=180)
    # Nobody answers for DeepSeek here, and the key is not one: whatever of the two it is, nothing calls that Ready.
    space.wait_condition("Endpoint", "trader", "ArmHealthy", "False", seconds=60)
    assert condition(space.must_get("Endpoint", "trader"), "Ready")["status"] == "False"
    looks = "\n".join(
        line
        for line in README.block(f"{KINDS_FIRST}\nkubectl -n tradewind").splitlines()
        if line.startswith("tradewind get")
    )
    assert "trader" in typed(looks.replace("tradewind get ", f"tradewind get -n {TRADING} "), here=True)


def test_a_backup_brings_a_lost_database_back(typed: Typed) -> None:
    space = Space(typed.cluster, TRADING)
    service, secret = space.must_get("Service", "trader-gateway"), space.must_get("Secret", "tradewind-gateway")
    token = base64.b64decode(secret["data"]["token"]).decode()
    body = {
        "decision_id": "kept",
        "scope": {"symbol": "BTC"},
        "market_data": {"price": 1.0},
        "account_state": {"balance": 1},
    }
    asked = httpx.post(
        f"http://{service['spec']['clusterIP']}/v1/decisions",
        json=body,
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )
    assert asked.status_code == 503, asked.text  # nobody answers for DeepSeek here; the row says so
    known = _rows(typed)
    assert known == ["deepseek-api FirstChampion", "kept deepseek-api"]

    typed(RECOVERY.block("kubectl -n tradewind exec tradewind-postgres-0 -- pg_dump"))
    try:
        assert (ROOT / "tradewind.dump").stat().st_size > 10_000
        files = list(yaml.safe_load_all((ROOT / "objects.yaml").read_text(encoding="utf-8")))
        assert {"trader", "deepseek-api"} <= {document["metadata"]["name"] for document in files if document}
        _psql(typed, "DROP SCHEMA tradewind CASCADE")
        space.wait_condition("Endpoint", "trader", "DatabaseReachable", "False", seconds=60)
        typed(RECOVERY.block("kubectl -n tradewind scale deployment"))
    finally:
        for name in ("tradewind.dump", "objects.yaml"):
            (ROOT / name).unlink(missing_ok=True)
    space.wait_condition("Endpoint", "trader", "DatabaseReachable", seconds=90)
    assert _rows(typed) == known


def _rows(typed: Typed) -> list[str]:
    sql = (
        "SELECT version || ' ' || reason FROM tradewind.promotions UNION ALL "
        "SELECT decision_id || ' ' || drawn_version FROM tradewind.decisions ORDER BY 1"
    )
    return _psql(typed, sql).splitlines()


def _psql(typed: Typed, sql: str) -> str:
    psql = ("psql", "--username", "postgres", "--dbname", "tradewind", "-qAtc", sql)
    return typed.cluster.kubectl("exec", "-n", OPERATORS, "tradewind-postgres-0", "--", *psql)


def test_upgrade_and_roll_back(typed: Typed) -> None:
    typed(INSTALL.block("helm upgrade tradewind-crds"))
    typed(INSTALL.block("helm rollback"))
    history = json.loads(typed.cluster.run("helm", "history", "-n", OPERATORS, "tradewind", "-o", "json"))
    assert [entry["description"] for entry in history][-1] == "Rollback to 1"
    Space(typed.cluster, TRADING).wait_condition("Endpoint", "trader", "GatewayReady", seconds=180)


def test_uninstall_lets_go_of_everything_but_the_kinds(typed: Typed) -> None:
    typed(INSTALL.block("kubectl get abexperiments,endpoints"))
    space = Space(typed.cluster, TRADING)
    space.kubectl(
        "delete", "modelversions", "--all", "--wait", seconds=120
    )  # in use no more: the operator let go of it
    assert typed.cluster.get("CustomResourceDefinition", "endpoints.tradewind.dev") is not None
    wait_for(
        "the operator's pod to go",
        lambda: typed.cluster.select("Pod", OPERATORS, "app.kubernetes.io/component=operator"),
        lambda pods: not pods,
        seconds=90,
    )


def _remove(cluster: Cluster) -> None:
    Space(cluster, TRADING).delete()
    if cluster.get("Namespace", OPERATORS) is not None:
        for release in ("tradewind", "tradewind-crds"):
            cluster.run("helm", "uninstall", "-n", OPERATORS, release, "--ignore-not-found", "--wait", check=False)
    for name in (OPERATORS, TRADING):
        cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", check=False, seconds=150)


def _shield() -> list[dict[str, object]]:
    """Other operators (the demo's watches the whole cluster) write nothing into the namespace."""
    policy: dict[str, object] = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]
        },
        "matchConditions": [
            {
                "name": "another-operator",
                "expression": "request.userInfo.username.matches('^system:serviceaccount:[^:]+:.*-operator$') && "
                f"!request.userInfo.username.startsWith('system:serviceaccount:{OPERATORS}:')",
            }
        ],
        "validations": [{"expression": "false", "message": "this namespace belongs to the installation of the docs"}],
    }
    binding: dict[str, object] = {
        "policyName": SHIELD,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TRADING}}},
    }
    group = "admissionregistration.k8s.io/v1"
    return [
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": SHIELD}, "spec": policy},
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": SHIELD},
            "spec": binding,
        },
    ]
