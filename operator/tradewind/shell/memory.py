"""What was freed goes back to the machine: a list of thousands of objects is needed for a second, at the start."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Let the C library return what nobody uses; where it is none that can, nothing happens. Others may run meanwhile."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
