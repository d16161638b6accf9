"""Which inputs say the same to a model, so that only the first of them teaches.

Belongs here: exact and near-duplicate inputs. Does not belong here: what is done with them (dataset.py).
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from tradewind.trading.decision import DecisionInput, canonical_json

NEAR_DUPLICATE_DIGITS: Final = 3  # numbers that agree to 0.5 % tell a model the same


class Dedupe(StrEnum):
    """Which prompts count as the same: none, identical ones, or also those that agree to three significant digits."""

    NONE = "none"
    EXACT = "exact"
    NEAR = "near"


def find_duplicates(inputs: Sequence[tuple[DecisionInput, str]], dedupe: Dedupe) -> list[Dedupe | None]:
    """For each (input, symbol) how it repeats an earlier one: `EXACT`, `NEAR`, or None for the first of its kind.

    The first stays, so that a later row never changes what an earlier dataset held.
    """
    exact: set[str] = set()
    near: set[str] = set()
    found: list[Dedupe | None] = []
    for shown, symbol in inputs:
        text = canonical_json([symbol, shown.model_dump(mode="json")]) if dedupe is not Dedupe.NONE else ""
        rounded = near_duplicate_key(shown, symbol) if dedupe is Dedupe.NEAR else ""
        if dedupe is not Dedupe.NONE and text in exact:
            found.append(Dedupe.EXACT)
        elif dedupe is Dedupe.NEAR and rounded in near:
            found.append(Dedupe.NEAR)
        else:
            found.append(None)
        exact.add(text)
        near.add(rounded)
    return found


def near_duplicate_key(shown: DecisionInput, symbol: str) -> str:
    """Text that is equal for inputs whose numbers agree to `NEAR_DUPLICATE_DIGITS` significant digits."""
    return canonical_json([symbol, _rounded(shown.model_dump(mode="json"))])


def _rounded(value: JsonValue) -> JsonValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # + 0.0 turns -0.0 into 0.0; the text of the rounded number reads back as the same float everywhere.
        return float(f"{value:.{NEAR_DUPLICATE_DIGITS}g}") + 0.0 if math.isfinite(value) else None
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
