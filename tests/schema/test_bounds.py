"""The bounds of times: what is refused, and in whose words."""

import pytest
from pydantic_core import PydanticCustomError

from tradewind.schema.bounds import Bounds, Within


@pytest.mark.parametrize(
    ("within", "message", "taken", "refused"),
    [
        (
            Within(Bounds(0.1, 900), latency=True),
            "100ms to 900s",
            ("100ms", "900s", "1s"),
            ("99ms", "901s", "900001ms"),
        ),
        (Within(Bounds(0.01, 3600), latency=False), "1s to 1h", ("1s", "60m", "1h"), ("0s", "61m", "2h", "1d")),
    ],
)
def test_what_lies_outside_is_refused_in_the_users_words(
    within: Within, message: str, taken: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    assert within.message == f"must be from {message}"
    for text in taken:
        assert within.check(text) == text
    for text in refused:
        with pytest.raises(PydanticCustomError, match=message):
            within.check(text)
