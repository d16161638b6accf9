"""Protocols: one registry, and what leaves the cluster is decided by where an arm lies, not by how it is asked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import golden_worlds
import pytest
from gateway_rig import Rig, ask
from pydantic import JsonValue

from tradewind.api.model_version import ModelVersion
from tradewind.core.endpoint import arm_target
from tradewind.core.policy import Policy
from tradewind.gateway import arms, protocols
from tradewind.gateway.protocols import PROTOCOLS, ArmAnswer, ArmQuestion
from tradewind.gateway.protocols.kserve import KServePredict
from tradewind.trading.routing import EXTERNAL_PROTOCOLS, OWN_PROTOCOL, OWN_PROTOCOLS, Protocol, Routing

ACCOUNT = {"balance": 600.0, "positions": [], "permission_level": "L2", "owner": "ada"}


def test_each_protocol_has_its_module_and_each_module_its_protocol() -> None:
    modules = {path.stem for path in Path(protocols.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert modules == {protocol.value for protocol in Protocol} == {protocol.value for protocol in PROTOCOLS}
    assert set(EXTERNAL_PROTOCOLS) == modules - {protocol.value for protocol in OWN_PROTOCOLS}


def test_the_operator_reads_the_protocol_of_an_external_version() -> None:
    external = {"baseURL": "http://api.test/v1", "model": "m"}
    version = ModelVersion.model_validate(
        {"kind": "ModelVersion", "metadata": {"name": "api"}, "spec": {"external": external}}
    )
    assert arm_target(version, Policy()).protocol is Protocol.OPENAI
    assert version.spec.external is not None
    other = version.spec.external.model_copy(update={"protocol": "kserve"})  # as a third one would be named
    spec = version.spec.model_copy(update={"external": other})
    target = arm_target(version.model_copy(update={"spec": spec}), Policy())
    assert (target.protocol, target.outside) == (Protocol.KSERVE, True)
    own = {"model": {"uri": "pvc://m/x", "sha256": "a" * 64}}
    mine = ModelVersion.model_validate({"kind": "ModelVersion", "metadata": {"name": "v1"}, "spec": own})
    assert (arm_target(mine, Policy()).protocol, arm_target(mine, Policy()).outside) == (OWN_PROTOCOL, False)


async def shown_to(rig: Rig, **arm: Any) -> dict[str, Any]:
    """The account that the champion is shown."""
    rig.document["arms"]["v1"] |= arm
    rig.publish(champion="v1", externalFields=["balance"])
    client = await rig.gateway()
    answer = await client.post("/v1/decisions", json=ask(account_state=ACCOUNT))
    assert answer.status_code == 200, answer.text
    seen = rig.arms["v1"].seen[-1]
    text = seen["messages"][1]["content"] if "messages" in seen else json.dumps(seen["instances"][0]["account_state"])
    return {name: name in text for name in ("balance", "owner", "permission_level")}


NOTHING_ELSE = {"balance": True, "owner": False, "permission_level": False}


class Toy(KServePredict):
    """A third protocol: another path on the wire, other headers."""

    def authenticate(self, credential: str) -> Mapping[str, str]:
        return {"x-api-key": credential}

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        url, body = super().request(question)
        return url, {**body, "toy": True}

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        return super().read(body, question)


async def test_an_outside_arm_of_any_protocol_sees_what_may_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen before: with a protocol that was not openai, the whole account left."""
    monkeypatch.setattr(arms, "PROTOCOLS", {**PROTOCOLS, Protocol.KSERVE: Toy()})
    key = rig.document["arms"]["api"]["credentialFile"]
    assert await shown_to(rig, outside=True, credentialFile=key) == NOTHING_ELSE
    assert rig.arms["v1"].seen[-1]["toy"] is True
    assert rig.arms["v1"].headers[-1]["x-api-key"] == "sk-very-secret"
    assert "authorization" not in rig.arms["v1"].headers[-1]


async def test_an_arm_of_the_cluster_sees_all_whatever_it_speaks(rig: Rig) -> None:
    assert all((await shown_to(rig, outside=False, protocol="openai")).values())


async def test_an_operator_that_does_not_say_where_an_arm_lies_is_taken_at_the_stricter_word(rig: Rig) -> None:
    del rig.document["arms"]["v1"]["outside"]
    assert await shown_to(rig) == NOTHING_ELSE


async def test_what_a_newer_operator_says_besides_is_ignored_and_another_version_is_not_obeyed(rig: Rig) -> None:
    rig.document |= {"ofTomorrow": 1, "labels": {"ofTomorrow": 1}}
    assert all((await shown_to(rig, ofTomorrow={"field": 1})).values())
    with pytest.raises(ValueError, match="version"):
        Routing.from_json(json.dumps(rig.document | {"version": 2}))


async def test_proxies_are_for_what_lies_outside(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    gateway = await rig.gateway()
    for name, outside, answered_by in (("in", False, "v1"), ("out", True, "safe")):
        rig.document["arms"]["v1"]["outside"] = outside
        rig.publish(champion="v1")
        await rig.seen()
        assert (await gateway.post("/v1/decisions", json=ask(name))).json()["_model_used"] == answered_by
    assert (await rig.row("out"))["error_kind"] == "transport"


def test_what_an_older_operator_published_is_published_anew() -> None:
    """So that an own predictor is shown too little for a moment only."""
    case = golden_worlds.load("endpoint", "renews-expiry-and-keeps-the-generation")
    document = json.loads(case.seen.routing.to_json())
    for arm in document["arms"].values():
        del arm["outside"]
    older = Routing.from_json(json.dumps(document))
    routing = golden_worlds.published(case.decide(routing=older))
    assert routing is not None
    assert routing.generation > older.generation
    external = {name: case.seen.versions[name].spec.external is not None for name in routing.arms}
    assert {name: arm.outside for name, arm in routing.arms.items()} == external
