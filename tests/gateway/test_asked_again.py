"""What an API says instead of an answer: asked again where that may help, left alone where it says so, and told with its cause."""

import asyncio
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response
from gateway_rig import HOLD, OPEN, Rig, ask

from tradewind.gateway.refusals import MAX_WORDS, MOST_WAIT_SECONDS, refusal, retry_after
from tradewind.gateway.retries import RetryBudget, pause
from tradewind.trading.error_kinds import ErrorCause

SECRET = "sk-very-secret"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def chat(decision: dict[str, Any] = OPEN, **more: Any) -> Response:
    return JSONResponse({"choices": [{"message": {"content": json.dumps(decision)}}]} | more)


def says(rig: Rig, *answers: Response) -> list[int]:
    """The API says these in turn, the last one ever after; the list grows by each call."""
    asked: list[int] = []

    async def behave(_: dict[str, Any]) -> Response:
        asked.append(1)
        return answers[min(len(asked), len(answers)) - 1]

    rig.arms["api"].behave = behave
    return asked


async def target(rig: Rig, **changes: Any) -> None:
    arms = rig.document["arms"]
    rig.publish(arms=arms | {"api": arms["api"] | {"maxRetries": 2, "timeoutSeconds": 4} | changes})
    await rig.seen()


def refused(status: int, words: str = "no", **headers: str) -> Response:
    return JSONResponse({"error": {"message": words}}, status, headers=headers)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_what_may_pass_is_asked_again_and_each_call_is_in_the_row(rig, gateway, status: int):
    await target(rig)
    asked = says(rig, refused(status), chat())
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    row = await rig.row("d")
    assert (answer["_model_used"], row["error_kind"], len(asked)) == ("api", None, 2)
    first, second = row["calls"]
    assert (first["error_kind"], f"HTTP status {status}" in first["error_detail"], "cost_cny" in first) == (
        "status",
        True,
        False,
    )
    assert (second.get("error_kind"), second["cost_cny"], row["cost_cny"]) == (None, "0.5", Decimal("0.5"))
    assert 'tradewind_arm_retries_total{role="drawn",version="api"} 1.0' in (await gateway.get("/metrics")).text


async def test_an_empty_answer_is_paid_and_asked_again(rig, gateway):
    await target(rig)
    says(rig, JSONResponse({"choices": [{"message": {"content": ""}}]}), chat())
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert (row["answered_by"], row["cost_cny"], [c["cost_cny"] for c in row["calls"]]) == (
        "api",
        Decimal(1),
        ["0.5", "0.5"],
    )


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 422])
async def test_what_does_not_pass_by_itself_is_asked_once(rig, gateway, status: int):
    await target(rig)
    asked = says(rig, refused(status))
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert (len(asked), row["error_kind"], row["cost_cny"], row["answered_by"]) == (1, "status", None, "safe")
    assert row["error_cause"] is not None
    causes = f'tradewind_arm_error_causes_total{{cause="{row["error_cause"]}",role="drawn",version="api"}} 1.0'
    assert causes in (await gateway.get("/metrics")).text


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "put a valid API key"),
        (402, "top up the account"),
        (404, "correct external.baseURL or external.model"),
        (418, "ask again with a new"),
    ],
)
async def test_a_503_names_cause_and_remedy(rig, gateway, status: int, remedy: str):
    rig.publish(fallback="api")
    await target(rig)
    says(rig, refused(status, "because"))
    for _ in range(2):  # the repetition is told the same from the row
        answer = await gateway.post("/v1/decisions", json=ask("d"))
        told = answer.json()["error"]
        assert (answer.status_code, told["code"]) == (503, "no_answer")
        assert f"HTTP status {status}" in told["message"]
        assert "because" in told["message"]
        assert remedy in told["remedy"]
        assert "retry-after" not in answer.headers


async def test_a_missing_secret_is_named_with_its_remedy(rig, gateway):
    rig.publish(fallback="api")
    await target(rig, credentialFile=str(rig.folder / "nowhere"))
    told = (await gateway.post("/v1/decisions", json=ask("d"))).json()["error"]
    assert "create the Secret that external.secretRef" in told["remedy"]
    assert (await rig.row("d"))["error_cause"] == "secret"


@pytest.mark.parametrize(
    ("url", "cause"),
    [("http://no-such-host.invalid/v1", "dns"), ("http://127.0.0.1:9/v1", "connect"), ("https", "tls")],
)
async def test_why_there_was_no_connection(rig, gateway, arms_server, url: str, cause: str):
    rig.publish(fallback="api")
    await target(rig, baseURL=arms_server[1].replace("http:", "https:") if url == "https" else url, maxRetries=0)
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert (row["error_kind"], row["error_cause"]) == ("transport", cause)


async def test_what_was_answered_is_never_asked_again(rig, gateway):
    await target(rig)
    for number, body in enumerate(
        (chat(), chat(OPEN | {"action": "dance"}), chat(OPEN | {"leverage": 90}), Response("no"))
    ):
        asked = says(rig, body)
        await gateway.post("/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": str(number)}))
        assert len(asked) == 1


async def test_it_ends_with_the_deadline_and_the_fallback_answers(rig, gateway):
    await target(rig, timeoutSeconds=0.5, maxRetries=5)
    asked = says(rig, refused(503))
    started = time.perf_counter()
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    assert time.perf_counter() - started < 2
    assert (answer["_model_used"], (await rig.row("d"))["error_cause"]) == ("safe", "overloaded")
    assert 1 <= len(asked) <= 4


async def test_an_outage_does_not_multiply_the_calls(rig, gateway):
    await target(rig, retryBudget="0.1", maxRetries=5)
    asked = says(rig, refused(500, **{"Retry-After": "0"}))
    for number in range(20):
        await gateway.post("/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": str(number)}))
    assert 20 < len(asked) <= 20 + 3 + 0.1 * 20


async def test_an_api_is_left_alone_for_as_long_as_it_says(rig, gateway):
    await target(rig)
    asked = says(rig, refused(429, **{"Retry-After": "60"}))
    for number in range(3):
        await gateway.post("/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": str(number)}))
    kinds = [row["error_kind"] for row in await rig.rows("SELECT * FROM tradewind.decisions ORDER BY received_at")]
    assert (len(asked), kinds) == (1, ["status", "breaker_open", "breaker_open"])
    assert "left alone" in (await rig.row("d2"))["error_detail"]
    assert 'tradewind_breaker_open{version="api"} 1.0' in (await gateway.get("/metrics")).text


async def test_an_own_arm_that_is_busy_is_asked_by_the_next_question(rig, gateway):
    """Its queue is full for this moment; its Retry-After is for whoever asked."""
    asked: list[int] = []

    async def behave(_: dict[str, Any]) -> Response | None:
        asked.append(1)
        return refused(503, **{"Retry-After": "60"}) if len(asked) == 1 else None

    rig.arms["v1"].behave = behave
    rig.publish(champion="v1")
    await rig.seen()
    for number in range(2):
        await gateway.post("/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": str(number)}))
    assert [(await rig.row(f"d{number}"))["answered_by"] for number in range(2)] == ["safe", "v1"]


async def test_a_secret_that_is_missing_says_nothing_about_the_api(rig: Rig):
    """It must not close the breaker of an API that is down, nor count as a failure of it."""
    gateway = await rig.gateway(breaker_failures=2, breaker_open_seconds=0.3)
    await target(rig, maxRetries=0)
    key = rig.folder / "api-key"
    asked = says(rig, refused(500))

    async def one(name: str) -> str | None:
        await gateway.post("/v1/decisions", json=ask(name, scope={"symbol": "BTC", "book": name}))
        return (await rig.row(name))["error_kind"]

    assert [await one("a"), await one("b"), await one("c")] == ["status", "status", "breaker_open"]
    text = key.read_text()
    key.unlink()
    await asyncio.sleep(0.4)
    assert [await one("d"), await one("e")] == [
        "unavailable",
        "breaker_open",
    ]  # the probe was used up, and told nothing
    key.write_text(text)
    assert len(asked) == 2


async def test_a_short_wait_is_kept_to(rig, gateway):
    await target(rig)
    times: list[float] = []

    async def behave(_: dict[str, Any]) -> Response:
        times.append(time.perf_counter())
        return refused(429, **{"Retry-After": "1"}) if len(times) == 1 else chat()

    rig.arms["api"].behave = behave
    await gateway.post("/v1/decisions", json=ask("d"))
    assert (await rig.row("d"))["answered_by"] == "api"
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize("champion", ["api", "v1"])
async def test_whole_failures_that_cost_money_open_the_breaker_of_an_api(rig: Rig, champion: str):
    gateway = await rig.gateway(breaker_failures=4, breaker_open_seconds=60)
    asked: list[int] = []

    async def behave(_: dict[str, Any]) -> Response:
        asked.append(1)
        return JSONResponse({"choices": [{"message": {"content": "I cannot say."}}], "predictions": ["hm"]})

    rig.arms[champion].behave = behave
    rig.publish(champion=champion)
    await rig.seen()
    for number in range(10):
        await gateway.post("/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": str(number)}))
    assert len(asked) == (4 if champion == "api" else 10)  # the guardrail deals with an own model


@pytest.mark.parametrize(
    ("usage", "cny"),
    [
        ({"prompt_tokens": 1_000_000, "completion_tokens": 0}, "2"),
        ({"prompt_tokens": 1_000_000, "prompt_cache_hit_tokens": 500_000, "completion_tokens": 100_000}, "1.9"),
        (
            {"prompt_tokens": 1_000_000, "prompt_tokens_details": {"cached_tokens": 1_000_000}, "completion_tokens": 0},
            "0.2",
        ),
        ({"prompt_tokens": 10, "prompt_cache_hit_tokens": 99, "completion_tokens": 0}, "0.000002"),
        ({"prompt_tokens": -1, "completion_tokens": 0}, "0.5"),
        ({"prompt_tokens": 1.5, "completion_tokens": 0}, "0.5"),
        ({"prompt_tokens": True, "completion_tokens": 10**40}, "0.5"),
        ({"completion_tokens": 3}, "0.5"),
        ("none", "0.5"),
        (None, "0.5"),
    ],
)
async def test_a_call_costs_its_tokens_where_they_are_told(rig, gateway, usage: Any, cny: str):
    await target(rig, prices={"input": "2", "cachedInput": "0.2", "output": "8"})
    says(rig, chat(usage=usage))
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert (row["answered_by"], row["cost_cny"]) == ("api", Decimal(cny))


async def test_prices_in_another_currency_are_in_cny(rig, gateway):
    await target(rig, prices={"input": "1", "output": "4", "cnyPerUnit": "7.1"})
    says(
        rig, chat(usage={"prompt_tokens": 1_000_000, "prompt_cache_hit_tokens": 400_000, "completion_tokens": 250_000})
    )
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert row["cost_cny"] == Decimal("14.2")
    assert row["calls"][0]["tokens"] == {"prompt": 1_000_000, "cached": 400_000, "completion": 250_000}


async def test_a_shadow_is_asked_again_and_its_calls_are_kept(rig, gateway):
    rig.publish(experiment=rig.experiment(shadow="both", candidateWeight="1"))
    await target(rig)
    says(rig, refused(503), chat(HOLD, usage={"prompt_tokens": 9, "completion_tokens": 1}))
    await gateway.post("/v1/decisions", json=ask("d"))
    async with asyncio.timeout(15):
        while not (rows := await rig.rows("SELECT * FROM tradewind.shadows")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    (row,) = rows
    assert (row["state"], row["version"], len(row["calls"]), row["reading_rules"]) == ("answered", "api", 2, [])


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({}, {"temperature": 0.0, "response_format": {"type": "json_object"}}),
        ({"temperature": None, "responseFormat": "none"}, {}),
        ({"maxTokens": 300}, {"max_tokens": 300}),
        (
            {"extraBody": {"thinking": {"type": "disabled"}, "top_p": 0.9}},
            {"thinking": {"type": "disabled"}, "top_p": 0.9},
        ),
    ],
)
async def test_the_api_is_sent_what_the_version_says(rig, gateway, change: dict[str, Any], sent: dict[str, Any]):
    await target(rig, **change)
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json()["_model_used"] == "api"
    (seen,) = rig.arms["api"].seen
    own = {"model", "messages", "stream"}
    left = set(seen) - own
    assert sent.items() <= seen.items()
    assert left == set(sent) if not change or change.get("temperature", 0) is None else left >= set(sent)


@pytest.mark.parametrize(("stop", "kind"), [(0.03, None), (0.031, "over_limit"), (0, "over_limit")])
@pytest.mark.parametrize("champion", ["api", "v1"])
async def test_a_widest_stop_is_told_and_kept(rig, gateway, champion: str, stop: float, kind: str | None):
    levels = {"L2": {"maxLeverage": 3, "maxSizeUSD": "100", "maxStopLossPct": "0.03"}}
    rig.arms[champion].answer = OPEN | {"stop_loss_pct": stop}
    rig.publish(champion=champion, limits=rig.document["limits"] | {"permissionLevels": levels})
    await rig.seen()
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    assert ((await rig.row("d"))["error_kind"], answer["_fallback"]) == (kind, kind is not None)
    (seen,) = rig.arms[champion].seen
    if champion == "api":
        assert "stop_loss_pct above 0 and at most 0.03" in seen["messages"][0]["content"]
    else:
        assert seen["instances"][0]["limits"]["max_stop_loss_pct"] == 0.03


@pytest.mark.parametrize(("allowed", "kind"), [(False, "over_limit"), (True, None)])
@pytest.mark.parametrize("champion", ["api", "v1"])
async def test_an_opening_without_a_stop_is_taken_where_the_level_allows_it(
    rig, gateway, champion: str, allowed: bool, kind: str | None
):
    level = {"maxLeverage": 3, "maxSizeUSD": "100"} | ({"allowNoStop": True} if allowed else {})
    rig.arms[champion].answer = OPEN | {"stop_loss_pct": 0}
    rig.publish(champion=champion, limits=rig.document["limits"] | {"permissionLevels": {"L2": level}})
    await rig.seen()
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    row = await rig.row("d")
    assert (row["error_kind"], answer["_fallback"]) == (kind, kind is not None)
    (seen,) = rig.arms[champion].seen
    if champion == "api":
        assert ("stop_loss_pct above 0" in seen["messages"][0]["content"]) is not allowed
    else:  # an older predictor need not know it
        assert seen["instances"][0]["limits"].get("allow_no_stop", False) is allowed
    if kind:
        assert "allowNoStop of the permission level is not set" in row["error_detail"]


async def test_a_schema_can_be_asked_for_and_the_question_states_the_contract(rig, gateway):
    await target(rig, responseFormat="json_schema")
    await gateway.post("/v1/decisions", json=ask("d"))
    (seen,) = rig.arms["api"].seen
    schema = seen["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["action"]["enum"] == ["open_long", "open_short", "close", "hold"]
    assert set(schema["required"]) == set(schema["properties"]) == set(OPEN)
    system = seen["messages"][0]["content"]
    for name, field in schema["properties"].items():
        assert f"- {name}: {field['description']}\n" in system
    assert "0.02 is 2 %" in system
    assert "no others" in system
    assert "For hold and close: size_usd 0" in system


@pytest.mark.parametrize(
    ("status", "body", "cause", "said"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {SECRET}."}}, ErrorCause.CREDENTIAL, "Incorrect API key provided: [redacted]."),
        (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, ErrorCause.BALANCE, "Insufficient Balance (type unknown_error)"),
        (400, {"error": {"message": "bad", "code": "unsupported_value", "param": "temperature"}}, ErrorCause.PARAMETER, "bad (code unsupported_value, param temperature)"),
        (400, b"plain words\nsecond line", ErrorCause.PARAMETER, "plain words"),
        (404, b"<html><h1>Not found</h1>", ErrorCause.NOT_FOUND, "the API knows no such address or model"),
        (422, {"detail": "field required"}, ErrorCause.PARAMETER, "field required"),
        (500, b"", ErrorCause.SERVER, "the API failed"),
        (302, b"", ErrorCause.REDIRECT, "correct baseURL"),
        (418, b"", None, "HTTP status 418"),
        (None, {"error": {"code": "429", "message": "slow down"}}, ErrorCause.RATE, "slow down (code 429)"),
        (None, {"error": "text"}, None, "text"),
        (403, {"error": {"message": "Bearer abc.def denied"}}, ErrorCause.CREDENTIAL, "[redacted] denied"),
    ],
)  # fmt: skip
def test_a_refusal_has_its_cause_and_the_words_of_the_api(
    status: int | None, body: Any, cause: ErrorCause | None, said: str
):
    raw = body if isinstance(body, bytes) or status is None else json.dumps(body).encode()
    error = refusal(status, raw, secret=SECRET)
    assert (error.kind, error.cause) == ("status", cause)
    assert error.detail.endswith(said)
    assert SECRET not in error.detail
    assert len(error.detail) < MAX_WORDS + 100


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 9000,
        b"\xff\xfe\x00",
        json.dumps({"error": [1, {"message": None}]}).encode(),
        b'{"error": {"code": 1e999}}',
        b"9" * 6000,
        json.dumps({"error": {"code": "0300" + "9" * 5000}}).encode(),
    ],
)
def test_a_refusal_in_whatever_form_is_a_refusal(body: bytes):
    assert refusal(500, body).cause is ErrorCause.SERVER


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("0", 0), (" 7 ", 7), ("1.5", 1.5), ("-1", None), ("999999999", MOST_WAIT_SECONDS), ("soon", None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30), ("Wed, 31 Dec 2025 23:00:00 GMT", 0), ("Thu, 01 Jan 2036 00:00:30 GMT", MOST_WAIT_SECONDS), ("nan", None),
        ("Mon, 1 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None):
    assert retry_after(value, NOW) == seconds


def test_pauses_grow_with_jitter_and_never_undercut_what_was_asked_for():
    assert [pause(n, None, lambda: 0.0) for n in (1, 2, 3, 9)] == [0.1, 0.2, 0.4, 2.5]
    assert [pause(n, None, lambda: 1.0) for n in (1, 2, 3, 9)] == [0.2, 0.4, 0.8, 5.0]
    assert pause(1, 3.0, lambda: 0.0) == 3.0
    assert 3.0 < pause(1, 3.0, lambda: 1.0) < 3.1


def test_a_budget_saves_up_and_is_spent():
    budget = RetryBudget()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    for _ in range(5):
        budget.asked(0.2)
    assert [budget.take() for _ in range(2)] == [True, False]
    for _ in range(10_000):
        budget.asked(1)
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
