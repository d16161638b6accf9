"""Several processes that train together, over torch.distributed: gloo for what is said, nccl for gradients on GPUs.

Belongs here: finding each other, sums and copies, and what the loss of one is to the others. RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT say who there is, as torchrun, a PyTorchJob or the operator set them. Nothing is unpickled: what is said is JSON or bytes.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its __all__

from tradewind.trading.exits import ExitCode
from tradewind.training.outcome import JobError, bad_config
from tradewind.training.ranks import Ranks, Stopped, T

VARIABLES: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Taken away from transformers once the processes have met: it would share out by itself what is shared out already."""
MEETING_SECONDS: Final = 900.0
"""How long a process waits for the others to start: pods that get no node hold those that have one."""
_LOOK: Final = timedelta(seconds=5)
_HERE: Final = "here"
_NO_ROOM: Final = "no-room"

_logger = logging.getLogger(__name__)


def join(environment: Mapping[str, str], *, silence_seconds: float, stopped: Stopped) -> Ranks:
    """This process among those of its training, once all of them are there; alone where WORLD_SIZE is 1 or not set.

    Args:
        environment: see the module.
        silence_seconds: how long is waited for a process that does not answer and whose connection has not ended.
        stopped: whether the pod is being stopped.

    Raises:
        JobError: exit 64 for a variable that is missing; exit 75 where the others do not come, or this one is stopped.
    """
    size = int(environment.get("WORLD_SIZE") or 1)
    if size == 1:
        return Ranks()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise bad_config(", ".join(missing), f"not set, and WORLD_SIZE is {size}: start each process as torchrun does")
    rank, host, port = int(environment["RANK"]), environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    store = _meet(host, port, rank, size, stopped)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    _logger.info("process %d of %d, %s", rank, size, backend)
    with _lost(rank):
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=silence_seconds)
        )
    return Peers(rank, size, store)


@dataclass(frozen=True)
class Peers(Ranks):
    """A process among several. One that is lost ends the others: exit 75, and the next attempt goes on from the newest checkpoint.

    A process that ends closes its connections, which the others see at their next collective. One that is silent (its node lost its
    power, or it hangs) is given up after `silence_seconds`.

    Attributes:
        store: what all of them are connected to.
    """

    store: Any = field(default=None, repr=False, compare=False)

    def sums(self, *values: float) -> list[float]:  # noqa: D102 - as in Ranks
        added = torch.tensor(values, dtype=torch.float64)
        with self.hearing():
            distributed.all_reduce(added)
        return [float(value) for value in added]

    def any(self, flag: bool) -> bool:  # noqa: D102, FBT001
        return self.sums(float(flag))[0] > 0

    def gather(self, value: T) -> list[T]:  # noqa: D102
        content = _encoded(value)
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        with self.hearing():
            distributed.all_gather(lengths, torch.tensor([len(content)]))
            longest = max(int(length) for length in lengths)
            told = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
            distributed.all_gather(told, _bytes_tensor(content.ljust(longest)))
        cut = zip(told, lengths, strict=True)
        return [_decoded(bytes(one[: int(length)].numpy())) for one, length in cut]

    def share(self, value: T) -> T:  # noqa: D102
        content = _encoded(value) if self.first else b""
        length = torch.tensor([len(content)])
        with self.hearing():
            distributed.broadcast(length, 0)
            told = _bytes_tensor(content) if self.first else torch.empty(int(length), dtype=torch.uint8)
            distributed.broadcast(told, 0)
        shared: T = value if self.first else _decoded(bytes(told.numpy()))
        return shared

    def add_gradients(self, parameters: Iterable[Any]) -> None:  # noqa: D102
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        # Where no process has one, as of an expert that no token reached, the optimiser leaves the weight alone.
        there = self.sums(*(float(parameter.grad is not None) for parameter in trained))
        summed = [parameter for parameter, count in zip(trained, there, strict=True) if count]
        if not summed:
            return
        flat = torch.cat(
            [(torch.zeros_like(one) if one.grad is None else one.grad).reshape(-1).to(torch.float32) for one in summed]
        )
        with self.hearing():
            distributed.all_reduce(flat)
        for one, part in zip(summed, torch.split(flat, [one.numel() for one in summed]), strict=True):
            one.grad = part.view_as(one).to(one.dtype)

    def copy_weights(self, parameters: Iterable[Any]) -> None:  # noqa: D102
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        with torch.no_grad(), self.hearing():
            for parameter in trained:
                distributed.broadcast(parameter.data, 0)

    def copy_files(self, folder: Path | None, into: Path) -> Path | None:  # noqa: D102
        files = [] if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())
        names = self.share(None if folder is None else [path.relative_to(folder).as_posix() for path in files])
        if names is None:
            return None
        for number, name in enumerate(names):
            content = self.share(files[number].read_bytes() if self.first else b"")
            if not self.first:
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        return folder if self.first else into

    def leave(self) -> None:  # noqa: D102
        distributed.destroy_process_group()

    def tell_no_room(self) -> None:
        """Leave word, before this process ends, that it does so for want of memory."""
        with contextlib.suppress(RuntimeError):
            self.store.set(_NO_ROOM, "1")

    @contextlib.contextmanager
    def hearing(self) -> Iterator[None]:
        """A block that talks to the others: what torch.distributed says of a connection ends the attempt.

        Raises:
            JobError: exit 75: one of them is lost.
            MemoryError: it ended for want of memory, and left word of it.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            with contextlib.suppress(
                RuntimeError
            ):  # the store is the first process', which may be the one that is lost
                if self.store is not None and self.store.check([_NO_ROOM]):
                    raise MemoryError("another node of the training ran out of memory") from error
            raise _node_lost(self.rank, error) from error


@contextlib.contextmanager
def _lost(rank: int) -> Iterator[None]:
    """As `Peers.hearing`, before there is one."""
    try:
        yield
    except RuntimeError as error:
        raise _node_lost(rank, error) from error


def _node_lost(rank: int, error: RuntimeError) -> JobError:
    words = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    message = f"node {rank} does not hear another node of the training: {words}; the newest checkpoint is gone on from"
    return JobError(ExitCode.INTERRUPTED, "NodeLost", message)


def _meet(host: str, port: int, rank: int, size: int, stopped: Stopped) -> Any:
    """The store that all processes are connected to."""
    end = time.monotonic() + MEETING_SECONDS
    told = "nobody listens yet"
    while True:
        try:
            # Not every build of torch has libuv (Debian's has none), and a handful of processes is no load.
            store = TCPStore(host, port, size, rank == 0, _LOOK, wait_for_workers=False, use_libuv=False)
            store.set(f"{_HERE}/{rank}", "1")
            while not (everybody := store.check([f"{_HERE}/{other}" for other in range(size)])):
                told = "not all of them are there"
                _wait(stopped, end, size, told)
            assert everybody
            return store
        except (
            RuntimeError,
            OSError,
        ) as error:  # its name is not known yet, or the first process is just coming or going
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            if said != told:
                _logger.info("process %d of %d waits for %s:%d: %s", rank, size, host, port, said)
            told = said
        _wait(stopped, end, size, told)


def _wait(stopped: Stopped, end: float, size: int, told: str) -> None:
    if stopped():
        raise JobError(ExitCode.INTERRUPTED, "Interrupted", "stopped by SIGTERM while waiting for the other nodes")
    if time.monotonic() > end:
        message = (
            f"the {size} nodes of the training did not meet within {MEETING_SECONDS:.0f} s ({told}): see whether all of its pods "
            "have a node; a queue (spec.queueName) lets pods go all at once"
        )
        raise JobError(ExitCode.INTERRUPTED, "NodesMissing", message)
    time.sleep(0.2)


def _bytes_tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8)[: len(content)].clone()


def _encoded(value: Any) -> bytes:
    return b"b" + value if isinstance(value, bytes) else b"j" + json.dumps(value).encode()


def _decoded(content: bytes) -> Any:
    return content[1:] if content[:1] == b"b" else json.loads(content[1:])


__all__ = ["MEETING_SECONDS", "VARIABLES", "Peers", "join"]
