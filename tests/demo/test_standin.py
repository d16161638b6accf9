import json
from collections.abc import AsyncIterator

import httpx
import pytest

from demo.bars import SYMBOL, WARMUP, account_state, load_bars, market_view
from demo.standin import MODEL, create_app, decide
from tradewind.trading.decision import DecisionInput, TradeDecision
from tradewind.trading.prompt import render_prompt

BARS = load_bars()


def prompt_at(index: int) -> str:
    return render_prompt(
        DecisionInput(market_data=market_view(BARS, index), account_state=account_state()),  # type: ignore[arg-type]
        SYMBOL,
    )


def body(index: int = WARMUP, model: str = MODEL) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": prompt_at(index)}], "temperature": 0}


@pytest.fixture
async def api() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app("the-key", broken_every=5))
    async with httpx.AsyncClient(transport=transport, base_url="http://standin") as client:
        client.headers["Authorization"] = "Bearer the-key"
        yield client


def test_the_rule_follows_the_last_three_hours_from_the_text_alone() -> None:
    for index in range(WARMUP, 400):
        change = BARS[index].close - BARS[index - 3].close
        expected = "open_long" if change > 0 else "open_short" if change < 0 else "hold"
        answer = decide(prompt_at(index))
        assert answer["action"] == expected
        assert TradeDecision.model_validate(answer).symbol == SYMBOL


def test_the_answer_names_itself_a_stand_in() -> None:
    assert "standin" in MODEL
    assert "Stand-in, not a model" in str(decide(prompt_at(WARMUP))["reasoning"])


async def test_every_fifth_answer_is_no_json(api: httpx.AsyncClient) -> None:
    broken = []
    for number in range(1, 11):
        answer = (await api.post("/v1/chat/completions", json=body())).json()
        assert answer["model"] == MODEL
        try:
            json.loads(answer["choices"][0]["message"]["content"])
        except json.JSONDecodeError:
            broken.append(number)
    assert broken == [5, 10]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"headers": {"Authorization": "Bearer another"}}, 401, "invalid_api_key"),
        ({"headers": {"Authorization": "Bearer schlüssel".encode("latin-1")}}, 401, "invalid_api_key"),
        ({"json": body(model="gpt-x")}, 404, "model_not_found"),
        ({"json": {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}}, 400, "invalid_prompt"),
        ({"json": body() | {"stream": True}}, 400, "unsupported_value"),
    ],
)
async def test_bad_requests_are_refused_as_the_protocol_does(
    api: httpx.AsyncClient, change: dict[str, object], status: int, code: str
) -> None:
    answer = await api.post("/v1/chat/completions", **({"json": body()} | change))  # type: ignore[arg-type]
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


async def test_a_delay_must_be_asked_for_and_is_bounded(api: httpx.AsyncClient) -> None:
    refused = await api.post("/v1/chat/completions", json=body(), headers={"X-Standin-Delay-Ms": "60000"})
    assert refused.status_code == 422
    delayed = await api.post("/v1/chat/completions", json=body(), headers={"X-Standin-Delay-Ms": "30"})
    assert delayed.elapsed.total_seconds() >= 0.03
