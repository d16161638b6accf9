"""Several operators by the chart: one Deployment and one Service a shard, none of which selects another's pods."""

import json
from typing import Any

import pytest
from chart_tools import CLUSTER_WIDE, EMBEDDED, EXISTING, refusal, template

from tradewind.core.decision import Create, Owner
from tradewind.core.manifests.network import with_run_policy
from tradewind.core.network import Network
from tradewind.core.platform import Platform
from tradewind.shell.shards import Shard

pytestmark = pytest.mark.e2e  # needs the helm that `make cluster` builds

Json = dict[str, Any]
NAMED = ("--set", "watchNamespaces={a,b,c}")
SHARDS = ("--set", "operator.shards=3")
CLOSED = ("--set", "networkPolicy.enabled=true")
NAMES = ["tradewind-operator", "tradewind-operator-1", "tradewind-operator-2"]
COMPONENT = "app.kubernetes.io/component"


def of(documents: list[Json], kind: str) -> dict[str, Json]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def labels(deployment: Json) -> Json:
    found: Json = deployment["spec"]["template"]["metadata"]["labels"]
    return found


def environment(deployment: Json) -> Json:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def matches(selector: Json, pod: Json) -> bool:
    """Whether a selector, of a Service or a LabelSelector with In, finds a pod by its labels."""
    expressions = selector.get("matchExpressions", ())
    exactly = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    return exactly.items() <= pod.items() and all(pod.get(e["key"]) in e["values"] for e in expressions)


def test_one_operator_is_rendered_as_if_there_were_no_shards() -> None:
    for scope in ((), NAMED, CLUSTER_WIDE):
        text = json.dumps(template("tradewind", *EXISTING, *CLOSED, *scope))
        assert "shard" not in text.lower(), "an upgrade of the chart replaces no pod for it"


def test_the_first_of_several_is_the_one_that_was_alone_but_for_what_it_is_told() -> None:
    alone = of(template("tradewind", *EXISTING, *NAMED), "Deployment")["tradewind-operator"]
    first = of(template("tradewind", *EXISTING, *NAMED, *SHARDS), "Deployment")["tradewind-operator"]
    env = first["spec"]["template"]["spec"]["containers"][0]["env"]
    env.remove({"name": "TRADEWIND_SHARD", "value": "0/3"})
    assert first == alone, "a Deployment's selector is immutable, and its name is what people type"


@pytest.mark.parametrize("scope", [NAMED, CLUSTER_WIDE])
def test_each_shard_is_a_pod_that_is_replaced_and_told_which_it_is(scope: tuple[str, ...]) -> None:
    found = of(template("tradewind", *EXISTING, *scope, *SHARDS), "Deployment")
    assert sorted(found) == NAMES
    for index, name in enumerate(NAMES):
        spec, env = found[name]["spec"], environment(found[name])
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        assert spec["template"]["spec"]["serviceAccountName"] == "tradewind-operator"
        assert env["TRADEWIND_SHARD"] == f"{index}/3"
        assert env["TRADEWIND_WATCH_NAMESPACES"] == ("a,b,c" if scope is NAMED else ""), "each deals them for itself"
        assert env["TRADEWIND_PROGRESS_SERVICE"] == name
        among = tuple(filter(None, env["TRADEWIND_WATCH_NAMESPACES"].split(",")))
        assert Shard(index, 3, among).named == (("abc"[index],) if scope is NAMED else ())


def test_no_selector_finds_the_pods_of_another_shard() -> None:
    documents = template("tradewind", *EXISTING, *NAMED, *SHARDS)
    deployments, services = of(documents, "Deployment"), of(documents, "Service")
    assert sorted(services) == NAMES
    for name in NAMES:
        selected = deployments[name]["spec"]["selector"]["matchLabels"]
        assert [n for n in NAMES if matches(selected, labels(deployments[n]))] == [name]
        assert [n for n in NAMES if matches(services[name]["spec"]["selector"], labels(deployments[n]))] == [name]
        ports = {port["name"]: port["port"] for port in services[name]["spec"]["ports"]}
        assert ports == {"progress": 8090, "metrics": 9090}


def test_network_policies_let_every_shard_do_what_one_operator_may() -> None:
    documents = template("tradewind", *EMBEDDED, *NAMED, *SHARDS, *CLOSED)
    policies, pods = of(documents, "NetworkPolicy"), [labels(d) for d in of(documents, "Deployment").values()]
    specs = []
    for pod in pods:
        (policy,) = [p for p in policies.values() if matches(p["spec"]["podSelector"], pod)]
        specs.append({part: policy["spec"][part] for part in ("policyTypes", "ingress", "egress")})
    assert specs[0] == specs[1] == specs[2]
    ours, _ = policies["tradewind-postgres"]["spec"]["ingress"][0]["from"]
    assert all(matches(ours["podSelector"], pod) for pod in pods)


def test_a_training_pod_may_report_to_every_shard() -> None:
    owner = Owner("tradewind.dev/v1alpha1", "TrainingRun", "run", "a", "uid")
    platform = Platform("tradewind", "desk", "g:1", "p:1", "t:1", network=Network(enabled=True))
    policy, _ = with_run_policy([Create({"kind": "Job"})], owner, platform)
    (peer,) = policy.manifest["spec"]["egress"][-1]["to"]  # type: ignore[union-attr]
    found = of(template("tradewind", *EXISTING, *NAMED, *SHARDS), "Deployment")
    assert all(matches(peer["podSelector"], labels(found[name])) for name in NAMES)
    assert not matches(peer["podSelector"], labels(found["tradewind-operator"]) | {COMPONENT: "migrate"})


def test_all_shards_have_the_rights_of_one() -> None:
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount", "ValidatingAdmissionPolicy")
    for scope in (NAMED, CLUSTER_WIDE):
        one, three = (template("tradewind", *EXISTING, *scope, *more) for more in ((), SHARDS))
        assert all(of(one, kind) == of(three, kind) for kind in kinds)


@pytest.mark.parametrize("scope", [(), ("--set", "watchNamespaces={a,b}")])
def test_more_shards_than_named_namespaces_are_refused(scope: tuple[str, ...]) -> None:
    said = refusal(*EXISTING, *scope, *SHARDS)
    count = 2 if scope else 1
    assert f"operator.shards is 3, more than the namespaces that are watched ({count})" in said
    assert "name more in watchNamespaces" in said


@pytest.mark.parametrize("value", ["0", "1.5", "65", "two"])
def test_a_number_of_shards_that_is_none_is_refused(value: str) -> None:
    said = refusal(*EXISTING, *CLUSTER_WIDE, "--set", f"operator.shards={value}")
    assert "shards" in said
    assert "schema" in said


def test_values_of_before_that_are_used_again_are_one_operator() -> None:
    """`helm upgrade --reuse-values`, which brings no value that is new."""
    found = template("tradewind", *EXISTING, "--set", "operator.shards=null")
    assert sorted(of(found, "Deployment")) == ["tradewind-operator"]
