"""A base that is shared out among the processes of a training: each holds a part of every frozen weight (FSDP2, `fully_shard`).

A layer's weights are put together for as long as it computes, in its forward and in its backward pass, and nothing else of the base is
whole anywhere. The adapter is not shared out: it is small, each process has it whole, and so gradients, optimiser, checkpoints and what
is published are those of a training whose processes have all of the base.

Belongs here: which weights are shared out, and what that asks of every pass. Does not belong here: whether it is done (planner.py).
"""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tradewind.training.outcome import bad_config
from tradewind.training.peers import Peers
from tradewind.training.targets import Targets

_logger = logging.getLogger(__name__)
_SAID_BY_GLOO: Final = ("gloo", "Connection closed", "Connection reset", "Broken pipe")


@dataclass(frozen=True)
class ShardedPeers(Peers):
    """Processes that put each layer together for each other, in every pass: all of them make as many passes as any of them has.

    None can go on once another has failed in the middle of a pass: the attempt ends, and the next one goes on.
    """

    @classmethod
    def of(cls, peers: Any) -> "ShardedPeers":
        """The same processes, which are `Peers`."""
        return cls(peers.rank, peers.size, peers.store)

    def passes(self, count: int) -> int:  # noqa: D102 - as in Ranks
        most = torch.tensor(count)
        with self.hearing():
            distributed.all_reduce(most, distributed.ReduceOp.MAX)
        return int(most)

    def probed(self, measure: Callable[[], int | None]) -> int | None:  # noqa: D102
        with self.failing_together((MemoryError,)):
            peak = measure()
            if peak is None:
                raise MemoryError("a step was tried that does not fit")
        return self.passes(peak)

    @contextlib.contextmanager
    def failing_together(self, errors: Sequence[type[BaseException]]) -> Iterator[None]:
        """A block of passes. The others hear of an error in it as the end of a connection, and of its kind by `hearing`."""
        try:
            yield
        except tuple(errors):
            self.tell_no_room()
            raise
        except RuntimeError as error:
            if not _is_of_a_connection(error):
                raise
            with self.hearing():
                raise


def lack_of_sharding(*, on_gpu: bool) -> str:
    """Why this release of torch shares no base out; empty where it does.

    Releases before 2.7 cannot leave weights out, and their FSDP2 computes on GPUs alone: their streams of a processor have no events.
    """
    leaves_out = "ignored_params" in inspect.signature(fully_shard).parameters
    if leaves_out and (on_gpu or hasattr(torch.cpu.Stream, "record_event")):
        return ""
    return f"torch {torch.__version__} does not share out a base"


def shard(model: Any, targets: Targets, *, on_gpu: bool) -> None:
    """Share out a PEFT model's frozen weights among all processes; each of them has loaded all of it, or mapped its file.

    Args:
        model: in place; a weight that is trained stays whole, on the device on which is trained.
        targets: the layers that have an adapter.
        on_gpu: whether this process trains on its GPU.

    Raises:
        JobError: exit 64 for a base that this is not done with.
    """
    base = model.get_base_model()
    embedding = base.get_input_embeddings()
    embedded = next((name for name in targets.names if base.get_submodule(name) is embedding), None)
    if embedded is not None:
        raise bad_config(
            "lora.targetModules",
            f"{embedded} is the base's embedding, which is in no process whole under strategy fsdp: leave it out, or set strategy to ddp",
        )
    kinds = set(getattr(base, "_no_split_modules", None) or ())
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise bad_config(
            "strategy",
            f"fsdp shares a base out layer by layer, and transformers names no layers of a {base.config.model_type} model; set it to ddp",
        )
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    trained = {weight for weight in model.parameters() if weight.requires_grad}
    for weight in trained:
        weight.data = weight.data.to(device)
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=trained)
    # Its own weights too are given back after each forward pass: what writes a checkpoint gives them back in one process alone.
    fully_shard(model, mesh=mesh, ignored_params=trained, reshard_after_forward=True)
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    here = sum(weight.to_local().numel() if isinstance(weight, DTensor) else weight.numel() for weight in frozen)
    _logger.info("%d of %d weights of the base are here", here, sum(weight.numel() for weight in frozen))


def _is_of_a_connection(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or any(words in str(error) for words in _SAID_BY_GLOO)


__all__ = ["ShardedPeers", "shard"]
