"""Whether rows that share a pass of a model are answered as they are alone; asked once, at load.

A model that attends otherwise than most is found out here, and answered one row at a time. Belongs here: the probe and what follows.
Does not belong here: how rows share a pass (packing.py).
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch

from tradewind.predictor.passes import Passes
from tradewind.predictor.row import Draft, Row, Tree, Want
from tradewind.pretrained.agreement import differences, tolerance

_AT_MOST: Final = 10
"""Times the tolerance on average that a single log-probability may be off."""
_logger = logging.getLogger(__name__)


def share_if_alike(model: Any, passes: Passes, probes: Sequence[Sequence[int]]) -> None:
    """Let rows share passes where that changes nothing but rounding, and say so where it would.

    Args:
        model: that makes the passes.
        passes: the ones to decide about.
        probes: the tokens of prompts of several lengths.
    """
    with torch.inference_mode():
        alone = [_scores(passes, [probe]) for probe in probes]
        expected = torch.cat([torch.cat(step) for step in zip(*alone, strict=True)])
        if not bool(expected.isfinite().all()):
            return  # the warm-up says what is wrong with such a model
        said = []
        for passes.whole in (False, True):
            fault = _difference(model, passes, probes, expected)
            if not fault:
                return
            said.append(fault)
    passes.packs = False
    _logger.warning("answers do not share passes, since this model answers otherwise then: %s", "; ".join(said))


def _difference(model: Any, passes: Passes, probes: Sequence[Sequence[int]], expected: torch.Tensor) -> str:
    """How probes that share passes are answered otherwise; empty where rounding explains it."""
    try:
        found = torch.cat(_scores(passes, probes))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    mean, apart = differences(expected, found)
    most = tolerance(model.dtype)
    if mean <= most and apart <= _AT_MOST * most:
        return ""
    return f"log-probabilities differ by {mean:.3g} on average and {apart:.3g} at most"


def _scores(passes: Passes, probes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Log-probabilities of two passes over some prompts, [prompts * 4, vocabulary] and [prompts * 2, vocabulary]: a prompt with a
    small tree and a draft, then what an answer goes on with.
    """
    rows = [passes.row(probe) for probe in probes]
    first = passes.run([_with_tree(row, probe) for row, probe in zip(rows, probes, strict=True)])
    for row, probe in zip(rows, probes, strict=True):
        row.waiting.extend(probe[:2])
    second = passes.run([Want(row, draft=Draft(probe[2:3], (1,))) for row, probe in zip(rows, probes, strict=True)])
    steps = []
    for scores in (first, second):
        assert all(each is not None for each in scores), "probes are short"
        steps.append(torch.cat([each for each in scores if each is not None]).float().log_softmax(-1).cpu())
    return steps


def _with_tree(row: Row, probe: Sequence[int]) -> Want:
    return Want(row, Tree((0, 1), probe[:2], ((0,), (1, 0)), (0, 1)), Draft(probe[2:3], (1,)))
