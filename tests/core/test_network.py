"""NetworkPolicies of children: they select the pods that are made, and open what these need and nothing else."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import golden_worlds
import pytest
from golden_worlds import PLATFORM

from tradewind.core.decision import Apply, Create, Effect
from tradewind.core.network import Network
from tradewind.core.policy import Policy
from tradewind.trading.hosts import Egress

Json = dict[str, Any]
ENDPOINT = "an-arm-of-a-host-that-is-not-allowed"
ON = replace(PLATFORM, network=Network(enabled=True))


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_worlds, "PLATFORM", ON)


def effects(kind: str, case: str) -> tuple[Effect, ...]:
    return golden_worlds.load(kind, case).decide().effects


def manifests(found: tuple[Effect, ...]) -> list[Json]:
    return [dict(e.manifest) for e in found if isinstance(e, Apply | Create)]


def policies(found: tuple[Effect, ...]) -> dict[str, Json]:
    return {m["metadata"]["name"]: m for m in manifests(found) if m["kind"] == "NetworkPolicy"}


def pods(found: tuple[Effect, ...]) -> list[Json]:
    """Labels of the pods that are asked for."""
    made = [m for m in manifests(found) if m["kind"] in ("Deployment", "Job")]
    return [m["spec"]["template"]["metadata"]["labels"] for m in made]


def selects(policy: Json, labels: Json) -> bool:
    return bool(policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items())


def reached(policy: Json, address: str, port: int) -> bool:
    """Whether the policy opens an address outside of all pods, other than for anywhere (database, API server, DNS)."""
    for rule in policy["spec"]["egress"]:
        if "ports" in rule and port not in [p["port"] for p in rule["ports"]]:
            continue
        for block in (peer["ipBlock"] for peer in rule.get("to", ()) if "ipBlock" in peer):
            inside = ip_address(address) in ip_network(block["cidr"])
            if inside and not any(ip_address(address) in ip_network(part) for part in block.get("except", ())):
                return True
    return False


def gateway(**egress: Any) -> Json:
    golden_worlds.PLATFORM = replace(ON, policy=Policy(egress=Egress.model_validate(egress)))
    return policies(effects("endpoint", ENDPOINT))["trader-gateway"]


CASES = [
    ("endpoint", ENDPOINT, "trader-gateway"),
    ("model_version", "benchmark-starts", "v1-benchmark"),
]


@pytest.mark.parametrize(("kind", "case", "name"), CASES)
def test_the_pods_that_are_made_are_selected_and_denied_both_ways(kind: str, case: str, name: str) -> None:
    found = effects(kind, case)
    (labels,) = pods(found)
    assert [n for n, policy in policies(found).items() if selects(policy, labels)] == [name]
    spec = policies(found)[name]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert all("from" in rule for rule in spec["ingress"])


@pytest.mark.parametrize("case", golden_worlds.case_names("training_run"))
def test_each_job_of_a_run_has_its_policy_before_it(case: str) -> None:
    found = effects("training_run", case)
    for number, effect in enumerate(found):
        if isinstance(effect, Create) and effect.manifest["kind"] == "Job":
            before = policies(found[:number])
            (labels,) = pods((effect,))
            (policy,) = before.values()
            assert selects(policy, labels)
            together = effect.manifest["spec"].get("parallelism", 1) > 1
            peers = [{"podSelector": {"matchLabels": labels}}]
            assert policy["spec"]["ingress"] == ([{"from": peers}] if together else [])
            assert ({"to": peers} in policy["spec"]["egress"]) == together


def test_predictors_are_asked_by_gateways_and_benchmarks_and_ask_nobody() -> None:
    spec = policies(effects("model_version", "benchmark-starts"))["v1-predictor"]["spec"]
    (rule,) = spec["ingress"]
    askers = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert [a["app.kubernetes.io/component"] for a in askers] == ["gateway", "benchmark"]
    (dns,) = spec["egress"]
    assert {p["port"] for p in dns["ports"]} == {53}


METADATA = ("169.254.169.254", "100.100.100.200", "168.63.129.16")


def test_a_gateway_reaches_public_addresses_at_the_ports_of_the_list_and_nothing_inside() -> None:
    policy = gateway(allowedHosts=["api.test", "api.test:8443"])
    for port in (80, 443, 8443):
        assert reached(policy, "203.0.114.9", port)
        assert reached(policy, "2606:4700::1", port)
        for inside in (*METADATA, "10.96.0.10", "192.168.1.1", "172.20.0.1", "127.0.0.1", "fd00::1", "fe80::1"):
            assert not reached(policy, inside, port)
    assert not reached(policy, "203.0.114.9", 25)
    assert not reached(gateway(allowedHosts=[]), "203.0.114.9", 443)


def test_hosts_inside_open_what_they_need_and_never_a_metadata_service() -> None:
    by_address = gateway(allowedInternalHosts=["10.1.0.0/16", "10.2.0.1:3128"])
    assert reached(by_address, "10.1.9.9", 8000)
    assert reached(by_address, "10.2.0.1", 3128)
    assert not reached(by_address, "10.2.0.1", 80)
    assert not reached(by_address, "10.3.0.1", 8000)
    by_name = gateway(allowedInternalHosts=["http://*.models.svc"])
    assert reached(by_name, "10.3.0.1", 8000)
    assert {"namespaceSelector": {}} in [p for rule in by_name["spec"]["egress"] for p in rule.get("to", ())]
    for address in (*METADATA, "fd00:ec2::254"):
        assert not reached(by_name, address, 80)
    assert reached(gateway(allowedInternalHosts=["http://169.254.169.254"]), "169.254.169.254", 80), "by address"


def test_without_the_value_no_policy_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_worlds, "PLATFORM", PLATFORM)
    for kind, case, _ in CASES:
        assert policies(effects(kind, case)) == {}
