"""What the processes of a training agree on before its first step: how it is trained, how much at once, and from where it goes on.

Belongs here: agreements, each the same for one process. Does not belong here: how they talk (peers.py).
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from tradewind.training.base import Method
from tradewind.training.checkpoint import Checkpoints, Resumption
from tradewind.training.memory import RECORD
from tradewind.training.outcome import bad_config
from tradewind.training.planner import Fit, Taken
from tradewind.training.ranks import Ranks
from tradewind.training.trainer import random_state_of

DIVERGED: Final = "diverged.json"
_RECORDS: Final = (RECORD, DIVERGED)


def share_records(ranks: Ranks, output: Path) -> None:
    """What earlier attempts have left beside the checkpoints, in the folder of each process."""
    found = {name: (output / name).read_text(encoding="utf-8") for name in _RECORDS if (output / name).is_file()}
    shared = ranks.share(found)
    if not ranks.first:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in shared.items():
            (output / name).write_text(content, encoding="utf-8")


def check_method(ranks: Ranks, method: Method) -> None:
    """Raises:
    JobError: exit 64: the nodes would train in different ways.
    """
    ways = ranks.gather(f"{method.name} in {str(method.dtype).removeprefix('torch.')}")
    if len(set(ways)) > 1:
        told = ", ".join(f"node {rank}: {way}" for rank, way in enumerate(ways))
        raise bad_config("nodeSelector", f"the nodes have different GPUs ({told}); select nodes of one kind")


def sharing_a_machine(ranks: Ranks, machine: str) -> int:
    """Processes of the training on this machine, this one included."""
    return Counter(ranks.gather(machine))[machine]


def agreed_limit(ranks: Ranks, limit: int | None) -> int | None:
    """The least of what the nodes may take; None where none of them knows."""
    return min((one for one in ranks.gather(limit) if one is not None), default=None)


def agreed_fit(ranks: Ranks, taken: Taken | None) -> Taken | None:
    """The least that fits on one of the nodes, with its reason; None where one of them has no room at all."""
    told: list[Any] = ranks.gather(
        None if taken is None else [taken.fit.max_tokens, taken.fit.checkpointing, taken.reason]
    )
    if None in told:
        return None
    tokens, _, reason = min(told, key=lambda one: (one[0], not one[1]))
    return Taken(Fit(tokens, any(one[1] for one in told)), reason)


def agreed_resumption(ranks: Ranks, checkpoints: Checkpoints, *, asked: bool) -> Resumption:
    """The newest checkpoint that the first process finds, as files of each process."""
    found = checkpoints.newest() if asked and ranks.first else Resumption()
    shared: list[Any] = ranks.share([found.step, found.message])
    step, message = shared
    folder = ranks.copy_files(found.folder, checkpoints.folder / f"step-{step}")
    if folder is not None and not ranks.first:
        (folder / random_state_of(ranks.rank)).replace(folder / random_state_of(0))
    return Resumption(step, folder, message)
