"""What APIs really answer, read without changing a value; and what is never guessed."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import Response
from gateway_rig import OPEN, ask

from tradewind.gateway.answers import ArmError
from tradewind.gateway.reading import MAX_EXTRA_BYTES, read_answer
from tradewind.trading.decision import MAX_REASONING
from tradewind.trading.error_kinds import ErrorKind

ANSWERS = sorted((Path(__file__).parents[1] / "fixtures" / "answers").glob("*.json"))
HOLD = {"action": "hold", "symbol": "BTC", "confidence": 0.5, "reasoning": "no edge"}
TEXT = json.dumps(OPEN)


@pytest.mark.parametrize("case", ANSWERS, ids=lambda path: path.stem)
async def test_a_public_answer_is_read_right(rig, gateway, case: Path) -> None:
    told = json.loads(case.read_text())
    asked: list[int] = []

    async def behave(_: dict[str, Any]) -> Response:
        asked.append(1)
        return Response(told["body"], told["status"], told["headers"], "application/json")

    rig.arms["api"].behave = behave
    arms = rig.document["arms"]
    api = arms["api"] | {"symbolAliases": told.get("aliases", {}), "maxRetries": 1, "timeoutSeconds": 1.4}
    rig.publish(arms=arms | {"api": api})
    await rig.seen()
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    row = await rig.row("d")
    if told["reads"] is None:
        assert (row["error_kind"], answer["_model_used"]) == (told["error"], "safe")
        assert len(asked) == (2 if told["ask_again"] else 1)
        return
    assert answer["_model_used"] == "api", row["error_detail"]
    assert told["reads"].items() <= answer.items()
    assert row["reading_rules"] == [rule for rule in [told["rule"]] if rule != "plain"]
    assert len(asked) == 1


def read(text: str, *aliases: str) -> dict[str, Any]:
    return read_answer(text, symbol="BTC", aliases=aliases).fields


def rules(text: str, *aliases: str) -> list[str]:
    return list(read_answer(text, symbol="BTC", aliases=aliases).rules)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (TEXT, []),
        (f"\ufeff {TEXT}\n", []),
        (f"```\n{TEXT}\n```", ["fence"]),
        (f"```JSON \n  {TEXT}  \n  ```", ["fence"]),
        (f'<think>{{x}} {{"action": 1}}</think>```json\n{TEXT}\n```', ["prose"]),
        (f"hm</think>\n{TEXT}", ["prose"]),
        (f"Here it is:\n```json\n{TEXT}\n```\nGood luck!", ["prose"]),
        (f"RSI {{rsi}} says: {TEXT}. Done.", ["prose"]),
        (json.dumps([OPEN]), ["wrapped"]),
        (json.dumps({"btc": OPEN}), ["wrapped"]),
        (json.dumps({"BTC": {k: v for k, v in OPEN.items() if k != "symbol"}}), ["wrapped"]),
        (json.dumps({"BTC": [OPEN]}), ["wrapped"]),
        (json.dumps(OPEN | {"symbol": "btc", "action": " Open_Long"}), ["case"]),
        (f"```\n{json.dumps([OPEN | {'leverage': '2', 'x': 1}])}\n```", ["fence", "wrapped", "strings", "extra"]),
        (json.dumps(OPEN | {"reasoning": "x" * 5000}), ["long"]),
        (json.dumps(HOLD | {"action": "Close", "leverage": 0, "stop_loss_pct": 2, "size_usd": -1}), ["case", "hold"]),
    ],
)  # fmt: skip
def test_the_rules_that_are_needed_are_told(text: str, needed: list[str]) -> None:
    fields = read(text)
    assert rules(text) == needed
    if "hold" not in needed:
        assert {name: fields[name] for name in OPEN if name != "reasoning"} == {
            name: value for name, value in OPEN.items() if name != "reasoning"
        }


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("I would hold.", "invalid_json"),
        (TEXT[:-1], "invalid_json"),
        (f"Sure: {TEXT[:-1]}", "invalid_json"),
        (f'{{"a": {TEXT}, "b": ', "invalid_json"),
        (f"{{BTC: {TEXT}, ETH: ", "invalid_json"),
        (f"{TEXT} or rather {TEXT}", "invalid_json"),
        (f"{TEXT}\n{json.dumps(HOLD)}", "invalid_json"),
        (f"<think>so {TEXT}", "invalid_json"),
        (f"```json\n{TEXT[:-1]}\n```", "invalid_json"),
        (f"```json\n{TEXT}\n```\n```json\n{TEXT}\n```", "invalid_json"),
        (json.dumps([OPEN, OPEN]), "invalid_json"),
        ("[]", "invalid_json"),
        ('"hold"', "invalid_json"),
        (f'well: {TEXT[:-1]}, "action": "hold"}}', "invalid_json"),
        (json.dumps(OPEN | {"size_usd": math.inf}), "invalid_json"),
        (f"so: {json.dumps(OPEN | {'size_usd': math.nan})}", "invalid_json"),
        (TEXT.replace('"', "\u201c"), "invalid_json"),
        (str(OPEN), "invalid_json"),
    ],
)  # fmt: skip
def test_what_would_be_a_guess_is_refused(text: str, kind: str) -> None:
    with pytest.raises(ArmError) as caught:
        read(text)
    assert caught.value.kind == kind


@pytest.mark.parametrize("number", ["60 USD", "1,000", "2x", "2%", "", "0x10", "\u0662", "1e9999", "nan", "True"])
def test_a_text_that_is_no_plain_number_stays_a_text(number: str) -> None:
    fields = read(json.dumps(OPEN | {"size_usd": number}))
    assert fields["size_usd"] == number or not isinstance(fields["size_usd"], float | int)
    assert read_answer(json.dumps(OPEN | {"size_usd": number}), symbol="BTC").rules == ()


def test_another_symbol_stays_another_symbol() -> None:
    assert read(json.dumps(OPEN | {"symbol": "ETH"}), "BTCUSDT")["symbol"] == "ETH"
    assert read_answer(json.dumps({"ETH": OPEN}), symbol="BTC").extra == {"ETH": OPEN}


def test_an_opening_is_not_filled_in() -> None:
    for name in OPEN:
        if name != "reasoning":
            fields = read(json.dumps({key: value for key, value in OPEN.items() if key != name}))
            assert name not in fields
            assert read(json.dumps(OPEN | {name: None}))[name] is None


def test_what_is_said_beside_it_is_kept_within_a_bound() -> None:
    told = read_answer(json.dumps(OPEN | {"why": "x", "long": "y" * MAX_EXTRA_BYTES, "after": 1}), symbol="BTC")
    assert told.extra == {"why": "x"}
    assert read_answer(json.dumps(OPEN | {"reasoning": ["a", 1]}), symbol="BTC").fields["reasoning"] == '["a", 1]'
    assert len(read(json.dumps(OPEN | {"reasoning": ["a" * 9000]}))["reasoning"]) == MAX_REASONING


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stop_loss_pct": 1}, "stop_loss_pct: 1 looks like percent; give a fraction, 0.01 for 1 %"),
        ({"stop_loss_pct": 2.5}, "stop_loss_pct: 2.5 looks like percent; give a fraction, 0.025 for 2.5 %"),
        ({"take_profit_pct": 5}, "take_profit_pct: 5 looks like percent; give a fraction, 0.05 for 5 %"),
        ({"confidence": 85}, "confidence: 85 looks like percent; give a fraction, 0.85 for 85 %"),
        ({"confidence": "85"}, "confidence: 85 looks like percent; give a fraction, 0.85 for 85 %"),
    ],
)
@pytest.mark.parametrize("champion", ["api", "v1"])
async def test_percent_is_never_taken_for_a_fraction(
    rig, gateway, champion: str, change: dict[str, Any], says: str
) -> None:
    if champion == "v1" and any(isinstance(value, str) for value in change.values()):
        says = "confidence: "
    rig.arms[champion].answer = OPEN | change
    rig.publish(champion=champion)
    await rig.seen()
    await gateway.post("/v1/decisions", json=ask("d"))
    row = await rig.row("d")
    assert row["error_kind"] == "invalid_decision"
    assert row["error_detail"].startswith(says)


FIELDS = ["action", "symbol", "size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence", "reasoning"]
BITS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "```",
    "```json\n",
    "\n",
    "<think>",
    "</think>",
    "{x}",
    "\\",
    "BTC",
    "\ud83d",
    "1e999",
    TEXT,
    "hold",
]
VALUES = [
    None,
    True,
    0,
    -1,
    2.5,
    1e300,
    10**30,
    "",
    "2",
    "hold",
    "OPEN_SHORT",
    "BTC",
    [],
    [1],
    {},
    {"a": [None]},
    [OPEN],
    "\0",
    float("inf"),
]


def odd(chance: random.Random) -> str:
    """A text that may be an answer, or look like one."""
    fields = {chance.choice([*FIELDS, "x", "BTC"]): chance.choice(VALUES) for _ in range(chance.randrange(9))}
    parts = [json.dumps(chance.choice([fields, OPEN | fields, [OPEN | fields], {"BTC": OPEN | fields}]))]
    for _ in range(chance.randrange(4)):
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(BITS))
    text = "".join(parts)
    return text[: chance.randrange(len(text) + 1)] if chance.random() < 0.3 else text


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_is_read_or_refused_and_nothing_else(seed: int) -> None:
    chance, read_ones = random.Random(seed), 0
    for _ in range(1500):
        said = odd(chance)
        kinds = set()
        try:
            told = read_answer(said, symbol="BTC", aliases=("BTCUSDT",))
            read_ones += 1
        except ArmError as error:
            kinds.add(error.kind)
        else:
            assert set(told.fields) <= set(FIELDS)
        assert kinds <= {ErrorKind.EMPTY, ErrorKind.INVALID_JSON}
    assert read_ones > 300


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("```json\n", "\n```"), ("So: ", " ok"), ("<think>a {b}</think>", "")]
)
@pytest.mark.parametrize("strings", [False, True])
def test_no_value_is_changed(before: str, after: str, strings: bool) -> None:
    chance = random.Random(7)
    for _ in range(200):
        values: dict[str, float] = {
            "size_usd": chance.uniform(0.01, 1e6), "leverage": chance.randint(1, 100), "confidence": chance.random(),
        }  # fmt: skip
        told = {name: json.dumps(value) if strings else value for name, value in values.items()}
        said = before + json.dumps(OPEN | told) + after
        assert read(said) == OPEN | values
        assert ("strings" in rules(said)) == strings


@pytest.mark.parametrize("length", range(1, len(TEXT)))
def test_a_text_that_was_cut_off_is_never_read(length: int) -> None:
    for said in (TEXT[:length], f"So: {TEXT[:length]}", json.dumps({"BTC": OPEN, "ETH": OPEN})[: length + 20]):
        with pytest.raises(ArmError):
            read(said)
