"""Gateway pods: how many, where, and what keeps them up while nodes are drained."""

from collections.abc import Mapping
from typing import Any

import pytest
from golden_worlds import Case, build

from tradewind.core.decision import FIELD_MANAGER, Apply, Delete
from tradewind.core.endpoint.observe import gateway_deployment, left_over
from tradewind.core.world import Json

SCALED = {"autoscaling": {"minReplicas": 3, "maxReplicas": 9}}


def case(gateway: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> Case:
    return build("endpoint", {"resource": {"spec": {"gateway": gateway}}, "facts": facts or {}})


def made(gateway: Mapping[str, Any]) -> dict[str, Json]:
    effects = case(gateway).decide().effects
    return {
        e.manifest["kind"]: e.manifest for e in effects if isinstance(e, Apply) and e.manifest["kind"] != "ConfigMap"
    }


def pod_of(gateway: Mapping[str, Any]) -> Json:
    return made(gateway)["Deployment"]["spec"]["template"]["spec"]


def test_by_default_pods_spread_over_zones_and_nodes_where_there_is_room() -> None:
    labels = made({})["Deployment"]["spec"]["selector"]["matchLabels"]
    spread = pod_of({})["topologySpreadConstraints"]
    assert [(s["topologyKey"], s["whenUnsatisfiable"]) for s in spread] == [
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]
    assert all(s["labelSelector"] == {"matchLabels": labels} for s in spread)
    assert not {"affinity", "priorityClassName"} & pod_of({}).keys()


def test_what_is_asked_for_reaches_the_pod() -> None:
    terms = [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["trading"]}]}]
    pod = pod_of(
        {
            "topologySpread": {"zones": "DoNotSchedule", "hosts": "None"},
            "priorityClassName": "trading-first",
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            },
        }
    )
    (zones,) = pod["topologySpreadConstraints"]
    assert (zones["topologyKey"], zones["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "DoNotSchedule")
    assert pod["priorityClassName"] == "trading-first"
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"] == terms
    assert "topologySpreadConstraints" not in pod_of({"topologySpread": {"zones": "None", "hosts": "None"}})


def test_pods_request_what_an_autoscaler_measures_by() -> None:
    (container,) = pod_of({})["containers"]
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    (container,) = pod_of({"resources": {"limits": {"memory": "1Gi"}}})["containers"]
    assert container["resources"]["requests"] == {}


@pytest.mark.parametrize(
    ("gateway", "budget"),
    [
        ({}, 1),
        ({"replicas": 5, "podDisruptionBudget": {"maxUnavailable": 2}}, 2),
        ({"replicas": 1}, None),
        ({"replicas": 5, "autoscaling": {"minReplicas": 1, "maxReplicas": 3}}, None),
        ({"replicas": 1, "autoscaling": {"maxReplicas": 3}}, 1),
    ],
)
def test_a_drain_takes_so_many_pods_at_a_time(gateway: Mapping[str, Any], budget: int | None) -> None:
    found = made(gateway).get("PodDisruptionBudget")
    assert (found["spec"]["maxUnavailable"] if found else None) == budget
    if found:
        assert found["spec"]["selector"] == made(gateway)["Deployment"]["spec"]["selector"]


def test_the_autoscaler_has_the_number_of_pods_and_the_operator_sets_none() -> None:
    assert "HorizontalPodAutoscaler" not in made({})
    assert made({"replicas": 4})["Deployment"]["spec"]["replicas"] == 4
    children = made({**SCALED, "replicas": 4})
    assert "replicas" not in children["Deployment"]["spec"]
    spec = children["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"]["name"] == children["Deployment"]["metadata"]["name"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    (metric,) = spec["metrics"]
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_the_status_counts_the_pods_that_the_autoscaler_wants() -> None:
    status = case(SCALED, {"deployment": {"replicas": 7}}).decide().status
    assert (status.gateway.replicas, status.gateway.ready_replicas) == (7, 2)  # type: ignore[attr-defined]
    assert status.condition("GatewayReady").message == "2 of 7 pods ready"  # type: ignore[attr-defined]
    before = case(SCALED).decide().status
    assert before.gateway.replicas == 3  # type: ignore[attr-defined]


class Children:
    """A namespace with these objects, by kind."""

    def __init__(self, **objects: Json) -> None:
        self.objects = objects

    async def read(self, _: str, kind: str, __: str, ___: str) -> Json | None:
        return self.objects.get(kind)


def child(uid: str) -> Json:
    return {"metadata": {"ownerReferences": [{"uid": uid}]}}


async def test_what_a_setting_left_behind_is_ours_by_its_owner() -> None:
    endpoint: Any = case({"replicas": 1}).resource
    world: Any = Children(HorizontalPodAutoscaler=child(endpoint.metadata.uid), PodDisruptionBudget=child("another"))
    found = await left_over(endpoint, world)
    assert found == {("autoscaling/v2", "HorizontalPodAutoscaler")}
    gone = [e for e in case({"replicas": 1}).decide(left_over=found).effects if isinstance(e, Delete)]
    assert gone == [Delete("autoscaling/v2", "HorizontalPodAutoscaler", "trader-gateway")]
    wanted: Any = case(SCALED).resource
    assert await left_over(wanted, world) == frozenset()


def owned(uid: str, *managers: str) -> Json:
    fields = [{"manager": name, "fieldsV1": {"f:spec": {"f:replicas": {}}}} for name in managers]
    other = {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {"f:replicas": {}}}}
    return {"metadata": {**child(uid)["metadata"], "managedFields": [*fields, other]}, "spec": {"replicas": 5}}


@pytest.mark.parametrize(
    ("managers", "alone"),
    [
        ((FIELD_MANAGER,), True),
        ((FIELD_MANAGER, "kube-controller-manager"), False),
        (("tradewind-handover",), False),
        ((), False),
    ],
)
async def test_the_number_is_handed_over_only_by_its_one_owner(managers: tuple[str, ...], *, alone: bool) -> None:
    endpoint: Any = case(SCALED).resource
    world: Any = Children(Deployment=owned(endpoint.metadata.uid, *managers))
    facts = await gateway_deployment(endpoint, world)
    assert facts is not None
    assert (facts.replicas, facts.holds_replicas) == (5, alone)
    effects = case(SCALED).decide(deployment=facts).effects
    handed = [e.manifest["spec"] for e in effects if isinstance(e, Apply) and e.manager != FIELD_MANAGER]
    assert handed == ([{"replicas": 5}] if alone else [])
    assert await gateway_deployment(case({}).resource, world) is None  # type: ignore[arg-type]
    assert await gateway_deployment(endpoint, Children(Deployment=owned("another", *managers))) is None  # type: ignore[arg-type]
