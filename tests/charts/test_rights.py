"""The operator's rights are those of what it does: each one is used, and nothing is done without one.

What it does is taken from the golden cases: what `observe` reads of them, what is decided, and what is watched.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from chart_tools import EXISTING, template
from golden_worlds import KIND_CASES, load

from tradewind.api.common import GROUP, Resource
from tradewind.api.registry import KINDS as API_KINDS
from tradewind.core.decision import Apply, Create, Delete, Hold
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

    @property
    def database(self) -> Any:
        raise DatabaseUnavailableError("none")

    def get(self, *_: object) -> None:
        return None

    def all(self, *_: object) -> tuple[()]:
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

    async def fresh(self, *_: object) -> None:
        return None

    async def read(self, api_version: str, kind: str, _: str, __: str) -> Json | None:
        self.rights[_resource(api_version, kind)].add("get")
        return None

    async def pods(self, _: str, __: str) -> Sequence[Json]:
        self.rights["", "pods"].add("list")
        return ({"metadata": {"name": "p", "uid": "u"}, "status": {"phase": "Pending"}},)

    async def warnings(self, _: str, __: str) -> Sequence[Json]:
        self.rights["", "events"].add("list")
        return ()


def _resource(api_version: str, kind: str) -> tuple[str, str]:
    group, _, _ = api_version.rpartition("/")
    return group, f"{kind.lower()}s"


async def used() -> Rights:
    """What the operator does in the namespaces that it watches."""
    world = Asked()
    rights = world.rights
    for ours in API_KINDS:
        rights[GROUP, ours.plural] |= {"get", "list", "watch"}
        rights[GROUP, f"{ours.plural}/status"].add("update")
    for group, _, plural in watch._CHILDREN:
        rights[group, plural] |= {"list", "watch"}
    rights["events.k8s.io", "events"].add("create")
    for case in (load(*name) for name in KIND_CASES):
        kind = BY_KIND[type(case.resource).__name__]
        await kind.observe(case.resource, world)
        safe = await kind.fail_safe(case.resource, world, datetime(2026, 1, 1, tzinfo=UTC))
        for effect in (*case.decide().effects, *safe.effects):
            match effect:
                case Apply(manifest):
                    rights[_resource(manifest["apiVersion"], manifest["kind"])] |= {"create", "patch"}
                case Create(manifest):
                    rights[_resource(manifest["apiVersion"], manifest["kind"])].add("create")
                case Delete(api_version, gone, _):
                    rights[_resource(api_version, gone)].add("delete")
                case Hold():
                    rights[_resource(f"{GROUP}/v1", type(case.resource).__name__)].add("patch")
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


async def test_the_operator_may_do_what_it_does_and_nothing_else() -> None:
    rights = granted(template("tradewind", *EXISTING, "--set", "watchNamespaces={a}"), "Role")
    assert rights == await used()


async def test_the_whole_cluster_takes_the_same_rights_and_those_of_no_namespace() -> None:
    rights = granted(template("tradewind", *EXISTING), "ClusterRole")
    assert rights.pop(("authentication.k8s.io", "tokenreviews")) == {"create"}
    assert rights.pop(("apiextensions.k8s.io", "customresourcedefinitions")) == {"get", "list", "watch"}
    assert rights == await used()
