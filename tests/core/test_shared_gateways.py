"""One gateway for several Endpoints: what the host's pods are given, ports that stay, and what is seen of pods and Service."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import PLATFORM, Case, build, resource_of

from tradewind.api.common import Resource
from tradewind.api.endpoint import Endpoint
from tradewind.core.decision import Apply, Owner
from tradewind.core.endpoint import decide
from tradewind.core.endpoint.hosting import served
from tradewind.core.endpoint.kind import neighbours
from tradewind.core.endpoint.observe import observe
from tradewind.core.endpoint.ports import FIRST, RANGE, port_name, port_of
from tradewind.core.endpoint.seen import PodsAt
from tradewind.core.network import Network
from tradewind.core.world import DatabaseUnavailableError, Json, Neighbour
from tradewind.gateway.guests import all_settings
from tradewind.trading.signature import Signer
from tradewind.trading.stopping import SPOOL_GRACE_SECONDS, pod_grace_seconds

KEY = {"version": "eth-api", "secretRef": {"name": "eth-key", "key": "api-key"}}
TIMES = {"TRADEWIND_DECISION_TIMEOUT_SECONDS": "45", "TRADEWIND_DATABASE_TIMEOUT_SECONDS": "2"}


def guest(name: str, port: int, **hosting: Any) -> dict[str, Any]:
    """An Endpoint that trader's pods answer for; what they need stands in its status."""
    token = {"name": f"{name}-token", "key": "token"}
    known = {"host": "trader", "servedBy": "trader", "port": port, "variables": TIMES, "tokenSecretRef": token}
    return {
        "kind": "Endpoint",
        "metadata": {"name": name},
        "spec": {"fallback": "deepseek-api", "gateway": {"sharedWith": "trader"}},
        "status": {"gateway": {"hosting": known | hosting}},
    }


OPEN = {"tokenSecretRef": None, "variables": {"TRADEWIND_AUTH": "disabled", "TRADEWIND_OPENAI": "enabled"}}


def host(*guests: dict[str, Any], **gateway: Any) -> Case:
    return build("endpoint", {"resource": {"spec": {"gateway": gateway}}, "facts": {"guests": list(guests)}})


def pod(case: Case) -> tuple[Json, Json, dict[str, str]]:
    """The pod of its Deployment, its container, and the values of the environment; what comes from a Secret as a DSN."""
    made = [e.manifest for e in case.decide().effects if isinstance(e, Apply)]
    (deployment,) = [manifest for manifest in made if manifest["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container, {e["name"]: e.get("value", "postgresql://u:p@db/x") for e in container["env"]}


def test_the_gateway_reads_what_the_operator_writes_for_guests() -> None:
    _, container, environment = pod(host(guest("sol", 20002, **OPEN), guest("eth", 20001)))
    own, eth, sol = all_settings(environment)
    assert (own.endpoint, eth.endpoint, sol.endpoint) == ("trader", "eth", "sol")
    assert (own.port, eth.port, sol.port) == (8080, 20001, 20002)
    assert eth.routing == "configmap:trading/eth-routing"
    assert (own.decision_timeout, eth.decision_timeout) == (20, 45)
    assert (eth.openai, sol.openai) == (False, True)
    assert len({each.spool_dir for each in (own, eth, sol)}) == 3
    assert sol.auth_token_file is None
    assert eth.auth_token_file is not None
    assert eth.auth_token_file != own.auth_token_file
    assert str(eth.auth_token_file.parent) in {m["mountPath"] for m in container["volumeMounts"]}
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {"http": 8080, "health": 8081, "guest-20001": 20001, "guest-20002": 20002}


def test_a_pod_has_the_keys_of_guests_and_none_of_their_secrets_keeps_it_from_starting() -> None:
    spec, container, _ = pod(host(guest("eth", 20001, keys=[KEY]), guest("sol", 20002)))
    assert "/var/run/secrets/tradewind/arms/eth-api" in {m["mountPath"] for m in container["volumeMounts"]}
    secrets = {v["secret"]["secretName"]: v["secret"].get("optional", False) for v in spec["volumes"] if "secret" in v}
    assert secrets == {
        "tradewind-gateway": False, "eth-token": True, "sol-token": True, "eth-key": True, "deepseek-api": True,
    }  # fmt: skip


def test_a_pod_has_time_and_room_for_the_slowest_of_its_endpoints() -> None:
    spec, container, _ = pod(host(guest("eth", 20001)))
    assert spec["terminationGracePeriodSeconds"] == pod_grace_seconds(45, 2, SPOOL_GRACE_SECONDS)
    (spool,) = [v for v in spec["volumes"] if v["name"] == "spool"]
    assert spool == {"name": "spool", "emptyDir": {"sizeLimit": "320Mi"}}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz/pod"
    alone, own, _ = pod(host())
    assert own["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert [v for v in alone["volumes"] if v["name"] == "spool"] == [
        {"name": "spool", "emptyDir": {"sizeLimit": "256Mi"}}
    ]


def test_spools_of_guests_lie_on_the_volume_of_the_host() -> None:
    _, _, environment = pod(host(guest("eth", 20001), spool={"claimName": "spools"}))
    own, eth = all_settings(environment)
    assert (str(own.spool_dir), str(eth.spool_dir)) == tuple(
        f"/var/spool/tradewind/{name}/$(TRADEWIND_REPLICA)" for name in ("trader", "eth")
    )
    assert eth.spool_shared


def test_callers_may_come_to_the_ports_of_guests() -> None:
    case = host(guest("eth", 20001))
    platform = replace(PLATFORM, network=Network(enabled=True))
    effects = decide(case.resource, case.seen, case.now, platform=platform, owner=Owner.of(case.resource)).effects  # type: ignore[arg-type]
    (policy,) = [e.manifest for e in effects if isinstance(e, Apply) and e.manifest["kind"] == "NetworkPolicy"]
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [8080, 20001]


def test_a_port_stays_when_others_come_and_go() -> None:
    uids = [f"uid-{number}" for number in range(300)]
    ports: dict[str, int] = {}
    for uid in uids:
        ports[uid] = port_of(uid, None, [(port, other) for other, port in ports.items()])
    assert len(set(ports.values())) == len(uids)
    assert all(FIRST <= port < FIRST + RANGE for port in ports.values())
    for gone in uids[::3]:
        del ports[gone]
    for uid, port in ports.items():
        others = [(p, other) for other, p in ports.items() if other != uid]
        assert port_of(uid, port, others) == port
    assert len({port_name(port) for port in ports.values()}) == len(ports)
    assert all(len(port_name(port)) <= 15 for port in ports.values())


def test_of_two_that_chose_one_port_at_once_one_takes_another_and_one_keeps_it() -> None:
    both = [(20007, "uid-a"), (20007, "uid-b")]
    assert port_of("uid-a", 20007, both[1:]) == 20007
    assert port_of("uid-b", 20007, both[:1]) != 20007
    guests = tuple(
        resource_of(guest(name, 20007) | {"metadata": {"name": name, "uid": uid}})
        for name, uid in (("x", "uid-b"), ("y", "uid-a"))
    )
    assert [one.name for one in served(guests)] == ["y"]


def test_guests_and_their_hosts_wake_each_other() -> None:
    moving = resource_of(guest("eth", 20001, host="floor", servedBy="trader", left="desk"))
    assert {Neighbour(Endpoint, name) for name in ("trader", "floor", "desk")} <= set(neighbours(moving))
    case = host(guest("eth", 20001))
    answered = case.after(case.decide()).resource
    assert Neighbour(Endpoint, "eth") in set(neighbours(answered))  # type: ignore[arg-type]


class Place:
    """A namespace with these Endpoints, pods by the Endpoint whose label they have, and objects by name."""

    def __init__(
        self, endpoints: Sequence[Resource], pods: Mapping[str, Sequence[Json]], objects: Mapping[str, Json]
    ) -> None:
        self.endpoints, self.labelled, self.objects = endpoints, pods, objects
        self.seal = Signer.generated()

    @property
    def database(self) -> Any:
        raise DatabaseUnavailableError("none")

    def all(self, kind: type[Resource], _: str) -> tuple[Resource, ...]:
        return tuple(self.endpoints) if kind is Endpoint else ()

    def by_name(self, kind: type[Resource], _: str) -> dict[str, Resource]:
        return {one.name: one for one in self.all(kind, "")}

    def naming(self, kind: type[Resource], named: Resource) -> tuple[Resource, ...]:
        wanted = Neighbour(type(named), named.name)
        return tuple(one for one in self.all(kind, "") if wanted in set(neighbours(one)))  # type: ignore[arg-type]

    def get(self, kind: type[Resource], _: str, name: str) -> Resource | None:
        return next((one for one in self.all(kind, "") if one.name == name), None)

    def kept_routing(self, _: str) -> None:
        return None

    async def fresh(self, *_: object) -> None:
        return None

    async def read(self, _: str, kind: str, __: str, name: str) -> Json | None:
        return self.objects.get(f"{kind}/{name}")

    async def pods(self, _: str, selector: str) -> Sequence[Json]:
        return self.labelled.get(selector.rpartition("=")[2], ())

    async def warnings(self, *_: object) -> tuple[()]:
        return ()


def running(name: str, *ports: int, ready: bool = True, going: bool = False) -> Json:
    named = [{"name": port_name(port), "containerPort": port} for port in ports]
    metadata = {"name": name, "uid": name} | ({"deletionTimestamp": "2026-03-01T12:00:00Z"} if going else {})
    return {
        "metadata": metadata,
        "spec": {"containers": [{"ports": named}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


async def test_pods_of_the_host_count_where_they_have_the_guests_port() -> None:
    eth, desk = resource_of(guest("eth", 20001)), resource_of(guest("sol", 20002))
    trader = resource_of({"kind": "Endpoint", "metadata": {"name": "trader"}, "spec": {"fallback": "deepseek-api"}})
    pods = {
        "trader": [
            running("t-new", 20001, 20002),
            running("t-old"),
            running("t-starts", 20001, ready=False),
            running("t-goes", 20001, going=True),
        ],
        "eth": [running("e-own")],
    }
    selector = {"selector": {"tradewind.dev/owner-name": "trader"}}
    service: dict[str, Any] = {"metadata": {"ownerReferences": [{"uid": eth.metadata.uid}]}, "spec": selector}
    place = Place([trader, eth, desk], pods, {"Service/eth-gateway": service})
    seen = await observe(eth, place)  # type: ignore[arg-type]
    assert seen.ready_pods == {"t-new", "e-own"}
    assert seen.sharing.pods == {
        "trader": PodsAt(frozenset({"t-new"}), complete=False, count=3),
        "eth": PodsAt(frozenset({"e-own"}), complete=True, count=1),
    }
    assert (seen.sharing.service, seen.sharing.host) == ("trader", trader)
    assert seen.sharing.ports == ((20002, "uid-sol"),)
    hosting = await observe(trader, place)  # type: ignore[arg-type]
    assert [one.name for one in hosting.guests] == ["eth", "sol"]
    assert hosting.ready_pods == {"t-new", "t-old"}
    foreign = Place([trader, eth], pods, {"Service/eth-gateway": service | {"metadata": {"ownerReferences": []}}})
    assert (await observe(eth, foreign)).sharing.service is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gateway", "field"),
    [
        ({"replicas": 3}, "replicas"),
        ({"autoscaling": {"maxReplicas": 4}}, "autoscaling"),
        ({"resources": {"requests": {"cpu": "1"}}}, "resources"),
        ({"env": [{"name": "HTTPS_PROXY", "value": "http://p"}]}, "env"),
        ({"nodeSelector": {"pool": "x"}}, "nodeSelector"),
        ({"tolerations": [{"operator": "Exists"}]}, "tolerations"),
        ({"affinity": {}}, "affinity"),
        ({"topologySpread": {"zones": "None"}}, "topologySpread"),
        ({"priorityClassName": "high"}, "priorityClassName"),
        ({"spool": {"claimName": "spools"}}, "spool"),
        ({"podDisruptionBudget": {"maxUnavailable": 2}}, "podDisruptionBudget"),
    ],
)
def test_fields_of_pods_are_the_hosts(gateway: dict[str, Any], field: str) -> None:
    text = {"kind": "Endpoint", "metadata": {"name": "eth"}, "spec": {"fallback": "a", "gateway": gateway}}
    assert resource_of(text)
    text["spec"] = {"fallback": "a", "gateway": gateway | {"sharedWith": "trader"}}
    with pytest.raises(AssertionError, match=f"gateway.{field} is of pods.*leave it out, or set it there"):
        resource_of(text)


def test_defaults_that_the_api_server_writes_out_are_no_wish() -> None:
    written = {
        "sharedWith": "trader", "replicas": 2, "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}, "spool": {},
        "topologySpread": {"zones": "ScheduleAnyway", "hosts": "ScheduleAnyway"}, "podDisruptionBudget": {"maxUnavailable": 1},
    }  # fmt: skip
    text = {"kind": "Endpoint", "metadata": {"name": "eth"}, "spec": {"fallback": "a", "gateway": written}}
    assert resource_of(text).spec.gateway.shared_with == "trader"
