"""What arms answer, broken in every way: read without changing a value, or an error of the arm; never an exception."""

import json
import os
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz_bodies import TwiceError, plain
from fuzz_parse import demand_storable
from gateway_rig import HOLD, OPEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_json import TEXTS, Raw, as_bytes, deep, mutated, strange, written
from tradewind.gateway.answers import ArmError
from tradewind.gateway.protocols import PROTOCOLS, ArmQuestion
from tradewind.gateway.protocols.base import storable
from tradewind.gateway.refusals import MOST_WAIT_SECONDS, refusal
from tradewind.schema.storable import unstorable
from tradewind.trading.decision import DecisionInput, TradeDecision
from tradewind.trading.routing import ArmTarget, Protocol

ANSWERS = int(os.environ.get("TRADEWIND_FUZZ_ANSWERS", "200000"))
"""Answers of the soak."""
FIXTURES = [
    json.loads(path.read_text()) for path in sorted((Path(__file__).parents[1] / "fixtures" / "answers").glob("*.json"))
]
ALIASES = ("BTCUSDT", "BTC/USDT:USDT")
SHOWN = DecisionInput(market_data={}, account_state={}, recent_history=())
NUMBERS = ("size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence")
NEUTRAL = {"size_usd": 0, "leverage": 1, "stop_loss_pct": 0, "take_profit_pct": 0, "confidence": 0}


def question(protocol: Protocol) -> ArmQuestion:
    target = ArmTarget(protocol=protocol, base_url="http://a", model="m", symbol_aliases={"BTC": ALIASES})
    return ArmQuestion(target, SHOWN, "BTC", None)


def said(random: Random) -> str:
    """An answer's text: an object, changed a little, with something around it or a part of it missing."""
    tree: Any = random.choice(
        (
            OPEN,
            HOLD,
            {"action": "hold", "confidence": "0.5"},
            OPEN | {"symbol": "btcusdt", "size_usd": "60", "note": [1]},
        )
    )
    tree = mutated(tree, random, 2)
    text = written(random.choice((tree, tree, [tree], {"BTC": tree})), escaped=bool(random.randrange(2)))
    around = random.choice(
        (
            "{}",
            "{}",
            "```json\n{}\n```",
            "So: {} Done.",
            "<think>{{x}}</think>{}",
            "<think>{}",
            "{}\n{}",
            "{{rsi}} {}",
            " \n{}",
            "```\n{}",
        )
    )
    text = around.replace("{{", "\1").replace("}}", "\2").replace("{}", text).replace("\1", "{").replace("\2", "}")
    match random.randrange(10):
        case 0:
            return text[: random.randrange(len(text) + 1)]
        case 1:
            at = random.randrange(len(text) + 1)
            return text[:at] + random.choice((*TEXTS[:30], "{", "}", '"', ",", "NaN")) + text[at:]
    return text


def answered(random: Random, protocol: Protocol) -> tuple[bytes, str | None]:
    """A body, and the text in it where that is known."""
    text = said(random)
    envelope: Any
    if protocol is Protocol.KSERVE:
        shares = {"hold": 0.25, "open_long": 0.75}
        remarks = {"_probabilities": random.choice((shares, shares, strange(random))), "_forward_passes": 9}
        envelope = {"predictions": [Raw(text) if random.randrange(2) else mutated(OPEN | remarks, random)]}
    elif protocol is Protocol.VLLM:
        envelope = {"choices": [{"text": text, "finish_reason": random.choice(("stop", "length", None))}]}
    elif protocol is Protocol.ANTHROPIC:
        block: Any = random.choice(
            ({"type": "text", "text": text}, {"type": "tool_use", "input": mutated(OPEN, random)})
        )
        envelope = {
            "type": "message",
            "model": "c",
            "content": [block],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 9, "output_tokens": 3},
        }
    else:
        fixture = random.choice(FIXTURES)
        try:
            envelope = json.loads(fixture["body"])
            envelope["choices"][0]["message"]["content"] = text
        except (ValueError, KeyError, TypeError, IndexError):
            envelope = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    if random.randrange(2):
        return written(envelope).encode("utf-8", "surrogatepass"), text
    return as_bytes(mutated(envelope, random), random), None


def only_object(text: str) -> dict[str, Any]:
    """The one object that stands in a text, found by counting braces outside of quotes."""
    found, depth, quoted, start, skip = [], 0, False, 0, False
    for at, c in enumerate(text):
        if skip:
            skip = False
        elif quoted:
            skip, quoted = c == "\\", c != '"'
        elif c == '"' and depth:
            quoted = True
        elif c == "{":
            start, depth = (at, 1) if depth == 0 else (start, depth + 1)
        elif c == "}" and depth:
            depth -= 1
            if depth == 0 and text[start + 1 : at].strip()[:1] in ('"', ""):
                found.append(text[start : at + 1])
    assert depth == 0, "a brace was never shut"
    (one,) = found
    value: dict[str, Any] = plain(one)
    if len(value) == 1:
        ((name, inner),) = value.items()
        inner = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
        if isinstance(inner, dict):
            return {"symbol": name, **inner}
    return value


def demand_as_said(decision: TradeDecision, text: str) -> None:
    """Each value of a decision that was read is the one that its text spells."""
    try:
        value = only_object(text)
    except TwiceError:
        raise AssertionError("a key comes twice") from None
    assert value["action"].strip().lower() == decision.action
    assert value.get("symbol") is None or value["symbol"].strip().casefold() in {"btc", *map(str.casefold, ALIASES)}
    for name in NUMBERS:
        told, stored = value.get(name), Decimal(repr(getattr(decision, name)))
        number = Decimal(told.strip()) if isinstance(told, str) else told
        as_spelled = number is not None and Decimal(repr(float(number))) == stored
        assert as_spelled or (not decision.action.opens and stored == NEUTRAL[name]), (name, told, stored)
    words = value.get("reasoning", "")
    if isinstance(words, str):  # two halves of a pair that meet in JSON are one character
        assert decision.reasoning == json.loads(json.dumps(words))[:4000]


def through(random: Random, protocol: Protocol) -> str:
    body, text = answered(random, protocol)
    speaks, asked = PROTOCOLS[protocol], question(protocol)
    try:
        speaks.price(asked.target, speaks.usage(body))
        answer = storable(speaks.read(body, asked))
    except ArmError as error:
        demand_storable(error.detail)
        return str(error.kind)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}: {body[:1500]!r}") from error
    row = {
        "answer": answer.decision.model_dump(mode="json"),
        "extra": answer.extra,
        "probabilities": answer.probabilities,
    }
    assert unstorable(row) is None
    if protocol is Protocol.KSERVE:
        assert answer.probabilities is not None
        assert abs(sum(answer.probabilities.values()) - 1) < 0.01
    json.dumps(row, allow_nan=False)
    if text is not None and "<" not in text and protocol is Protocol.OPENAI:
        try:
            demand_as_said(answer.decision, text)
        except Exception as error:
            raise AssertionError(
                f"{type(error).__name__}: {error}: {text[:1500]!r} was read as {answer.decision}"
            ) from error
    return "read"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
@settings(max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck])
@given(random=st.randoms(use_true_random=False))
def test_an_answer_is_read_as_it_is_or_is_an_error_of_the_arm(protocol: Protocol, random: Random) -> None:
    through(random, protocol)


@settings(max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck])
@given(random=st.randoms(use_true_random=False))
def test_a_refusal_is_told_whatever_it_says(random: Random) -> None:
    refused(random)


def refused(random: Random) -> None:
    error: Any = {
        "message": "no sk-canary-f00dfeed",
        "type": "invalid_request_error",
        "code": random.choice((429, "529", "0300" + "9" * 5000, strange(random))),
    }
    tree = mutated(random.choice(({"error": error}, {"error": [error]}, error, [error], {"detail": "x"})), random)
    waits = ("1", "1.5", "-1", "9" * 30, "\u0663", "nan", "Wed, 21 Oct 2026 07:28:00 GMT", "Mon, 1 Jan 99999999999999999999 00:00:00 GMT",
             "Mon, 31 Feb 2026 99:99:99 +9999", "Mon, 1 Jan 2026 00:00:00 -99999999", "", *TEXTS[:20])  # fmt: skip
    body = random.choice((as_bytes(tree, random), b"<html>", str(deep(random)).encode()))
    headers = random.choice((None, {}, {"retry-after": random.choice(waits)}))
    status = random.choice((None, 0, 200, 301, 400, 401, 402, 429, 500, 529, 999))
    told = refusal(status, body, headers, secret="sk-canary-f00dfeed")
    assert unstorable(told.detail) is None
    assert "sk-canary-f00dfeed" not in told.detail
    assert told.wait is None or 0 <= told.wait <= MOST_WAIT_SECONDS


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_two_hundred_thousand_answers_are_read_as_they_are_or_are_errors_of_the_arm() -> None:
    found: dict[str, int] = {}
    for seed in range(ANSWERS):
        random = Random(f"answer {seed}")
        try:
            protocol = random.choice((*PROTOCOLS, Protocol.OPENAI, Protocol.OPENAI))
            key = f"{protocol} {through(random, protocol)}"
            refused(random)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        found[key] = found.get(key, 0) + 1
    print(dict(sorted(found.items())))
    assert all(found[f"{protocol} read"] for protocol in PROTOCOLS)
