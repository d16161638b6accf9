"""What is kept between looks is unpacked to the bit, and takes a fraction of the memory where rows are as they usually are."""

import uuid
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tradewind.trading.evidence.columns import Columns

UUIDS = [str(uuid.UUID(int=n << 90 | n)) for n in range(40)]
TEXTS = {
    "uuids": UUIDS,
    "digests": [text.replace("-", "") for text in UUIDS],
    "upper case": [text.upper() for text in UUIDS],
    "one hyphen elsewhere": [*UUIDS[:-1], "00000000-0000-0000-00000000-000000001"],
    "a hyphen for a digit": [*UUIDS[:-1], UUIDS[-1].replace("0", "-", 1)],
    "a digit for a hyphen": [*UUIDS[:-1], UUIDS[-1].replace("-", "0", 1)],
    "of two lengths": ["ab", "abcd"] * 20,
    "of an odd length": ["abc", "abd"] * 20,
    "not in ASCII": ["ü1", "ü2"] * 20,
    "few of them": ["EURUSD"] * 39 + ["GBPUSD"],
    "empty": [""] * 40,
    "one": ["a"],
    "none": [],
}
NUMBERS = {
    "a weight by blocks": np.repeat([0.5, 0.6], 20),
    "unknown": np.full(40, np.nan),
    "unknown at first": np.array([np.nan] * 39 + [1.0]),
    "zeros of both signs": np.array([0.0, -0.0] + [0.0] * 38),
    "all different": np.arange(40.0),
    "times": np.arange(40) * 10**15,
    "flags": np.arange(40) > 30,
    "codes": np.full(40, 3, np.int8),
    "none": np.zeros(0),
}


@dataclass(frozen=True, eq=False)
class Table(Columns):
    column: NDArray[np.generic]


def _same(column: NDArray[np.generic]) -> bool:
    packed = Table(column).packed()
    found = packed.unpacked().column
    assert len(packed.column) == len(column)
    return found.dtype == column.dtype and found.tobytes() == column.tobytes()


@pytest.mark.parametrize("name", TEXTS)
def test_texts_come_back_as_they_were(name: str) -> None:
    assert _same(np.array(TEXTS[name], np.str_))


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_come_back_to_the_bit(name: str) -> None:
    assert _same(NUMBERS[name])


@given(st.lists(st.text(alphabet="0123456789abcdefA-ü", max_size=6), max_size=12))
def test_any_texts_come_back(texts: list[str]) -> None:
    assert _same(np.array(texts, np.str_))


@given(st.lists(st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]), max_size=40))
def test_any_numbers_come_back(numbers: list[float]) -> None:
    assert _same(np.array(numbers, np.float64))


@pytest.mark.parametrize(
    ("column", "least"),
    [(np.array(UUIDS * 50), 8.0), (np.array(["EURUSD"] * 2000), 100.0), (np.repeat([0.5, 0.6], 1000), 100.0)],
    ids=["ids", "the only symbol", "weights"],
)
def test_what_is_usual_takes_a_fraction(column: NDArray[np.generic], least: float) -> None:
    packed = Table(column).packed().column
    parts = [getattr(packed, name) for name in type(packed).__dataclass_fields__]  # type: ignore[attr-defined]
    assert column.nbytes >= least * sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
