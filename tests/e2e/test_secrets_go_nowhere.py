"""Keys and questions go where Secrets and the installation let them: told by what the stand-in arms received."""

from typing import Any

import httpx
import pytest
from gateway_client import question
from installation import ARMS, SYSTEM
from space import Space

from manifests import API_KEY, api_key, endpoint, external
from workshop.client import condition

pytestmark = pytest.mark.e2e


def received(arms: str) -> dict[str, int]:
    found: dict[str, int] = httpx.get(f"{arms}/received", timeout=10, trust_env=False).json()
    return found


def unkeyed(name: str, behaviour: str, **more: Any) -> dict[str, Any]:
    made = external(name, behaviour, **more)
    del made["spec"]["external"]["secretRef"]
    return made


def told(space: Space, kind: str, name: str, of: str) -> tuple[str, str, str]:
    found = condition(space.must_get(kind, name), of)
    return found["status"], found["reason"], found["message"]


def test_the_connection_string_of_the_database_is_no_api_key(space: Space, arms: str) -> None:
    space.apply(
        external("thief", "thief", secretRef={"name": "tradewind-database", "key": "dsn"}),
        endpoint("asks-thief", "thief"),
    )
    for kind, name in (("Endpoint", "asks-thief"), ("ModelVersion", "thief")):
        space.wait_condition(kind, name, "ArmHealthy", "False", reason="SecretNotForHost", seconds=240)
        assert "add the host to the key allowedHosts of the Secret" in told(space, kind, name, "ArmHealthy")[2]
        space.wait_condition(kind, name, "Ready", "False", reason="SecretNotForHost", seconds=30)
    with space.gateway("asks-thief", until="GatewayReady") as client:
        answer = client.http.post("/v1/decisions", json=question("thief-1"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_answer")
        assert "postgresql" not in answer.text
    assert "thief" not in received(arms)


def test_a_key_whose_secret_names_the_host_later_is_sent_then(space: Space, arms: str) -> None:
    late = api_key("late-key", API_KEY)
    hosts = late["stringData"].pop("allowedHosts")
    space.apply(
        late,
        external("late", "follow", secretRef={"name": "late-key", "key": "api-key"}),
        endpoint("asks-late", "late"),
    )
    space.wait_condition("Endpoint", "asks-late", "ArmHealthy", "False", reason="SecretNotForHost", seconds=240)
    late["stringData"]["allowedHosts"] = hosts
    space.apply(late)
    space.wait_condition("Endpoint", "asks-late", "Ready", seconds=150)  # the kubelet brings it within about a minute


@pytest.mark.parametrize(
    ("name", "url", "reason"),
    [
        ("metadata", "http://169.254.169.254/latest/v1", "HostNotAllowed"),
        ("decimal", "http://2852039166/v1", "HostNotAllowed"),
        ("octal", "http://0251.0376.0251.0376/v1", "HostNotAllowed"),
        ("mapped", "http://[::ffff:169.254.169.254]/v1", "HostNotAllowed"),
        ("self", "http://127.0.0.1:8080/v1", "HostNotAllowed"),
        ("apiserver", "https://kubernetes.default.svc/v1", "HostNotAllowed"),
        ("database", f"http://tw-postgres.{SYSTEM}.svc:5432/v1", "HostNotAllowed"),
        ("bare", "http://api.example.com/v1", "CredentialWithoutTLS"),
    ],
)
def test_a_host_that_is_not_allowed_is_refused_before_anybody_asks(
    space: Space, name: str, url: str, reason: str
) -> None:
    version = external(f"refused-{name}", "follow")
    version["spec"]["external"]["baseURL"] = url
    space.apply(version)
    for of in ("Ready", "PolicyKept"):
        space.wait_condition("ModelVersion", f"refused-{name}", of, "False", reason=reason, seconds=30)
        message = told(space, "ModelVersion", f"refused-{name}", of)[2]
        assert message.startswith("spec.external.baseURL: ")
        assert "values of the chart" in message
    space.kubectl("delete", "modelversion", f"refused-{name}")


def test_a_refused_arm_is_in_no_gateway(space: Space) -> None:
    version = external("imds", "follow")
    version["spec"]["external"]["baseURL"] = "http://169.254.169.254/v1"
    space.apply(version, endpoint("asks-imds", "imds"))
    space.wait_condition("Endpoint", "asks-imds", "ArmHealthy", "False", reason="HostNotAllowed", seconds=240)
    assert space.routing("asks-imds")["arms"]["imds"]["refusal"]["cause"] == "host"
    pod = space.must_get("Deployment", "asks-imds-gateway")["spec"]["template"]["spec"]
    assert [v["name"] for v in pod["volumes"] if v["name"].startswith("arm-")] == []


def test_a_name_that_resolves_inside_is_not_asked(space: Space, arms: str) -> None:
    """`arms.<namespace>` looks like a public name; the cluster's DNS has it as a Service."""
    space.apply(unkeyed("sly", "sly", host=f"arms.{SYSTEM}"), endpoint("asks-sly", "sly"))
    space.wait_condition("Endpoint", "asks-sly", "ArmHealthy", "False", reason="HostNotAllowed", seconds=240)
    message = told(space, "Endpoint", "asks-sly", "ArmHealthy")[2]
    assert "resolves to a private address" in message
    address = space.cluster.must_get("Service", "arms", SYSTEM)["spec"]["clusterIP"]
    assert address not in message
    assert "sly" not in received(arms)


def test_of_a_secret_no_more_is_mounted_than_the_key_and_its_hosts(space: Space) -> None:
    secret = api_key("wide-key", API_KEY)
    secret["stringData"]["another"] = "of-no-concern"
    space.apply(
        secret, external("narrow", "follow", secretRef={"name": "wide-key", "key": "api-key"}), endpoint("asks-narrow", "narrow")
    )  # fmt: skip
    space.wait_condition("Endpoint", "asks-narrow", "Ready", seconds=240)
    (pod,) = space.select("Pod", "tradewind.dev/owner-name=asks-narrow")
    look = "import os; print(sorted(n for n in os.listdir('/var/run/secrets/tradewind/arms/narrow') if n[0] != '.'))"
    found = space.kubectl("exec", pod["metadata"]["name"], "--", "/opt/venv/bin/python", "-c", look)
    assert found.strip() == "['allowedHosts', 'api-key']"


def test_no_endpoint_opens_its_gateway(space: Space) -> None:
    space.apply(external("plain", "follow"), endpoint("open", "plain", gateway={"auth": {"disabled": True}}))
    space.wait_condition("Endpoint", "open", "Ready", "False", reason="OpenGatewayNotAllowed", seconds=60)
    assert "policy.allowUnauthenticatedGateways" in told(space, "Endpoint", "open", "PolicyKept")[2]
    assert space.get("Deployment", "open-gateway") is None


def test_a_gateway_that_is_closed_stays_closed(space: Space) -> None:
    space.apply(external("shut", "follow"), endpoint("closed", "shut"))
    space.wait_condition("Endpoint", "closed", "Ready", seconds=240)
    before = space.must_get("Deployment", "closed-gateway")["spec"]["template"]
    patch = '{"spec":{"gateway":{"auth":{"secretRef":null,"disabled":true}}}}'
    space.kubectl("patch", "endpoints.tradewind.dev", "closed", "--type=merge", "-p", patch)
    space.wait_condition("Endpoint", "closed", "Ready", "False", reason="OpenGatewayNotAllowed", seconds=60)
    assert space.must_get("Deployment", "closed-gateway")["spec"]["template"] == before
    with space.gateway("closed", until=None) as client:
        assert httpx.post(f"{client.url}/v1/decisions", json=question("x"), trust_env=False).status_code == 401
        assert client.decide("still-answers")["_model_used"] == "shut"


def test_the_arms_of_the_tests_are_allowed_by_name(space: Space) -> None:
    """What the others rest on: the same host is asked where it is named, over http, with its key."""
    space.apply(external("named", "follow", host=ARMS), endpoint("asks-named", "named"))
    space.wait_condition("Endpoint", "asks-named", "Ready", seconds=240)
    assert condition(space.must_get("ModelVersion", "named"), "PolicyKept") == {}
