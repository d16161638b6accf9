"""Questions on which two states of one model are compared, and how alike their decisions are.

The questions are those that the version's own folder brings (`probe.jsonl`, which its hash covers), else made-up ones, always the
same: prices of many sizes, rising and falling, with and without positions and history.

Belongs here: the questions and the comparison. Does not belong here: what follows (quantization.py).
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from tradewind.predictor.decoder import Decoder, Written
from tradewind.predictor.failure import StartError
from tradewind.predictor.grammar import Grammar, Plan
from tradewind.predictor.loader import encode_prompt
from tradewind.predictor.protocol import Instance
from tradewind.schema.rules import first_fault
from tradewind.trading.artifact import PROBE_FILE
from tradewind.trading.artifact import PROBE_LEAST_ROWS as LEAST_ROWS
from tradewind.trading.artifact import PROBE_ROWS as ROWS
from tradewind.trading.exits import ExitCode

_SYMBOLS: Final = ("BTC", "ETH", "EURUSD", "600519.SH")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the prompt's tokens, and what may be written."""

    prompt_ids: list[int]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the answers to the same questions are.

    Attributes:
        rows: questions.
        decisions: share of equal decisions, in every field.
        actions: share of equal actions.
        largest: the largest difference of an action's probability.
    """

    rows: int
    decisions: float
    actions: float
    largest: float


def questions(folder: Path, grammar: Grammar, tokenizer: Any, *, most_tokens: int) -> tuple[list[Question], str]:
    """Up to `ROWS` questions that the model has room for, and where they are from: `artifact` or `generated`.

    Args:
        folder: of the adapter, or of the whole model.
        grammar: says what may be written.
        tokenizer: of prompts.
        most_tokens: of prompt and answer together.

    Raises:
        StartError: exit 65, BrokenFile, for a `probe.jsonl` that cannot be read; exit 64 where there is no room for `LEAST_ROWS`
            of them.
        GrammarError: the tokenizer cannot write a decision.
    """
    file = folder / PROBE_FILE
    own = file.is_file()
    found: list[Question] = []
    for instance in _read(file) if own else generated():
        ids, plan = encode_prompt(tokenizer, instance.prompt), grammar.plan(instance.symbols[0], instance.limits)
        if len(ids) + plan.longest <= most_tokens:
            found.append(Question(ids, plan))
        if len(found) == ROWS:
            break
    if len(found) < LEAST_ROWS:
        whose = (
            f"{PROBE_FILE} has {len(found)} questions" if own else f"{len(found)} made-up questions are short enough"
        )
        remedy = f"bring {LEAST_ROWS} of them" if own else f"bring {LEAST_ROWS} shorter ones in {PROBE_FILE}"
        raise StartError(
            ExitCode.BAD_CONFIG,
            ExitCode.BAD_CONFIG.reason,
            f"serving.quantization: {whose} for {most_tokens} tokens of prompt and answer, and agreement is measured on"
            f" {LEAST_ROWS} at least; {remedy}, or use none",
        )
    return found, "artifact" if own else "generated"


def ask(decoder: Decoder, asked: Sequence[Question]) -> list[Written]:
    """An answer to each question.

    Raises:
        NotFiniteError: the model's scores are no numbers.
    """
    return [decoder.write(question.prompt_ids, question.plan) for question in asked]


def agreement(expected: Sequence[Written], found: Sequence[Written]) -> Agreement:
    """How alike two answers to each question are."""
    pairs = list(zip(expected, found, strict=True))
    apart = [
        abs(one.probabilities[action] - other.probabilities[action])
        for one, other in pairs
        for action in one.probabilities
    ]
    return Agreement(
        rows=len(pairs),
        decisions=sum(one.decision == other.decision for one, other in pairs) / len(pairs),
        actions=sum(one.decision.action is other.decision.action for one, other in pairs) / len(pairs),
        largest=max(apart),
    )


def generated() -> Iterator[Instance]:
    """Made-up questions, the same in every process: enough of them that a model with little room finds `ROWS` short ones."""
    draw = random.Random(20261128)  # noqa: S311 - reproducible, not secret
    for number in range(4 * ROWS):
        symbol = _SYMBOLS[number % len(_SYMBOLS)]
        price = math.exp(draw.uniform(-1, 11))
        drift, closes = draw.gauss(0, 0.02), [price]
        for _ in range(number % 5 * 4):
            closes.append(closes[-1] * (1 + draw.gauss(drift, 0.01)))
        market: dict[str, Any] = {"symbol": symbol, "price": round(closes[-1], 4), "rsi": draw.randint(5, 95)}
        market |= {"change_24h": round(drift, 4)} if number % 2 else {"momentum_3h": "up" if drift > 0 else "down"}
        market |= {"closes": [round(close, 4) for close in closes]} if len(closes) > 1 else {}
        holds = {"symbol": symbol, "side": draw.choice(("long", "short")), "size_usd": draw.randint(10, 500)}
        yield Instance(
            market_data=market,
            account_state={
                "balance": draw.randint(10, 100_000),
                "permission_level": draw.choice(("L1", "L2")),
                "positions": [holds] if number % 3 == 0 else [],
            },
            recent_history=tuple(
                {"action": draw.choice(("hold", "close", "open_long")), "pnl": round(draw.gauss(0, 5), 2)}
                for _ in range(number % 3)
            ),
            symbols=(symbol,),
        )


def _read(file: Path) -> Iterator[Instance]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield Instance.model_validate(json.loads(line))
        except (ValidationError, ValueError) as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else None
            said = f"{fault.field}: {fault.message}" if fault is not None else str(error)
            message = (
                f"{file} line {number}: {said}; write questions as the predictor is asked them, or leave the file out"
            )
            raise StartError(ExitCode.BAD_DATA, "BrokenFile", message) from None
