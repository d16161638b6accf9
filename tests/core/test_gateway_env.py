"""The variables of an Endpoint reach its gateway, and none of those that the operator sets."""

from dataclasses import replace
from typing import Any

import golden_worlds
import pytest
from pydantic import ValidationError

from tradewind.api.endpoint import EndpointSpec
from tradewind.core.decision import Apply

CASE = golden_worlds.load("endpoint", "renews-expiry-and-keeps-the-generation")


def spec(env: list[dict[str, Any]]) -> EndpointSpec:
    return gateway_spec({"env": env})


def gateway_spec(gateway: dict[str, Any]) -> EndpointSpec:
    manifest = CASE.resource.spec.to_manifest()  # type: ignore[attr-defined]
    return EndpointSpec.model_validate(manifest | {"gateway": manifest.get("gateway", {}) | gateway})


def container(env: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return deployment_environment({"env": env})


def deployment_environment(gateway: dict[str, Any]) -> list[dict[str, Any]]:
    decision = replace(CASE, resource=CASE.resource.model_copy(update={"spec": gateway_spec(gateway)})).decide()
    (deployment,) = (
        e.manifest for e in decision.effects if isinstance(e, Apply) and e.manifest["kind"] == "Deployment"
    )
    (one,) = deployment["spec"]["template"]["spec"]["containers"]
    return list(one["env"])


def test_they_stand_beside_the_operators_own() -> None:
    key = {"name": "proxy", "key": "url"}
    given: list[dict[str, Any]] = [
        {"name": "HTTPS_PROXY", "secretRef": key},
        {"name": "NO_PROXY", "value": "10.0.0.0/8,fd00::/8,.svc"},
    ]
    added = [
        {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": key}},
        {"name": "NO_PROXY", "value": "10.0.0.0/8,fd00::/8,.svc"},
    ]
    assert container(given) == container([]) + added


def test_the_openai_door_is_a_variable_where_it_is_open_and_none_where_it_is_not() -> None:
    opened = deployment_environment({"openai": {"enabled": True}})
    assert {"name": "TRADEWIND_OPENAI", "value": "enabled"} in opened
    assert [each for each in opened if each["name"] != "TRADEWIND_OPENAI"] == container([])
    assert deployment_environment({"openai": {"enabled": False}}) == container([])


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ([{"name": "TRADEWIND_DSN", "value": "x"}], "TRADEWIND_"),
        ([{"name": "A-B", "value": "x"}], "name of a variable"),
        ([{"name": "A"}], "exactly one of value and secretRef"),
        ([{"name": "A", "value": "x", "secretRef": {"name": "s", "key": "k"}}], "exactly one of value and secretRef"),
        ([{"name": "A", "value": "x"}, {"name": "A", "value": "y"}], "twice"),
    ],
)
def test_what_would_not_do_what_it_says_is_refused(env: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        spec(env)
