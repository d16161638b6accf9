"""What was freed goes back to the machine: a list of thousands of objects is needed for a second, at the start."""

import ctypes
from contextlib import suppress
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of malloc.h
_ARENAS: Final = 2


def share_arenas() -> None:
    """Let all threads allocate from the same few places, before there are any: each would keep what it once needed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Let the C library return what nobody uses; where it is none that can, nothing happens. Others may run meanwhile."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
