"""How far a dataset has moved from the one that was trained on before, in what it is made of.

Belongs here: the statistic on counts, and counts that are small enough for a status. Does not belong here: which dataset was before
(the operator says it), and the gate (gates.py).

The statistic is the population stability index: the sum over the categories of (p - q) ln(p / q), p and q being the shares then and now.
Scorecards call less than 0.1 stable and more than 0.25 a shift (Siddiqi, Credit Risk Scorecards, 2006). A category that one side lacks
would make it infinite: half a row is added to each on both sides.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tradewind.trading.dataset import Sample

OTHER: Final = "(other)"
"""Counts what a status has no room for."""
MOST_KEPT: Final = 16
_MOST_BYTES: Final = 500  # of the JSON of one count: all of them share the 4 KiB of a termination message
_ADDED: Final = 0.5


class Mix(StrEnum):
    """What a dataset is made of, as drift is told."""

    ACTION = "action"
    LABEL = "label"
    SYMBOL = "symbol"
    REGIME = "regime"


@dataclass(frozen=True, slots=True)
class Mixes:
    """Samples by category, for each mix: the most frequent by name, the rest as `OTHER`."""

    counts: Mapping[Mix, Mapping[str, int]]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> "Mixes":
        """Of a dataset; samples without a regime count in none."""
        found: dict[Mix, Counter[str]] = {mix: Counter() for mix in Mix}
        for sample in samples:
            found[Mix.ACTION][str(sample.action)] += 1
            found[Mix.LABEL][sample.label] += 1
            found[Mix.SYMBOL][sample.symbol] += 1
            if sample.regime:
                found[Mix.REGIME][sample.regime] += 1
        return cls({mix: kept(counter) for mix, counter in found.items()})


def kept(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent categories, as many as a status has room for, and the rest as one; equal counts by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found, left = dict(ordered), 0
    while len(found) + bool(left) > MOST_KEPT or len(json.dumps(found)) > _MOST_BYTES:
        left += found.popitem()[1]
    return found | {OTHER: left} if left else found


def drift(before: Mixes, now: Mixes) -> dict[Mix, float]:
    """The population stability index of each mix, 0 where the shares are the same; without those that one side does not know."""
    found = {}
    for mix in Mix:
        then, since = before.counts.get(mix, {}), now.counts.get(mix, {})
        if then and since:
            found[mix] = population_stability_index(then, since)
    return found


def population_stability_index(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """See the module; what either side has put under `OTHER` is compared there on both.

    Args:
        before, now: rows by category, not empty.
    """
    named = {name for name in before.keys() | now.keys() if name != OTHER}
    if OTHER in before:
        named &= before.keys()
    if OTHER in now:
        named &= now.keys()
    rest = (sum(before.values()) - _of(before, named), sum(now.values()) - _of(now, named))
    pairs = [(before.get(name, 0), now.get(name, 0)) for name in sorted(named)]
    if any(rest):
        pairs.append(rest)
    totals = [sum(counts) + _ADDED * len(pairs) for counts in zip(*pairs, strict=True)]
    shares = [[(count + _ADDED) / total for count, total in zip(pair, totals, strict=True)] for pair in pairs]
    return math.fsum((p - q) * math.log(p / q) for p, q in shares)


def _of(counts: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(counts.get(name, 0) for name in names)
