"""How long a prompt may be before it costs the server its life: what memory is left, and what a token takes of it.

Belongs here: reading what is left and dividing. Does not belong here: what is said to whom is over it (model.py).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from tradewind.predictor.passes import CHUNK, LINES
from tradewind.pretrained.cpu import CGROUP

_KEPT_FREE: Final = 0.25
"""Share of what is left that is left alone: allocators keep more than they hand out, and the server has other work."""
_WIDTHS: Final = 12
"""Numbers of a layer's width that a token of one pass takes at a time: hidden states, queries, keys, values, what attention
gives. The inner layer's are counted by its own width."""


def affordable_tokens(model: Any, *, free: int | None = None) -> int:
    """Tokens of prompt and answer that fit into the memory that is left beside the weights; at least 0.

    Args:
        model: loaded, on its device.
        free: bytes that are left; None: what this machine or pod has.
    """
    text = model.config.get_text_config()
    size = model.dtype.itemsize
    layers, heads = int(text.num_hidden_layers), int(text.num_attention_heads)
    width = int(text.hidden_size)
    head = int(getattr(text, "head_dim", None) or width // heads)
    shared = int(getattr(text, "num_key_value_heads", None) or heads)
    kept = 2 * layers * shared * head * size
    grown = 2 * 2 * shared * head * size  # a layer grows by a copy of itself
    mask = CHUNK * (1 + 4)  # a line of booleans for each token of a pass, and the same as numbers
    pairs = CHUNK * CHUNK if model.config._attn_implementation == "eager" else 0  # however long the prompt is
    inner = int(getattr(text, "intermediate_size", None) or 4 * width)
    one_pass = CHUNK * max(size, 4) * (_WIDTHS * max(width, heads * head) + 3 * inner) + 3 * 4 * pairs * heads
    one_pass += LINES * int(text.vocab_size) * (size + 4)  # scores, and the same as numbers of four bytes
    left = _free_bytes(model.device) if free is None else free
    return max(0, int((left * (1 - _KEPT_FREE) - one_pass) / (kept + grown + mask)))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_memory()


def free_memory(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that this process may still take: the least of the pod's limit and what the node has. What is read of files
    counts where it is mapped, as weights are: without it nothing is answered.
    """
    node = _fields(meminfo.read_text()).get("MemAvailable", 0) * 1024
    pod = _pods_bytes(cgroup)
    return node if pod is None else max(0, min(node, pod))


def _pods_bytes(cgroup: Path) -> int | None:
    """Bytes within the limit of version 2 or 1 of control groups; None where there is none."""
    for limit, stat, taken in (
        (cgroup / "memory.max", cgroup / "memory.stat", ("anon", "kernel", "shmem", "file_mapped")),
        (
            cgroup / "memory" / "memory.limit_in_bytes",
            cgroup / "memory" / "memory.stat",
            ("rss", "shmem", "mapped_file"),
        ),
    ):
        try:
            most = int(limit.read_text())
            used = _fields(stat.read_text())
        except (OSError, ValueError):  # "max" is no number
            continue
        return most - sum(used.get(name, 0) for name in taken)
    return None


def _fields(text: str) -> Mapping[str, int]:
    """The first number of each line by its name."""
    pairs = (line.replace(":", " ").split()[:2] for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
