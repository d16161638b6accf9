"""Which inputs say the same to a model, so that only the first of them teaches.

Belongs here: exact and near-duplicate inputs. Does not belong here: what is done with them (dataset/).
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


def find_duplicates(keys: Sequence[tuple[bytes, bytes]], dedupe: Dedupe) -> list[Dedupe | None]:
    """For each row how it repeats an earlier one: `EXACT`, `NEAR`, or None for the first of its kind.

    The first stays, so that a later row never changes what an earlier dataset held.

    Args:
        keys: of each row, what identical prompts share, and what near ones share (digests of `near_duplicate_key`).
        dedupe: which count as the same; keys that it does not ask for may be empty.
    """
    seen_exact: set[bytes] = set()
    seen_near: set[bytes] = set()
    found: list[Dedupe | None] = []
    for exact, near in keys:
        if dedupe is not Dedupe.NONE and exact in seen_exact:
            found.append(Dedupe.EXACT)
        elif dedupe is Dedupe.NEAR and near in seen_near:
            found.append(Dedupe.NEAR)
        else:
            found.append(None)
        seen_exact.add(exact)
        seen_near.add(near)
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
