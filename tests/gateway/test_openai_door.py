"""The OpenAI door, asked by the official client: the same decisions as by /v1/decisions, in the shape of a chat completion."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
import openai
import pytest
from gateway_rig import OPEN, Rig, ask
from pydantic import BaseModel, ConfigDict, Field

from tradewind.gateway.chat.identity import RETRIES_HEADER, RETRY_SECONDS, identify
from tradewind.trading.assignment import draw_arm
from tradewind.trading.decision import DecisionRequest, decision_schema

MODEL = "tradewind/trader"
BODY = {key: value for key, value in ask().items() if key != "scope"}
TEXT = [
    {"role": "system", "content": "You are a careful trader. Answer in JSON."},
    {"role": "user", "content": "BTC trades at 68500, RSI 62.5."},
]
JSON_BODY = [{"role": "user", "content": json.dumps(ask())}]
TOOL = {"type": "function", "function": {"name": "trade", "parameters": decision_schema()}}


@pytest.fixture
async def url(rig: Rig) -> str:
    """Base URL of a gateway on a port of its own, with the door open."""
    return f"{await rig.served(openai=True)}/v1"


@pytest.fixture
async def bot(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client that repeats nothing, so that each test sees the first answer."""
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        yield client


def chat(decision_id: str | None = None, **changes: Any) -> Any:
    """Arguments of `chat.completions.create`."""
    metadata = {} if decision_id is None else {"decision_id": decision_id}
    return {"model": MODEL, "messages": JSON_BODY, "metadata": metadata} | changes


async def texts_may_leave(rig: Rig, url: str) -> None:
    await publish(rig, url, externalFields=None)


async def publish(rig: Rig, url: str, **changes: Any) -> None:
    """Publishes and waits until the gateway behind the URL obeys."""
    rig.publish(**changes)
    generation = float(rig.document["generation"])
    async with httpx.AsyncClient(base_url=url.removesuffix("/v1")) as http, asyncio.timeout(20):
        while f"tradewind_routing_generation {generation}" not in (await http.get("/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def refused(bot: openai.AsyncOpenAI, **body: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as error:
        await bot.chat.completions.create(**chat(**body))
    return error.value


# --- off, on, and who may ask ------------------------------------------------------------------------------------------


async def test_the_door_is_off_unless_the_endpoint_opens_it(rig: Rig):
    gateway = await rig.gateway()
    for answer in (
        await gateway.post("/v1/chat/completions", json={"model": MODEL, "messages": JSON_BODY}),
        await gateway.get("/v1/models"),
        await gateway.get(f"/v1/models/{MODEL}"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (404, "no_such_route", "invalid_request_error")
        assert "spec.gateway.openai.enabled: true" in error["message"]
    assert await rig.rows() == []


async def test_models(bot):
    assert [model.id async for model in bot.models.list()] == [MODEL]
    assert (await bot.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError) as error:
        await bot.models.retrieve("deepseek-chat")
    assert error.value.code == "model_not_found"


async def test_bearer_token(rig: Rig, tmp_path):
    token = tmp_path / "token"
    token.write_text("Abc-123\n")
    gateway = await rig.gateway(openai=True, auth_token_file=token)
    body = {"model": MODEL, "messages": JSON_BODY}
    for path in ("/v1/chat/completions", "/v1/models"):
        method = "GET" if path == "/v1/models" else "POST"
        wrong = await gateway.request(method, path, json=body, headers={"Authorization": "Bearer no"})
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "authentication_error")
        assert wrong.json()["error"]["param"] is None
    assert await rig.rows() == []
    right = await gateway.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer Abc-123"})
    assert right.status_code == 200, right.text


def test_the_blocking_client(url: str):
    with openai.OpenAI(base_url=url, api_key="k") as client:
        answer = client.chat.completions.create(**chat("d"))
    assert answer.id == "chatcmpl-d"
    assert json.loads(answer.choices[0].message.content or "") == OPEN


# --- one decision, whichever door -----------------------------------------------------------------------------------------


async def test_both_doors_give_the_one_decision(rig: Rig, url: str, bot):
    answer = await bot.chat.completions.create(**chat("d"))
    extra = dict(answer.tradewind)  # the client keeps what it does not know
    assert extra.pop("without_effect") == []
    async with httpx.AsyncClient(base_url=url) as http:
        same = await http.post("/decisions", json=ask("d"))
        report = {"status": "opened", "opened_at": datetime.now(UTC).isoformat(), "filled_notional_usd": 118.5}
        opened = await http.post("/decisions/d/execution", json=report | {"position_id": "p"})
    assert same.json() == extra
    assert opened.status_code == 200, opened.text
    assert len(await rig.rows()) == len(rig.arms["api"].seen) == 1
    choice = answer.choices[0]
    assert (answer.object, answer.model, choice.finish_reason, choice.message.role) == (
        "chat.completion", MODEL, "stop", "assistant",
    )  # fmt: skip
    assert abs(answer.created - datetime.now(UTC).timestamp()) < 60
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    assert json.loads(choice.message.content) == {name: extra[name] for name in OPEN}


@pytest.mark.parametrize(
    ("messages", "metadata"),
    [
        (JSON_BODY, {}),
        ([{"role": "user", "content": [{"type": "text", "text": json.dumps(ask())}]}], {}),
        (
            [{"role": "user", "content": json.dumps({"market_data": BODY["market_data"]})}],
            {"symbol": "BTC", "account_state": json.dumps(BODY["account_state"])},
        ),
    ],
)
async def test_the_same_question_in_another_wording_is_the_same_decision(rig: Rig, bot, messages, metadata):
    first = await bot.chat.completions.create(**chat("d"))
    second = await bot.chat.completions.create(**chat(messages=messages, metadata=metadata | {"decision_id": "d"}))
    assert second.choices == first.choices
    assert len(rig.arms["api"].seen) == 1


async def test_draw_shadow_and_fallback_are_those_of_every_decision(rig: Rig, url: str, bot):
    await publish(rig, url, experiment=rig.experiment(shadow="both"))
    rig.arms["v1"].status(500)
    names = [f"d{n}" for n in range(6)]
    arms = {name: str(draw_arm("exp-1", name, 0.5)) for name in names}
    assert set(arms.values()) == {"baseline", "candidate"}
    for name in names:
        scope = {"symbol": "BTC", "book": name}
        body = [{"role": "user", "content": json.dumps(ask(scope=scope))}]
        told = (await bot.chat.completions.create(**chat(name, messages=body))).tradewind
        drawn = "api" if arms[name] == "baseline" else "safe"
        assert (told["_arm"], told["_fallback"], told["_model_used"]) == (arms[name], drawn == "safe", drawn)
    async with asyncio.timeout(15):
        while len(await rig.rows("SELECT 1 FROM tradewind.shadows")) < len(names):  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.02)


async def test_errors_keep_the_status_of_a_decision(rig: Rig, bot):
    doge = await refused(bot, messages=[{"role": "user", "content": json.dumps(ask(scope={"symbol": "DOGE"}))}])
    assert isinstance(doge, openai.UnprocessableEntityError)
    assert (doge.code, doge.param, doge.type) == ("symbol_not_allowed", "scope.symbol", "invalid_request_error")
    assert "spec.limits.symbols" in doge.message
    level = await refused(bot, messages=[{"role": "user", "content": json.dumps(ask(account_state={}))}])
    assert (level.status_code, level.code) == (422, "permission_level_unknown")
    await bot.chat.completions.create(**chat("d"))
    other = [{"role": "user", "content": json.dumps(ask(position_id="p"))}]
    reused = await refused(bot, decision_id="d", messages=other)
    assert (reused.status_code, reused.code) == (422, "decision_id_reused")
    assert len(await rig.rows()) == 1


# --- what an arm is shown -----------------------------------------------------------------------------------------------


async def test_text_is_shown_to_the_arms_as_it_stands(rig: Rig, url: str, bot):
    await texts_may_leave(rig, url)
    metadata = {"symbol": "BTC", "account_state": json.dumps({"permission_level": "L2", "balance": 600})}
    await bot.chat.completions.create(**chat(messages=TEXT, metadata=metadata))
    (row,) = await rig.rows()
    assert row["request"]["market_data"] == row["shown"]["market_data"] == {"messages": TEXT}
    assert row["request"]["account_state"] == {"permission_level": "L2", "balance": 600}
    (seen,) = rig.arms["api"].seen
    for text in TEXT:
        assert json.dumps(text["content"]) in seen["messages"][1]["content"]


async def test_text_beside_a_body_is_shown_beside_its_market(rig: Rig, url: str, bot):
    await texts_may_leave(rig, url)
    await bot.chat.completions.create(**chat("d", messages=[TEXT[0], *JSON_BODY]))
    market = (await rig.row("d"))["shown"]["market_data"]
    assert market == BODY["market_data"] | {"messages": TEXT[:1]}
    taken = ask(market_data={"messages": []})
    error = await refused(bot, messages=[TEXT[0], {"role": "user", "content": json.dumps(taken)}])
    assert (error.status_code, error.param) == (400, "messages.0.content")


async def test_text_does_not_leave_where_the_endpoint_says_what_may(rig: Rig, bot):
    assert rig.document["externalFields"]
    error = await refused(bot, messages=[TEXT[0], *JSON_BODY])
    assert (error.status_code, error.code, error.param) == (400, "invalid_chat", "messages.0.content")
    assert "externalFields" in error.message
    assert await rig.rows() == []


async def test_the_only_symbol_need_not_be_told(rig: Rig, url: str, bot):
    error = await refused(bot, messages=TEXT)
    assert error.param == "metadata.symbol"
    rig.document["limits"]["symbols"] = ["BTC"]
    await texts_may_leave(rig, url)
    told = {"account_state": {"permission_level": "L2"}}
    await bot.chat.completions.create(**chat(messages=TEXT, metadata=told))
    assert (await rig.rows())[0]["scope_symbol"] == "BTC"


# --- refused by name ----------------------------------------------------------------------------------------------------


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"stream": True}, "stream", "leave stream out"),
        ({"n": 2}, "n", "another decision_id"),
        ({"stop": ["}"]}, "stop", "whole decision"),
        ({"logprobs": True}, "logprobs", "_probabilities"),
        ({"functions": [{"name": "trade"}]}, "functions", "tools"),
        ({"modalities": ["text", "audio"]}, "modalities", "text"),
        ({"extra_body": {"top_k": 5}}, "top_k", "remove top_k"),
        ({"metadata": {"symbols": "BTC,ETH"}}, "metadata.symbols", "give symbol"),
        ({"metadata": {"bot": "x"}}, "metadata.bot", "decision_id, position_id, symbol"),
        ({"metadata": {"symbol": "ETH"}}, "metadata.symbol", "messages.0.content.scope.symbol"),
        ({"metadata": {"account_state": "rich"}}, "metadata.account_state", "looks like JSON and is none"),
        ({"metadata": {"account_state": "[]"}}, "metadata.account_state", "json.dumps of an object"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [*JSON_BODY, *JSON_BODY]}, "messages.1.content", "one question at a time"),
        ({"messages": [{"role": "assistant", "content": "hold"}, *JSON_BODY]}, "messages.0.role", "its own past"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages.0.name", "remove name"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0",
            "type text",
        ),
        (said(""), "messages.0.content", "is empty"),
        (said('{"market_data": {"x": NaN}}'), "messages.0.content", "NaN is not JSON"),
        (said('{"market_data": {}, "market_data": {}}'), "messages.0.content", "a key comes twice"),
        (said('{"market_data": {"x": "\\u0000"}}'), "messages.0.content.market_data.x", "NUL"),
        (said('{"market_data": {'+"}"), "messages.0.content", "is none"),
        (said(json.dumps(ask(surprise=1))), "messages.0.content.surprise", "remove surprise"),
        (said(json.dumps(ask(scope={"symbol": "BTC "}))), "messages.0.content.scope.symbol", "symbol"),
        (said('{"scope": {"symbol": "BTC"}}'), "messages", "nothing to decide on"),
        ({"metadata": {"as_of": "yesterday"}}, "metadata.as_of", "as_of"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tools": [TOOL, TOOL]}, "tools.1", "one call of one function"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type", "functions"),
        (
            {"tools": [{"type": "function", "function": {"name": "get_price", "parameters": {"type": "object"}}}]},
            "tools.0.function.parameters (get_price).properties",
            "action is missing",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice.function.name",
            "'other' is not among the tools",
        ),
        ({"response_format": {"type": "grammar"}}, "response_format.type", "json_schema"),
    ],
)  # fmt: skip
async def test_what_is_not_read_is_refused_by_name(rig: Rig, bot, body, param, words):
    error = await refused(bot, **body)
    assert isinstance(error, openai.BadRequestError)
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert error.code in ("invalid_chat", "unsupported_parameter")
    assert words in error.message
    assert await rig.rows() == []


async def test_another_model_is_not_found(bot):
    error = await refused(bot, model="deepseek-chat")
    assert isinstance(error, openai.NotFoundError)
    assert (error.code, error.param) == ("model_not_found", "model")
    assert MODEL in error.message


async def test_parameters_of_a_model_are_named_as_without_effect(rig: Rig, bot):
    answer = await bot.chat.completions.create(**chat("d", temperature=0.7, max_tokens=5, seed=1, stream=False, n=1))
    assert answer.tradewind["without_effect"] == ["max_tokens", "seed", "temperature"]
    assert json.loads(answer.choices[0].message.content) == OPEN
    (seen,) = rig.arms["api"].seen
    assert seen["temperature"] == 0.0  # the version's own


# --- JSON mode and tools ------------------------------------------------------------------------------------------------


class Trade(BaseModel):
    """As a bot declares a decision."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["open_long", "open_short", "close", "hold"] = Field(description="what to do")
    symbol: str
    size_usd: float
    leverage: int = Field(ge=1)
    stop_loss_pct: float
    take_profit_pct: float | None
    confidence: float = Field(ge=0, le=1)


async def test_json_mode_and_a_schema(rig: Rig, bot):
    loose = await bot.chat.completions.create(**chat("d", response_format={"type": "json_object"}))
    assert json.loads(loose.choices[0].message.content) == OPEN
    strict = await bot.chat.completions.parse(**chat("d", response_format=Trade))
    trade = strict.choices[0].message.parsed
    assert trade is not None
    assert trade.model_dump() == {name: value for name, value in OPEN.items() if name != "reasoning"}
    assert len(rig.arms["api"].seen) == 1


@pytest.mark.parametrize(
    "choice", [None, "auto", "required", {"type": "function", "function": {"name": "Trade"}}], ids=str
)
async def test_a_tool_is_called(bot, choice):
    more = {} if choice is None else {"tool_choice": choice}
    answer = await bot.chat.completions.parse(**chat("d", tools=[openai.pydantic_function_tool(Trade)], **more))
    (call,) = answer.choices[0].message.tool_calls
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)
    assert call.function.name == "Trade"
    assert call.function.parsed_arguments.size_usd == OPEN["size_usd"]
    again = await bot.chat.completions.create(**chat("d", tools=[TOOL]))
    assert again.choices[0].message.tool_calls[0].id == call.id


async def test_tool_choice_none_is_content(bot):
    answer = await bot.chat.completions.create(**chat("d", tools=[TOOL], tool_choice="none"))
    assert (answer.choices[0].finish_reason, answer.choices[0].message.tool_calls) == ("stop", None)
    assert json.loads(answer.choices[0].message.content) == OPEN


def schema(**changes: Any) -> dict[str, Any]:
    """The schema of a decision with other properties; None takes one out."""
    whole = decision_schema()
    properties = {**whole["properties"], **changes}  # type: ignore[dict-item]
    kept = {name: each for name, each in properties.items() if each is not None}
    return {**whole, "properties": kept, "required": [name for name in whole["required"] if name in kept]}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "at", "why"),
    [
        (schema(size_usd=None), ".properties", "size_usd is missing"),
        (schema(action={"type": "string", "enum": ["open_long", "hold"]}), ".properties.action.enum", "'open_short' is missing"),
        (schema(symbol={"const": "ETH"}), ".properties.symbol.const", "'BTC' is missing"),
        (schema(leverage={"type": "integer", "maximum": 20}), ".properties.leverage.maximum", "20 keeps values out"),
        (schema(size_usd={"type": "number", "exclusiveMinimum": 0}), ".properties.size_usd.exclusiveMinimum", "may be 0"),
        (schema(size_usd={"type": "number", "maximum": 1000}), ".properties.size_usd.maximum", "of any size"),
        (schema(size_usd={"type": "string"}), ".properties.size_usd.type", "takes no number"),
        (schema(size_usd={"type": "integer"}), ".properties.size_usd.type", "takes no number"),
        (schema(size_usd={"enum": [10, 20]}), ".properties.size_usd.enum", "the field is none"),
        (schema(reasoning={"type": "string", "minLength": 1}), ".properties.reasoning.minLength", "may be 0"),
        (schema(reasoning={"type": "string", "pattern": "x"}), ".properties.reasoning.pattern", "not read here"),
        (schema(leverage={"$ref": "#/$defs/none"}), ".properties.leverage", "not found"),
        (schema() | {"minProperties": 3}, ".minProperties", "not read here"),
        (schema() | {"required": ["signal"]}, ".required", "'signal' is no field of a decision"),
        ({"type": "array"}, ".type", "a decision is an object"),
    ],
)  # fmt: skip
async def test_a_schema_that_some_decision_breaks_is_refused(rig: Rig, bot, given, at, why):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": given}}
    error = await refused(bot, response_format=form)
    assert isinstance(error, openai.BadRequestError)
    assert (error.code, error.param) == ("unsupported_parameter", f"response_format.json_schema.schema{at}")
    assert why in error.message
    assert await rig.rows() == []


@pytest.mark.parametrize(
    "given",
    [
        schema(),
        schema(symbol=None, confidence=None, reasoning=None),
        schema(symbol={"enum": ["ETH", "BTC"]}),
        schema(take_profit_pct={"type": ["number", "null"], "minimum": 0, "maximum": 10, "maxLength": 1}),
        schema(leverage={"type": "number", "minimum": 1, "maximum": 1000}),
        schema(note={"type": "string"}),
        schema(reasoning={"type": "string", "maxLength": 4000, "minimum": 7}),
    ],
    ids=range(7),
)
async def test_a_schema_that_every_decision_keeps_is_answered(bot, given):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": given}}
    answer = await bot.chat.completions.create(**chat("d", response_format=form))
    content = json.loads(answer.choices[0].message.content)
    assert content == {name: OPEN[name] for name in OPEN if name in given["properties"]}


# --- repetitions --------------------------------------------------------------------------------------------------------


async def test_a_repetition_by_the_client_is_the_same_decision(rig: Rig, url: str):
    """The client gives up before the answer, and asks again by itself; nobody named an id."""
    rig.arms["api"].sleeps(0.7)
    async with openai.AsyncOpenAI(base_url=url, api_key="k", timeout=0.4, max_retries=5) as client:
        answer = await client.chat.completions.create(**chat())
    (row,) = await rig.rows()
    assert answer.id == f"chatcmpl-{row['decision_id']}"
    assert len(rig.arms["api"].seen) == 1


async def test_what_is_final_is_not_repeated_and_what_may_pass_is(rig: Rig, url: str):
    sent: list[int] = []

    async def count(_: Any) -> None:
        sent.append(1)

    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=2) as client:
        client._client.event_hooks = {"request": [count]}
        for arm in ("api", "safe"):
            rig.arms[arm].status(500)
        with pytest.raises(openai.InternalServerError) as error:
            await client.chat.completions.create(**chat("d"))
        assert (error.value.status_code, error.value.code, len(sent)) == (503, "no_answer", 1)
        assert error.value.type == "server_error"

        sent.clear()
        rig.arms["api"].behave = None
        rig.arms["api"].sleeps(0.5)
        first = asyncio.create_task(client.chat.completions.create(**chat("e")))
        await asyncio.sleep(0.2)
        second = await client.chat.completions.create(**chat("e"))  # 409 in_progress, then the answer
        assert second.choices == (await first).choices
        assert len(sent) == 3


async def test_an_idempotency_key_is_the_id_where_none_is_named(rig: Rig, bot):
    key = {"Idempotency-Key": "order-17"}
    assert (await bot.chat.completions.create(**chat(), extra_headers=key)).id == "chatcmpl-order-17"
    assert (await bot.chat.completions.create(**chat("named"), extra_headers=key)).id == "chatcmpl-named"
    error = await refused(bot, extra_headers={"Idempotency-Key": "x" * 129})
    assert (error.status_code, error.param) == (400, "Idempotency-Key")


@pytest.mark.parametrize(
    ("seconds", "repeated", "same"),
    [(3, False, True), (26, False, True), (31, False, False), (31, True, True), (RETRY_SECONDS - 1, True, True), (RETRY_SECONDS + 1, True, False)],
)  # fmt: skip
@pytest.mark.parametrize("phase", [0.0, 14.0, 29.5])
async def test_how_long_the_same_question_without_an_id_is_the_same_decision(rig: Rig, seconds, repeated, same, phase):
    gateway = await rig.gateway()
    database = gateway.app.state.gateway.database  # type: ignore[attr-defined]
    request = DecisionRequest.model_validate(ask())
    first_at = datetime.fromtimestamp(math.floor(datetime.now(UTC).timestamp() / 30) * 30 + phase, UTC)

    async def named(now: datetime, *, count: int = 0) -> str:
        headers = {RETRIES_HEADER: str(count)}
        return await identify(request, headers, database, now=now, lease=25.0, replay=False)

    first = await named(first_at)
    assert (await gateway.post("/v1/decisions", json=ask(first))).status_code == 200
    await rig.rows("UPDATE tradewind.decisions SET decided_at = %s", first_at)
    assert (await named(first_at + timedelta(seconds=seconds), count=int(repeated)) == first) == same


async def test_another_question_is_another_decision_and_a_replay_has_the_datas_clock(rig: Rig):
    gateway = await rig.gateway()
    database = gateway.app.state.gateway.database  # type: ignore[attr-defined]
    now = datetime(2026, 1, 1, tzinfo=UTC)

    async def named(at: datetime = now, replay: bool = False, **extra: Any) -> str:
        request = DecisionRequest.model_validate(ask(**extra))
        return await identify(request, {}, database, now=at, lease=25.0, replay=replay)

    assert await named() == await named()
    assert await named() != await named(market_data={"BTC": {"price": 1}})
    assert await named(replay=True) == await named(now + timedelta(days=1), replay=True)
