"""An own model behind plain vLLM: asked with the prompt of training, shown everything, held to schema and limits."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response
from gateway_rig import OPEN, Rig, ask

from tradewind.gateway.answers import ArmError
from tradewind.gateway.protocols import PROTOCOLS, ArmQuestion
from tradewind.trading.completions import completion_pattern
from tradewind.trading.decision import DecisionInput, Limits
from tradewind.trading.prompt import INSTRUCTION
from tradewind.trading.routing import ArmTarget, LevelLimits, Protocol

NAME = f"v1@{'a' * 64}"
RECORDED = Path(__file__).parents[1] / "fixtures" / "vllm"
"""Answers of vLLM itself; `tests/predictor/test_vllm.py` asks the real one."""


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def question(limits: Limits | None = None) -> ArmQuestion:
    target = ArmTarget(protocol=Protocol.VLLM, outside=False, base_url="http://v1-predictor", model=NAME)
    return ArmQuestion(target, DecisionInput(market_data={}, account_state={}), "BTC", limits)


def read(text: str, reason: str = "stop", **choice: Any) -> Any:
    body = {"model": NAME, "choices": [{"index": 0, "text": text, "finish_reason": reason, **choice}]}
    return PROTOCOLS[Protocol.VLLM].read(json.dumps(body).encode(), question(Limits(max_leverage=5, max_size_usd=100)))


async def served(rig: Rig) -> Any:
    rig.document["arms"]["v1"] |= {"protocol": "vllm", "outside": False, "model": NAME}
    rig.publish(champion="v1", externalFields=["balance"])
    return await rig.gateway()


async def test_it_is_asked_as_it_was_trained_and_shown_what_stays_inside(rig: Rig) -> None:
    client = await served(rig)
    answer = await client.post(
        "/v1/decisions", json=ask("d1", account_state={"balance": 600.0, "owner": "ada", "permission_level": "L2"})
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["action"], answer.json()["_model_used"]) == ("open_long", "v1")
    (sent,) = [body for body in rig.arms["v1"].seen if "ada" in body["prompt"]]
    assert sent["model"] == NAME
    assert sent["prompt"].startswith(INSTRUCTION)
    assert sent["prompt"].endswith("Symbol: BTC\nDecision: ")
    level = LevelLimits.model_validate(rig.document["limits"]["permissionLevels"]["L2"])
    assert sent["structured_outputs"] == {"regex": completion_pattern("BTC", level.as_limits())}
    assert "authorization" not in rig.arms["v1"].headers[-1]
    row = await rig.row("d1")
    assert (row["error_kind"], row["probabilities"]) == (None, None)


@pytest.mark.parametrize(
    ("name", "kind", "cause"),
    [("another-hash", "status", "not_found"), ("too-long", "status", "parameter"), ("cut-off", "length", None)],
)
async def test_what_vllm_says_instead_of_an_answer_is_an_error_of_the_arm(
    rig: Rig, name: str, kind: str, cause: str | None
) -> None:
    said = recorded(name)

    async def behave(_: dict[str, Any]) -> Response:
        return JSONResponse(said["body"], said["status"])

    rig.arms["v1"].behave = behave
    client = await served(rig)
    assert (await client.post("/v1/decisions", json=ask("d1"))).json()["_model_used"] != "v1"
    row = await rig.row("d1")
    assert (row["error_kind"], row["error_cause"]) == (kind, cause)


def test_an_answer_of_vllm_is_read() -> None:
    body = json.dumps(recorded("answer")["body"]).encode()
    answer = PROTOCOLS[Protocol.VLLM].read(body, question(Limits(max_leverage=1, max_size_usd=1)))
    assert (answer.decision.action, answer.decision.confidence) == ("close", 0)
    assert (answer.probabilities, answer.rules) == (None, ())


def test_what_breaks_limits_or_is_cut_off_is_no_answer() -> None:
    assert read(json.dumps(OPEN)).decision.size_usd == 60
    for text, reason, kind in (
        (json.dumps(OPEN | {"size_usd": 500}), "stop", "over_limit"),
        (json.dumps(OPEN | {"symbol": "ETH"}), "stop", "invalid_decision"),
        ('{"action":"hold","sy', "length", "length"),
        (f"So: {json.dumps(OPEN)}", "stop", "invalid_json"),
        ("", "stop", "invalid_json"),
    ):
        with pytest.raises(ArmError) as caught:
            read(text, reason)
        assert caught.value.kind == kind, text


@pytest.mark.parametrize("body", [b"{}", b'{"choices": []}', b'{"choices": [{"text": null}]}', b"[]", b"<html>"])
def test_what_is_no_completion_is_an_error_of_the_arm(body: bytes) -> None:
    with pytest.raises(ArmError):
        PROTOCOLS[Protocol.VLLM].read(body, question())
