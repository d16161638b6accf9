"""The operator's rights are those of what it does: each one is used, and nothing is done without one.

What it does is taken from the golden cases: what `observe` reads of them, what is decided, and what is watched.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import golden_worlds
import pytest
from chart_tools import CLUSTER_WIDE, EXISTING, template
from golden_worlds import KIND_CASES, load

from tradewind.api.common import ENABLED_LABEL, GROUP, Resource
from tradewind.api.registry import KINDS as API_KINDS
from tradewind.core.decision import Apply, Create, Delete, Hold
from tradewind.core.network import Network
from tradewind.core.pods import read_job
from tradewind.core.queue import QUEUE_LABEL
from tradewind.core.registry import BY_KIND
from tradewind.core.world import DatabaseUnavailableError, Json
from tradewind.shell import watch
from tradewind.trading.evidence import Memory
from tradewind.trading.signature import Signer

pytestmark = pytest.mark.e2e  # needs the helm that `make cluster` builds

Rights = dict[tuple[str, str], set[str]]
"""Verbs by API group and resource."""

ADOPTS = {
    ("apps", "deployments"),
    ("", "services"),
    ("", "serviceaccounts"),
    ("", "configmaps"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("serving.kserve.io", "inferenceservices"),
    ("policy", "poddisruptionbudgets"),
    ("autoscaling", "horizontalpodautoscalers"),
}
"""Children that are applied: to name another owner takes `delete` where OwnerReferencesPermissionEnforcement is on."""


class Asked:
    """A world in which nothing else exists, and that notes what is asked for."""

    def __init__(self) -> None:
        self.rights: Rights = defaultdict(set)
        self.job: Json | None = None

    @property
    def database(self) -> Any:
        raise DatabaseUnavailableError("none")

    def get(self, *_: object) -> None:
        return None

    def all(self, *_: object) -> tuple[()]:
        return ()

    def by_name(self, *_: object) -> dict[str, Any]:
        return {}

    def naming(self, *_: object) -> tuple[()]:
        return ()

    @property
    def seal(self) -> Signer:
        return Signer.generated()

    def kept_routing(self, _: str) -> None:
        return None

    def keep_routing(self, _: str, __: str) -> None:
        return None

    def memory(self, _: str) -> Memory:
        return Memory()

    def progress(self, _: Resource) -> None:
        return None

    def is_going(self, _: str) -> bool:
        return False

    def unread(self, *_: object) -> tuple[()]:
        return ()

    async def serves(self, _: str) -> bool:
        return True  # what there is everybody may ask

    async def fresh(self, *_: object) -> None:
        return None

    async def read(self, api_version: str, kind: str, _: str, __: str) -> Json | None:
        self.rights[_resource(api_version, kind)].add("get")
        return self.job if kind == "Job" else None

    async def workload(self, _: str, __: str) -> None:
        self.rights["kueue.x-k8s.io", "workloads"].add("list")

    async def pods(self, _: str, __: str) -> Sequence[Json]:
        self.rights["", "pods"].add("list")
        return ({"metadata": {"name": "p", "uid": "u"}, "status": {"phase": "Pending"}},)

    async def warnings(self, _: str, __: str) -> Sequence[Json]:
        self.rights["", "events"].add("list")
        return ()


def _resource(api_version: str, kind: str) -> tuple[str, str]:
    group, _, _ = api_version.rpartition("/")
    return group, f"{kind.lower().removesuffix('y')}ies" if kind.endswith("y") else f"{kind.lower()}s"


async def used() -> Rights:
    """What the operator does in the namespaces that it watches."""
    world = Asked()
    rights = world.rights
    for ours in API_KINDS:
        rights[GROUP, ours.plural] |= {"get", "list", "watch"}
        rights[GROUP, f"{ours.plural}/status"].add("update")
    for group, _, plural, _ in watch._CHILDREN:
        rights[group, plural] |= {"list", "watch"}
    rights["events.k8s.io", "events"].add("create")
    for case in (load(*name) for name in KIND_CASES):
        kind = BY_KIND[type(case.resource).__name__]
        await kind.observe(case.resource, world)
        safe = await kind.fail_safe(case.resource, world, datetime(2026, 1, 1, tzinfo=UTC))
        for effect in (*case.decide().effects, *safe.effects):
            match effect:
                # Whose an object is, is asked before it is written (shell/children.py), and a list tells which have changed
                # since (shell/watch.py).
                case Apply(manifest):
                    rights[_resource(manifest["apiVersion"], manifest["kind"])] |= {"get", "list", "create", "patch"}
                case Create(manifest):
                    rights[_resource(manifest["apiVersion"], manifest["kind"])] |= {"get", "create"}
                case Delete(api_version, gone):
                    rights[_resource(api_version, gone)] |= {"get", "delete"}
                case Hold():
                    rights[_resource(f"{GROUP}/v1", type(case.resource).__name__)].add("patch")
    owner, labels = {"uid": "u"}, {QUEUE_LABEL: "gpu"}
    metadata = {"name": "r-train-1", "uid": "j", "labels": labels, "ownerReferences": [owner]}
    world.job = {"metadata": metadata, "spec": {"suspend": True}}
    await read_job(world, "n", "r-train-1", "u")  # type: ignore[arg-type]
    for child in ADOPTS:
        assert "patch" in rights[child], f"{child} is not applied"
        rights[child].add("delete")
    return dict(rights)


def granted(documents: list[dict[str, Any]], kind: str) -> Rights:
    rights: Rights = defaultdict(set)
    for role in documents:
        if role["kind"] != kind or not role["metadata"]["name"].endswith("-operator"):
            continue
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    rights[group, resource] |= set(rule["verbs"])
    return dict(rights)


SCOPES = ((), ("--set", "watchNamespaces={a}"))
POLICIES = ("--set", "networkPolicy.enabled=true")
OF_NO_NAMESPACE: Rights = {
    ("authentication.k8s.io", "tokenreviews"): {"create"},
    ("apiextensions.k8s.io", "customresourcedefinitions"): {"get", "list", "watch"},
    ("", "namespaces"): {"get", "list", "watch"},
}
"""Who pushes progress, which kinds there are, and which namespaces: by kopf, shell/progress.py and shell/reach.py."""


@pytest.mark.parametrize("scope", SCOPES)
async def test_the_operator_may_do_what_it_does_and_nothing_else(scope: tuple[str, ...]) -> None:
    rights = granted(template("tradewind", *EXISTING, *scope), "Role")
    assert rights == await used()


async def test_where_it_makes_network_policies_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_worlds, "PLATFORM", replace(golden_worlds.PLATFORM, network=Network(enabled=True)))
    monkeypatch.setitem(globals(), "ADOPTS", ADOPTS | {("networking.k8s.io", "networkpolicies")})
    assert granted(template("tradewind", *EXISTING, *POLICIES), "Role") == await used()


async def test_the_whole_cluster_takes_the_same_rights_and_those_of_no_namespace() -> None:
    documents = template("tradewind", *EXISTING, *CLUSTER_WIDE)
    rights = granted(documents, "ClusterRole")
    for resource, verbs in OF_NO_NAMESPACE.items():
        assert rights.pop(resource) == verbs
    assert rights == await used()
    assert granted(documents, "Role") == {}


@pytest.mark.parametrize("scope", SCOPES)
def test_across_the_cluster_a_namespaced_operator_asks_what_there_is_and_lets_go_of_versions(
    scope: tuple[str, ...],
) -> None:
    versions: Rights = {(GROUP, "modelversions"): {"list", "patch"}}  # shell/going.py: where the Role has gone
    assert granted(template("tradewind", *EXISTING, *scope), "ClusterRole") == OF_NO_NAMESPACE | versions


def test_without_values_the_operator_stays_in_its_own_namespace() -> None:
    documents = template("tradewind", *EXISTING, namespace="desk")
    (role,) = [d for d in documents if d["kind"] == "Role"]
    (binding,) = [d for d in documents if d["kind"] == "RoleBinding"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "desk"


def _policy(documents: list[dict[str, Any]], kind: str, name: str = "labelled-namespaces") -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(f"-{name}")]
    spec: dict[str, Any] = found["spec"]
    return spec


def test_what_a_cluster_wide_operator_may_write_is_refused_without_the_label() -> None:
    documents = template("tradewind", *EXISTING, *CLUSTER_WIDE, namespace="desk")
    policy, binding = (_policy(documents, f"ValidatingAdmissionPolicy{part}") for part in ("", "Binding"))
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert rule == {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["*/*"],
        "scope": "Namespaced",  # TokenReviews are nobody's
    }
    (condition,) = policy["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:desk:tradewind-operator'"
    (validation,) = policy["validations"]
    assert validation["expression"] == (
        "request.resource.group == 'tradewind.dev' && request.resource.resource == 'modelversions' "
        "&& request.operation == 'UPDATE' && has(namespaceObject.metadata.deletionTimestamp)"
    )
    assert policy["failurePolicy"] == "Fail"
    assert binding["validationActions"] == ["Deny"]
    (selector,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selector == {
        "key": ENABLED_LABEL,
        "operator": "NotIn",
        "values": ["true"],
    }  # NotIn: also where there is none


def test_the_account_that_the_policy_names_is_the_one_that_the_operator_runs_as() -> None:
    for more in ((), ("--set", "fullnameOverride=other")):
        documents = template("tradewind", *EXISTING, *CLUSTER_WIDE, *more, namespace="desk")
        (deployment,) = [d for d in documents if d["kind"] == "Deployment"]
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        (condition,) = _policy(documents, "ValidatingAdmissionPolicy")["matchConditions"]
        assert f"'system:serviceaccount:desk:{account}'" in condition["expression"]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_namespaced_operator_needs_no_such_policy(scope: tuple[str, ...]) -> None:
    names = [d["metadata"]["name"] for d in template("tradewind", *EXISTING, *scope)]
    assert not [name for name in names if name.endswith("-labelled-namespaces")]


@pytest.mark.parametrize(("scope", "watched"), [(SCOPES[0], ["desk"]), (SCOPES[1], ["a"])])
def test_a_namespaced_operator_writes_no_versions_elsewhere(scope: tuple[str, ...], watched: list[str]) -> None:
    documents = template("tradewind", *EXISTING, *scope, namespace="desk")
    policy, binding = (
        _policy(documents, f"ValidatingAdmissionPolicy{part}", "watched-namespaces") for part in ("", "Binding")
    )
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["modelversions"], ["*"])
    (condition,) = policy["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:desk:tradewind-operator'"
    assert [v["expression"] for v in policy["validations"]] == ["false"]
    assert (policy["failurePolicy"], binding["validationActions"]) == ("Fail", ["Deny"])
    (selector,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selector == {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": watched}
