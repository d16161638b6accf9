"""The processes of one training: one, or one a node, and what they tell each other.

Belongs here: the part of a process that is alone, which is what most trainings have, without torch. Does not belong here: the
network (peers.py), and which samples a process has (collator.py).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """A process among those that train together. As it stands here it is the only one, and nothing is sent.

    Every method but `first` is a collective: each process calls the same ones in the same order.

    Attributes:
        rank: of this process, from 0. The first alone writes what lasts and reports.
        size: processes in all.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        return list(values)

    def any(self, flag: bool) -> bool:  # noqa: FBT001 - the builtin takes no name either
        """Whether it is true in one of them."""
        return flag

    def gather(self, value: T) -> list[T]:
        """The value of each process, by rank. It is JSON, or bytes."""
        return [value]

    def share(self, value: T) -> T:
        """The first process' value. It is JSON, or bytes."""
        return value

    def add_gradients(self, parameters: Iterable[Any]) -> None:
        """The gradients of trained parameters, summed over all processes, in each of them."""

    def copy_weights(self, parameters: Iterable[Any]) -> None:
        """The first process' weights, in each of them."""

    def copy_files(self, folder: Path | None, into: Path) -> Path | None:
        """The files of a folder of the first process as a folder of this one, `into`; that of the first stays where it is."""
        del into
        return folder

    def passes(self, count: int) -> int:
        """Passes through the model that this process makes where it has so many of its own: no others, unless all need it for theirs."""
        return count

    def probed(self, measure: Callable[[], int | None]) -> int | None:
        """What a step takes that every process makes alike, in bytes; None where there was no room for it."""
        return measure()

    @contextlib.contextmanager
    def failing_together(self, errors: Sequence[type[BaseException]]) -> Iterator[None]:
        """A block without a collective in it: an error of these kinds in one process ends it in all of them.

        Raises:
            MemoryError: in those that had none.
        """
        failure: BaseException | None = None
        try:
            yield
        except tuple(errors) as error:
            failure = error
        if self.any(failure is not None):
            raise failure or MemoryError("another node of the training ran out of memory")

    def leave(self) -> None:
        """Part from the others at the end."""


Stopped = Callable[[], bool]
