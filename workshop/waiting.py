"""The one way of waiting: look until what is seen is accepted; say meanwhile what is waited for, and in the end what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, overload

from workshop.progress import StepError

T = TypeVar("T")

SAY_EVERY_SECONDS = 15.0
SHOWN_CHARACTERS = 400
REMEDY = "see what was seen last; more time helps where the machine is busy"


def shown(seen: object) -> str:
    """What was seen, in a line."""
    return "nothing" if seen is None else str(seen)[:SHOWN_CHARACTERS]


@overload
def wait_for(
    what: str,
    look: Callable[[], T | None],
    *,
    seconds: float = ...,
    every: float = ...,
    show: Callable[[T | None], str] = ...,
    say: Callable[[str], None] | None = ...,
    remedy: str = ...,
    log: Path | None = ...,
) -> T: ...


@overload
def wait_for(
    what: str,
    look: Callable[[], T],
    until: Callable[[T], object],
    *,
    seconds: float = ...,
    every: float = ...,
    show: Callable[[T], str] = ...,
    say: Callable[[str], None] | None = ...,
    remedy: str = ...,
    log: Path | None = ...,
) -> T: ...


def wait_for(
    what: str,
    look: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    seconds: float = 60,
    every: float = 0.3,
    show: Callable[[T], str] = shown,
    say: Callable[[str], None] | None = None,
    remedy: str = REMEDY,
    log: Path | None = None,
) -> T:
    """The first thing seen that `until` accepts.

    Args:
        what: what is waited for, as a noun or a sentence.
        look: what there is now. It may raise, as `until` may, to end a wait that is in vain.
        until: whether it is what is waited for; without it anything true is.
        seconds: how long to wait; at least one look is taken.
        every: seconds between looks.
        show: what was seen, in a line, for messages.
        say: is told every 15 s what is waited for, how long by now, and what is seen.
        remedy: what the user can do when it does not come.
        log: the file that tells more.

    Raises:
        StepError: nothing like it was seen in time; names what, the time and what was seen last.
    """
    began = said = time.monotonic()
    while True:
        seen = look()
        if until(seen):
            return seen
        now = time.monotonic()
        if now - began >= seconds:
            raise StepError(f"{what}: not within {seconds:g} s; last seen: {show(seen)}", remedy, log)
        if say is not None and now - said >= SAY_EVERY_SECONDS:
            said = now
            say(f"  waiting for {what} ({now - began:.0f} of at most {seconds:g} s): {show(seen)}")
        time.sleep(every)
