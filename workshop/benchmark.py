"""What every benchmark does alike: sizes, progress on stderr, and ratios as the last line of stdout.

`python benchmarks/NAME.py` measures a claim side by side with the alternative, on one machine in one run. Its last line is
`{"ratios": {NAME: {"value": V, "goal": G}}}`: how many times better ours is, and how many times it is to be, at least. A
missed goal is a result and no error; what cannot be compared is an error.
"""

import json
import os
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def size(usual: T, smallest: T) -> T:
    """The usual size, or with BENCH_SMALL=1 the smallest at which the benchmark still runs through: its ratios say nothing."""
    return smallest if os.environ.get("BENCH_SMALL") == "1" else usual


def print_ratios(ratios: Mapping[str, tuple[float, float]]) -> None:
    """(value, goal) by name, as the last line."""
    told = {name: {"value": round(value, 2), "goal": goal} for name, (value, goal) in ratios.items()}
    print(json.dumps({"ratios": told}), flush=True)
