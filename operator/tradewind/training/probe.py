"""Questions that go with the published weights: what asks them before and after it changes them knows whether decisions stay the same.

Belongs here: which questions. Does not belong here: asking them (predictor/probe.py).
"""

import json
from collections.abc import Sequence
from typing import Final

from tradewind.trading.artifact import PROBE_LEAST_ROWS, PROBE_ROWS
from tradewind.trading.prompt import parse_prompt

_ACCOUNT: Final = {"balance": 1000.0, "permission_level": "L1", "positions": []}
"""Of nobody: weights are copied to where the account of who traded is nobody's business."""


def probe_lines(prompts: Sequence[str]) -> str:
    """Up to `PROBE_ROWS` questions, a JSON line each: the markets of prompts, evenly over all that differ, without account and history.

    Empty where too few differ to measure anything by.

    Args:
        prompts: as they were trained on or evaluated, in any order that is always the same.
    """
    found: dict[str, None] = {}
    for text in prompts:
        try:
            shown, symbol = parse_prompt(text)
        except ValueError:  # of history that was imported with prompts of its own
            continue
        question = {"account_state": _ACCOUNT, "market_data": dict(shown.market_data), "symbols": [symbol]}
        found[json.dumps(question, sort_keys=True, ensure_ascii=False)] = None
    lines = list(found)
    if len(lines) < PROBE_LEAST_ROWS:
        return ""
    if len(lines) > PROBE_ROWS:
        lines = [lines[number * len(lines) // PROBE_ROWS] for number in range(PROBE_ROWS)]
    return "".join(f"{line}\n" for line in lines)
