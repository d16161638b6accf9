"""A wait says what it waits for, how long, and what it saw last."""

import pytest

from workshop.progress import StepError
from workshop.waiting import wait_for


def test_the_first_accepted_sight_is_returned() -> None:
    seen = iter([0, 1, 2, 3])
    assert wait_for("two", lambda: next(seen), lambda number: number >= 2, every=0) == 2
    assert wait_for("anything", lambda: "there") == "there"


def test_a_wait_in_vain_says_what_for_how_long_and_what_was_seen() -> None:
    with pytest.raises(StepError, match=r"the pods: not within 0\.02 s; last seen: 1 of 2") as caught:
        wait_for(
            "the pods",
            lambda: 1,
            lambda ready: ready == 2,
            seconds=0.02,
            every=0.001,
            show=lambda ready: f"{ready} of 2",
            remedy="look at them",
        )
    assert caught.value.remedy == "look at them"


def test_without_time_there_is_still_one_look() -> None:
    assert wait_for("it", lambda: True, seconds=0)
    with pytest.raises(StepError, match="last seen: nothing"):
        wait_for("it", lambda: None, seconds=0)


def test_a_look_may_end_a_wait_that_is_in_vain() -> None:
    def look() -> bool:
        raise StepError("it has failed", "see why")

    with pytest.raises(StepError, match="it has failed"):
        wait_for("it", look, seconds=60)


def test_a_long_wait_says_so_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workshop.waiting.SAY_EVERY_SECONDS", 0.005)
    told: list[str] = []
    with pytest.raises(StepError):
        wait_for("rain", lambda: "sun", lambda _: False, seconds=0.05, every=0.001, say=told.append)
    assert told
    assert all(line.startswith("  waiting for rain (0 of at most 0.05 s): sun") for line in told)
