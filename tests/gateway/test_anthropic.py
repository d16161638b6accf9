"""The Messages API through a real gateway: what is sent, what is read, what it cost, and what is not told to anybody."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.responses import JSONResponse, Response
from gateway_rig import HOLD, OPEN, Rig, ask, until

from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import parse_manifest
from tradewind.core.endpoint import arm_target
from tradewind.core.policy import Policy
from tradewind.gateway.protocols.anthropic import MAX_TOKENS

SECRET = "sk-very-secret"
TEXT = json.dumps(OPEN)
BLOCK = {"type": "text", "text": TEXT}
THOUGHT = {"type": "thinking", "thinking": json.dumps(HOLD), "signature": "x"}
SAMPLE = Path(__file__).parents[2] / "crds" / "samples" / "modelversion-anthropic.yaml"


def message(*content: dict[str, Any], why: str | None = "end_turn", **more: Any) -> Response:
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-7", "content": list(content)}
    return JSONResponse(body | {"stop_reason": why, "usage": {"input_tokens": 9, "output_tokens": 3}} | more)


def failed(kind: str, words: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": words}}, status, headers)


def says(rig: Rig, *answers: Response) -> None:
    left = list(answers)

    async def behave(_: dict[str, Any]) -> Response:
        return left.pop(0) if len(left) > 1 else left[0]

    rig.arms["api"].behave = behave


async def target(rig: Rig, **changes: Any) -> None:
    api = {"temperature": None, **rig.document["arms"]["api"], "protocol": "anthropic", "timeoutSeconds": 2} | changes
    rig.publish(arms=rig.document["arms"] | {"api": api})
    await rig.seen()


async def test_a_plain_version_is_asked_as_the_api_wants_it(rig, gateway):
    await target(rig)
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    assert (answer["_model_used"], answer["action"]) == ("api", "open_long")
    (seen,), (headers,) = rig.arms["api"].seen, rig.arms["api"].headers
    assert set(seen) == {"model", "max_tokens", "system", "messages", "stream"}
    assert (seen["max_tokens"], seen["stream"], seen["model"]) == (MAX_TOKENS, False, "deepseek-chat")
    assert (headers["x-api-key"], headers["anthropic-version"]) == (SECRET, "2023-06-01")
    assert "authorization" not in headers
    row = await rig.row("d")
    assert (row["reported_model"], row["reading_rules"], row["error_kind"]) == ("claude-7", [], None)


async def test_without_a_key_the_version_of_the_api_is_told_all_the_same(rig, gateway):
    await target(rig, credentialFile=None)
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json()["_model_used"] == "api"
    (headers,) = rig.arms["api"].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert "x-api-key" not in headers


async def test_both_protocols_ask_with_the_same_words(rig, gateway):
    await gateway.post("/v1/decisions", json=ask("by-openai"))
    rig.arms["api"].answer = dict(HOLD)
    await target(rig)
    await gateway.post("/v1/decisions", json=ask("by-anthropic", scope={"symbol": "BTC", "book": "other"}))
    chat, said = rig.arms["api"].seen
    assert [part["content"] for part in chat["messages"]] == [said["system"], said["messages"][0]["content"]]
    assert "leverage at most 3" in said["system"]
    assert "68500" in said["messages"][0]["content"]
    assert len(said["messages"]) == 1


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"temperature": 0.5, "maxTokens": 300}, {"temperature": 0.5, "max_tokens": 300}),
        ({"extraBody": {"thinking": {"type": "adaptive"}, "max_tokens": 9}}, {"thinking": {"type": "adaptive"}, "max_tokens": 9}),
        ({"responseFormat": "json_object"}, {}),
        ({"responseFormat": "none"}, {}),
    ],
)  # fmt: skip
async def test_the_api_is_sent_what_the_version_says(rig, gateway, change: dict[str, Any], sent: dict[str, Any]):
    await target(rig, **change)
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json()["_model_used"] == "api"
    (seen,) = rig.arms["api"].seen
    assert sent.items() <= seen.items()
    assert set(seen) == {"model", "max_tokens", "system", "messages", "stream", *sent}


async def test_a_schema_can_be_asked_for(rig, gateway):
    await target(rig, responseFormat="json_schema")
    await gateway.post("/v1/decisions", json=ask("d"))
    (seen,) = rig.arms["api"].seen
    form = seen["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert set(form["schema"]["required"]) == set(OPEN)
    assert form["schema"]["additionalProperties"] is False
    assert "response_format" not in seen


@pytest.mark.parametrize(
    ("answer", "rules"),
    [
        (message(BLOCK), []),
        (message(THOUGHT, {"type": "redacted_thinking", "data": "x"}, BLOCK), []),
        (message({"type": "text", "text": TEXT[:20]}, {"type": "text", "text": TEXT[20:]}), ["parts"]),
        (message({"type": "text", "text": f"```json\n{TEXT}\n```"}), ["fence"]),
        (message({"type": "tool_use", "id": "t", "name": "decide", "input": OPEN}, why="tool_use"), ["tool_call"]),
        (message({"type": "text", "text": "I decide."}, {"type": "tool_use", "input": OPEN}, why="tool_use"), ["tool_call"]),
        (message(BLOCK, why="stop_sequence"), []),
        (message(BLOCK, why=None), []),
        (Response(b": ping\n\n" + message(BLOCK).body), ["comments"]),
    ],
)  # fmt: skip
async def test_a_whole_answer_is_read_by_the_rules_that_all_share(rig, gateway, answer: Response, rules: list[str]):
    says(rig, answer)
    await target(rig)
    told = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    row = await rig.row("d")
    assert told["_model_used"] == "api", row["error_detail"]
    assert {name: told[name] for name in OPEN} == OPEN
    assert row["reading_rules"] == rules


@pytest.mark.parametrize(
    ("answer", "kind", "cause", "detail"),
    [
        (message({"type": "text", "text": TEXT}, why="max_tokens"), "length", None, "raise maxTokens"),
        (message(BLOCK, why="model_context_window_exceeded"), "length", None, "send less market_data"),
        (message(why="refusal"), "refusal", None, "stop_reason refusal"),
        (message(BLOCK, why="refusal", stop_details={"type": "refusal", "explanation": "no advice"}), "refusal", None, "no advice"),
        (message(BLOCK, why="pause_turn"), "invalid_json", None, "pause_turn"),
        (message(THOUGHT), "empty", None, "empty"),
        (message(), "empty", None, "empty"),
        (message({"type": "tool_use", "input": OPEN}, {"type": "tool_use", "input": HOLD}, why="tool_use"), "invalid_json", None, "2 tool calls"),
        (message({"type": "tool_use", "input": [OPEN]}, why="tool_use"), "invalid_json", None, "content.input"),
        (message(content=TEXT), "invalid_json", None, "content: not a list"),
        (message({"type": "text", "text": TEXT[:-1]}), "invalid_json", None, "JSON"),
        (message({"type": "text", "text": json.dumps(OPEN | {"leverage": 9})}), "over_limit", None, "leverage 9"),
        (failed("invalid_request_error", "temperature is deprecated", 400), "status", "parameter", "temperature is deprecated"),
        (failed("invalid_request_error", "Your credit balance is too low to access the API.", 400), "status", "balance", "credit balance"),
        (failed("authentication_error", f"invalid x-api-key {SECRET}", 401), "status", "credential", "invalid x-api-key [redacted]"),
        (failed("not_found_error", "model: x", 404), "status", "not_found", "model: x"),
        (failed("permission_error", "not for this key"), "status", "credential", "not for this key"),
        (failed("overloaded_error", "Overloaded"), "status", "overloaded", "an error in an answer of status 200"),
        (failed("of_tomorrow", "hm"), "status", None, "hm (type of_tomorrow)"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_has_its_kind_and_cause(
    rig, gateway, answer: Response, kind: str, cause: str | None, detail: str
):
    says(rig, answer)
    await target(rig)
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json()["_model_used"] == "safe"
    row = await rig.row("d")
    assert (row["error_kind"], row["error_cause"]) == (kind, cause), row["error_detail"]
    assert detail in row["error_detail"]


@pytest.mark.parametrize(
    "first",
    [failed("overloaded_error", "Overloaded", 529), failed("overloaded_error", "Overloaded"), failed("api_error", "x", 500), message()],
    ids=["529", "inside 200", "500", "empty"],
)  # fmt: skip
async def test_what_may_pass_is_asked_again(rig, gateway, first: Response):
    says(rig, first, message(BLOCK))
    await target(rig, maxRetries=1, retryBudget="1")
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json()["_model_used"] == "api"
    row = await rig.row("d")
    assert len(rig.arms["api"].seen) == len(row["calls"]) == 2
    assert "error_kind" in row["calls"][0]


async def test_a_question_that_is_refused_is_not_asked_again(rig, gateway):
    says(rig, failed("invalid_request_error", "no", 400))
    await target(rig, maxRetries=2, retryBudget="1")
    await gateway.post("/v1/decisions", json=ask("d"))
    assert len(rig.arms["api"].seen) == 1


PRICES = {"input": "3", "cachedInput": "0.3", "cacheWrite": "3.75", "output": "15", "cnyPerUnit": "7"}


@pytest.mark.parametrize(
    ("usage", "prices", "cost", "tokens"),
    [
        ({"input_tokens": 1000, "output_tokens": 100}, PRICES, "0.0315", {"prompt": 1000, "cached": 0, "completion": 100}),
        (
            {"input_tokens": 1000, "cache_read_input_tokens": 20_000, "cache_creation_input_tokens": 4000, "output_tokens": 100},
            PRICES, "0.1785", {"prompt": 25_000, "cached": 20_000, "completion": 100, "written": 4000},
        ),
        (
            {"input_tokens": 1000, "cache_read_input_tokens": None, "cache_creation_input_tokens": 4000, "output_tokens": 0},
            {"input": "3", "output": "15"}, "0.015", {"prompt": 5000, "cached": 0, "completion": 0, "written": 4000},
        ),
        ({"input_tokens": -1, "output_tokens": 100}, PRICES, "0.5", None),
        ({"input_tokens": 1, "cache_read_input_tokens": "many", "output_tokens": 100}, PRICES, "0.5", None),
    ],
)  # fmt: skip
async def test_the_price_is_that_of_the_tokens(
    rig, gateway, usage: dict[str, Any], prices: dict[str, str], cost: str, tokens: dict[str, int] | None
):
    says(rig, message(BLOCK, usage=usage))
    await target(rig, prices=prices)
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert row["cost_cny"] == Decimal(cost)
    assert (None if tokens is None else row["calls"][0]["tokens"]) == tokens


async def test_an_answer_that_was_cut_off_is_paid_and_an_error_inside_200_is_not(rig, gateway):
    await target(rig)
    says(rig, message(BLOCK, why="max_tokens"))
    await gateway.post("/v1/decisions", json=ask("cut"))
    says(rig, failed("overloaded_error", "Overloaded"))
    await gateway.post("/v1/decisions", json=ask("over", scope={"symbol": "ETH"}))
    assert ((await rig.row("cut"))["cost_cny"], (await rig.row("over"))["cost_cny"]) == (Decimal("0.5"), None)


async def test_the_key_is_in_no_row_and_no_log(rig, gateway, capfd):
    await target(rig)
    said = [failed("authentication_error", f"invalid x-api-key: {SECRET}", 401), message(BLOCK | {"text": SECRET})]
    for at, answer in enumerate(said):
        says(rig, answer)
        await gateway.post("/v1/decisions", json=ask(f"d{at}", scope={"symbol": "BTC", "book": str(at)}))
    rows = await rig.rows("SELECT * FROM tradewind.decisions")
    assert len(rows) == len(said)
    assert SECRET not in str(rows)
    captured = capfd.readouterr()
    assert "invalid x-api-key" in captured.out + captured.err
    assert SECRET not in captured.out + captured.err


async def test_a_probe_asks_it_too(rig, gateway):
    says(rig, failed("authentication_error", "invalid x-api-key", 401))
    await target(rig, probeSeconds=3600)
    watch = gateway.app.state.gateway.health
    await until(lambda: any(arm["healthy"] is False and arm["version"] == "api" for arm in watch.known()))
    (told,) = [arm for arm in watch.known() if arm["version"] == "api"]
    assert told["error_cause"] == "credential"


def version(**external: Any) -> ModelVersion:
    spec = {"external": {"protocol": "anthropic", "baseURL": "https://api.anthropic.com/v1", "model": "m"} | external}
    raw = {"apiVersion": "tradewind.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": "api"}, "spec": spec}
    parsed = parse_manifest(raw)
    assert isinstance(parsed, ModelVersion), parsed
    return parsed


def test_the_operator_sends_no_temperature_that_nobody_asked_for() -> None:
    assert arm_target(version(), Policy()).temperature is None
    assert arm_target(version(temperature="0"), Policy()).temperature == 0.0
    assert arm_target(version(temperature="none"), Policy()).temperature is None
    assert arm_target(version(protocol="openai"), Policy()).temperature == 0.0
    assert arm_target(version(thinking="adaptive"), Policy()).extra_body == {"thinking": {"type": "adaptive"}}


def test_the_sample_s_prices_reach_the_gateway() -> None:
    sample = parse_manifest(yaml.safe_load(SAMPLE.read_text()))
    assert isinstance(sample, ModelVersion)
    prices = arm_target(sample, Policy()).prices
    assert prices is not None
    assert (prices.cached_input, prices.cache_write) == (Decimal("0.3"), Decimal("3.75"))
