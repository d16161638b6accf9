"""Memory as it is measured: one step of the largest group, forward and backward, and what there is at most.

Belongs here: the probe step, the limits of a GPU and of a pod, the record that a resumed run goes by. Does not belong here: what follows
from it (planner.py).
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from tradewind.training.collator import group_tensors
from tradewind.training.files import write_atomic
from tradewind.training.loss import keeps_logits, weighted_loss
from tradewind.training.packing import Costs, Group, Packing
from tradewind.training.planner import DDP, Asked, Fit, Taken, Tried, fits, next_fit
from tradewind.training.preflight import TokenizedSample
from tradewind.training.ranks import Ranks

RECORD: Final = "plan.json"
CGROUP: Final = Path("/sys/fs/cgroup")
_ADAM_BYTES: Final = 8  # two moments of a trained weight
_PASSES: Final = 8  # of a plan that are looked at, the largest ones


def choose_fit(
    model: Any,
    costs: Costs | None,
    passes: Sequence[Sequence[TokenizedSample]],
    pad_token_id: int,
    *,
    asked: Asked,
    half: torch.dtype | None,
    limit: int | None,
    killed_at: Fit | None = None,
    before: Callable[[Fit], None] | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
) -> Taken | None:
    """Steps of the largest group until one fits; None where none does. The model is left with the checkpointing that is taken.

    Args:
        model: the PEFT model; its weights, its gradients and the state of random numbers stay as they are.
        costs: as packing takes them.
        passes: the samples of each optimiser step.
        pad_token_id: fills rows on the right.
        asked: `gradient_checkpointing`.
        half: numbers of the training where they are not float32.
        limit: bytes, as `limit_bytes` says.
        killed_at: what an attempt before was killed at for memory: it is not tried again, nor what takes more.
        before: called with each fit before it is tried: where the process is killed at it, nothing tells of it afterwards.
        ranks: the processes that have a share of the base and try with this one; `limit` is that of all of them.

    Raises:
        MemoryError: of such processes, one had no room.
    """
    heaviest = sorted(passes, key=lambda one: -sum(len(sample.input_ids) for sample in one))[:_PASSES]
    longest = max((sample for one in passes for sample in one), key=lambda sample: len(sample.input_ids))
    largest = max(_groups(Packing(costs), heaviest), key=lambda group: group.computed).computed
    order = fits(largest, len(longest.input_ids), asked)
    tried = [Tried(killed_at, None)] if killed_at in order else []
    while True:
        step = next_fit(tried, limit=limit, largest=largest, longest=len(longest.input_ids), asked=asked)
        if not isinstance(step, Fit):
            return step
        if before is not None:
            before(step)
        set_checkpointing(model, on=step.checkpointing)
        found = [*_groups(Packing(costs, step.max_tokens), heaviest), Group((longest,))]
        group = max(found, key=lambda group: group.computed)
        peak = ranks.probed(partial(step_bytes, model, group, pad_token_id, half))
        tried.append(Tried(step, peak))


def set_checkpointing(model: Any, *, on: bool) -> None:
    """Whether the activations of a PEFT model's layers are computed again in the backward pass instead of kept."""
    base = model.get_base_model()
    # transformers renamed both in 5.x
    if on:
        enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    elif getattr(base, "is_activation_checkpointing", getattr(base, "is_gradient_checkpointing", False)):
        disable = getattr(base, "activation_checkpointing_disable", None) or base.gradient_checkpointing_disable
        disable()


def step_bytes(model: Any, group: Group, pad_token_id: int, half: torch.dtype | None) -> int | None:
    """Peak of the GPU, or of this process, at a forward and backward pass in training mode, and the optimiser's state on top.

    Returns:
        Bytes; None where the GPU has no room for it.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    device = trained[0].device
    was_training = model.training
    model.train()
    _reset_peak(device)
    try:
        with torch.random.fork_rng():
            inputs = {name: tensor.to(device) for name, tensor in group_tensors(group, pad_token_id).items()}
            with contextlib.nullcontext() if half is None else torch.autocast(device.type, half):
                total, weight = weighted_loss(model, inputs, keeps=keeps_logits(model))
            (total / weight).backward()  # type: ignore[no-untyped-call]
        moments: int = _ADAM_BYTES * sum(weight.numel() for weight in trained)
        return _peak(device) + moments
    except torch.OutOfMemoryError:
        return None
    finally:
        model.zero_grad(set_to_none=True)
        model.train(was_training)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def limit_bytes(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo"), *, sharing: int = 1) -> int | None:
    """Bytes that this process may take: of the GPU, or the least of its pod's limit and what the node has free beside it.

    Args:
        cgroup: the control group's folder.
        meminfo: the kernel's account.
        sharing: processes of the training on this machine: what is free is there for all of them.
    """
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved()
    limits = [_stated(cgroup / "memory.max"), _stated(cgroup / "memory" / "memory.limit_in_bytes")]
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        limits.append(1024 * int(lines["MemAvailable"].split()[0]) // sharing + _of_status("VmRSS"))
    return min((limit for limit in limits if limit is not None), default=None)


def memory_bytes(*, sharing: int = 1) -> int | None:
    """Bytes that a process can hold at most: all of the GPU, or as `limit_bytes`."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return limit_bytes(sharing=sharing)


@dataclass(frozen=True, slots=True)
class Record:
    """What a run is trained with, or was trying when it was written.

    Attributes:
        strategy: whether each of several processes holds all of the base, or a share of it.
        ran_out: memory was short of more than this: it is taken without another try.
    """

    taken: Taken
    method: str
    attempt: int
    strategy: str = DDP
    ran_out: bool = False

    def write(self, folder: Path) -> None:
        """Keep it: a resumed run goes on with it, and so to the same sums."""
        fit = self.taken.fit
        content = {
            "maxTokens": fit.max_tokens, "checkpointing": fit.checkpointing, "method": self.method, "reason": self.taken.reason,
            "attempt": self.attempt, "strategy": self.strategy, "ranOut": self.ran_out,
        }  # fmt: skip
        write_atomic(folder / RECORD, json.dumps(content))

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """None where there is no readable one."""
        try:
            found: Mapping[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            fit = Fit(int(found["maxTokens"]), bool(found["checkpointing"]))
            taken, attempt = Taken(fit, str(found["reason"])), int(found.get("attempt", 0))
            strategy, ran_out = str(found.get("strategy", DDP)), bool(found.get("ranOut", False))
            return cls(taken, str(found["method"]), attempt, strategy, ran_out)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _groups(packing: Packing, passes: Sequence[Sequence[TokenizedSample]]) -> list[Group]:
    return [group for one in passes for group in packing.arrange(one)]


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark of the resident set


def _peak(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated()) if device.type == "cuda" else _of_status("VmHWM")


def _of_status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0


def _stated(file: Path) -> int | None:
    """The limit in a file of a control group; None where there is none."""
    try:
        value = int(file.read_text())
    except (OSError, ValueError):
        return None
    return value if value < 1 << 60 else None
