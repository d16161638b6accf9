"""NetworkPolicies of the chart's own pods, and that those of the operator's children meet them."""

import json
from typing import Any

import pytest
from chart_tools import EMBEDDED, EXISTING, refusal, template

from tradewind.core.network import Network

pytestmark = pytest.mark.e2e  # needs the helm that `make cluster` builds

ON = ("--set", "networkPolicy.enabled=true")
Json = dict[str, Any]


def of(documents: list[Json], kind: str) -> list[Json]:
    return [d for d in documents if d["kind"] == kind]


def pods(documents: list[Json]) -> list[Json]:
    """Labels of the chart's pods."""
    made = [d for d in documents if d["kind"] in ("Deployment", "StatefulSet", "Job")]
    return [d["spec"]["template"]["metadata"]["labels"] for d in made]


@pytest.mark.parametrize("values", [EXISTING, (*EMBEDDED, "--set", "standin.enabled=true")])
def test_each_pod_of_the_chart_is_selected_by_one_policy_that_denies_both_ways(values: tuple[str, ...]) -> None:
    documents = template("tradewind", *values, *ON)
    found = of(documents, "NetworkPolicy")
    for labels in pods(documents):
        (policy,) = [p for p in found if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert all("from" in rule for rule in policy["spec"]["ingress"]), "nobody is let in unnamed"
    assert len(found) == len(pods(documents))


def test_without_the_value_there_is_none() -> None:
    documents = template("tradewind", *EMBEDDED, "--set", "standin.enabled=true")
    assert of(documents, "NetworkPolicy") == []


def test_the_embedded_database_is_asked_by_ours_alone_and_asks_nobody() -> None:
    documents = template("tradewind", *EMBEDDED, *ON)
    (policy,) = [p for p in of(documents, "NetworkPolicy") if p["metadata"]["name"].endswith("-postgres")]
    assert policy["spec"]["egress"] == []
    (rule,) = policy["spec"]["ingress"]
    ours, children = rule["from"]
    assert ours["podSelector"]["matchExpressions"][0]["values"] == ["operator", "migrate"]
    assert "namespaceSelector" not in ours
    assert children["podSelector"]["matchExpressions"][0]["values"] == ["gateway", "snapshot"]
    for component in ours["podSelector"]["matchExpressions"][0]["values"]:
        (labels,) = [labels for labels in pods(documents) if labels["app.kubernetes.io/component"] == component]
        assert ours["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_operator_is_told_what_the_values_say() -> None:
    more = ("networkPolicy.database.ports={5433}", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b")
    (deployment,) = of(template("tradewind", *EXISTING, *ON, *(f"--set={m}" for m in more)), "Deployment")
    env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    found = Network.model_validate_json(env["TRADEWIND_NETWORK_POLICY"])
    assert (found.enabled, found.database.ports) == (True, (5433,))
    assert json.loads(env["TRADEWIND_NETWORK_POLICY"])["metricsFrom"] == [
        {"namespaceSelector": {"matchLabels": {"a": "b"}}}
    ]


@pytest.mark.parametrize("value", ["callers[0].anybody=true", "database.ports={0}", "apiServer.ports={}"])
def test_values_that_mean_nothing_are_refused(value: str) -> None:
    said = refusal(*EXISTING, "--set", f"networkPolicy.{value}")
    assert "schema" in said
    assert "networkPolicy" in said
