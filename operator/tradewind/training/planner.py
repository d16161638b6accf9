"""How a training fits into memory: what is tried, and what is taken of it. Pure; the measuring is in memory.py.

Belongs here: the order of what is given up, from what costs least: samples of a pass computed at once, then kept activations, then the
precision of the frozen weights. Does not belong here: which samples an optimiser step has, which nothing of this changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Literal

SHARE: Final = 0.9  # of the limit; what is measured at one step is not the most that ever is
ENOUGH_TOKENS: Final = 1024  # at once: a processor is not faster with more of them
_WEIGHTS_SHARE: Final = 0.7  # of what a process has; the rest is for activations

Asked = Literal["auto", "true", "false"]
DDP: Final = "ddp"
FSDP: Final = "fsdp"


@dataclass(frozen=True, slots=True)
class Fit:
    """What one step takes: tokens that go through the model at once at most, and whether activations are computed again."""

    max_tokens: int
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class Tried:
    """A fit at which a step was made; `peak_bytes` of the process or the GPU, None where there was no room for it."""

    fit: Fit
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    """The fit that is trained with, and why."""

    fit: Fit
    reason: str


def next_fit(
    tried: Sequence[Tried], *, limit: int | None, largest: int, longest: int, asked: Asked
) -> Fit | Taken | None:
    """What is tried next, or what is taken; None: nothing fits.

    Args:
        tried: so far, in order.
        limit: bytes that there are; None: nobody says, and what was possible fits.
        largest: tokens of the largest group of samples that would be computed at once.
        longest: tokens of the longest sample: it is not cut.
        asked: `gradient_checkpointing`.
    """
    order = fits(largest, longest, asked)
    if not tried:
        return order[0]
    last = tried[-1]
    if last.peak_bytes is not None and (limit is None or last.peak_bytes <= SHARE * limit):
        return Taken(last.fit, _reason(tried, limit, largest, asked))
    left = order[order.index(last.fit) + 1 :]
    return left[0] if left else None


def fits(largest: int, longest: int, asked: Asked) -> tuple[Fit, ...]:
    """Everything that may be tried, the fastest first."""
    sizes = [largest]
    while sizes[-1] > longest:
        sizes.append(max(longest, sizes[-1] // 2))
    first = asked == "true"
    wide = list(takewhile(lambda size: size >= ENOUGH_TOKENS, sizes)) or sizes[:1]
    if asked != "auto":
        return tuple(Fit(size, first) for size in sizes)
    return (*(Fit(size, False) for size in wide), *(Fit(size, True) for size in sizes))


def smaller(fit: Fit, *, longest: int, asked: Asked) -> Fit | None:
    """What is tried after a training ran out of memory in spite of all; None: there is nothing left."""
    if fit.max_tokens > longest:
        return Fit(max(longest, fit.max_tokens // 2), fit.checkpointing)
    return Fit(fit.max_tokens, True) if asked == "auto" and not fit.checkpointing else None


def needs_quantisation(parameters: int, gpu_bytes: int) -> bool:
    """Whether weights of two bytes leave a GPU no room for activations."""
    return _leaves_no_room(2 * parameters, gpu_bytes)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How several processes hold the base: ddp, each all of it, or fsdp, each a share. `why` is for people."""

    name: Literal["ddp", "fsdp"]
    why: str


def choose_strategy(
    asked: Literal["auto", "ddp", "fsdp"],
    *,
    nodes: int,
    quantised: bool,
    weight_bytes: int,
    limit: int | None,
    before: str | None = None,
    lack: str = "",
) -> Strategy:
    """The strategy of a training.

    Args:
        asked: for what.
        nodes: processes.
        quantised: whether the base is held in four bits (QLoRA), which is not shared out.
        weight_bytes: of the base, as it is held.
        limit: bytes that a process may take, the least of all of them; None: nobody says.
        lack: why nothing can be shared out, whatever memory says; empty: it can.
        before: of an earlier attempt. One that shared the base out is gone on with: memory may say otherwise a moment later.
    """
    if nodes == 1 or quantised:
        return Strategy(DDP, "")
    if asked == FSDP:
        return Strategy(FSDP, "and a share of the base, as asked")
    if asked == "auto" and before == FSDP and not lack:
        return Strategy(FSDP, "and a share of the base, as in the attempt before")
    if asked == DDP or limit is None or not _leaves_no_room(weight_bytes, limit):
        return Strategy(DDP, "and all of the base")
    if lack:
        return Strategy(DDP, f"and all of the base, since {lack}")
    return Strategy(
        FSDP, f"and a share of the base: {gigabytes(weight_bytes)} of weights leave no room in {gigabytes(limit)}"
    )


def _leaves_no_room(weight_bytes: int, limit: int) -> bool:
    return weight_bytes > _WEIGHTS_SHARE * limit


def plan_words(reason: str, attention: str, layers: str, share: float, *further: str) -> str:
    """Why it is trained as it is, on which layers, how much of the model that is, and what was found out before."""
    eager = "; eager attention: the model has no sdpa" if attention == "eager" else ""
    return f"{reason}{eager}; adapter on {layers}: {100 * share:.3g} % of the weights; {'; '.join(further)}"


def gigabytes(count: int) -> str:
    """For people."""
    return f"{count / 2**30:.3g} GiB"


def _reason(tried: Sequence[Tried], limit: int | None, largest: int, asked: Asked) -> str:
    last = tried[-1]
    assert last.peak_bytes is not None
    room = "" if limit is None else f" of {gigabytes(limit)}"
    words = [f"a step of {last.fit.max_tokens} tokens at once takes {gigabytes(last.peak_bytes)}{room}"]
    if last.fit.checkpointing:
        words.append("activations are computed again" + (", as asked" if asked == "true" else ""))
    if len(tried) > 1:
        first = tried[0]
        peak = "did not fit" if first.peak_bytes is None else f"took {gigabytes(first.peak_bytes)}"
        kept = " with all activations kept" if last.fit.checkpointing and not first.fit.checkpointing else ""
        words.append(f"{largest} at once{kept} {peak}")
    return ", ".join(words)
