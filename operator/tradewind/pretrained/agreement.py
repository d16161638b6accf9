"""Whether two models answer alike: log-probabilities on one prompt, as far as rounding lets them be the same.

Belongs here: the comparison and its tolerances. Does not belong here: which models, and what follows.
"""

from typing import Any, Final

import torch

TOLERANCE: Final = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}
"""Largest difference of a log-probability that rounding the sum of base and adapter to the base's numbers may make, by their type."""
_TOLD: Final = 0.01


def tolerance(kind: torch.dtype) -> float:
    """The largest difference that is rounding, of models in numbers of a type."""
    return TOLERANCE.get(kind, TOLERANCE[torch.bfloat16])


def log_probabilities(model: Any, probe: list[int]) -> torch.Tensor:
    """Log-probabilities [tokens, vocabulary] of a model on a probe, on the CPU."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([probe], device=model.device), use_cache=False).logits[0]
        likely: torch.Tensor = logits.float().log_softmax(-1).cpu()
    return likely


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The largest one among the likeliest token of each place and all of 1 % or more, in either; nan where one is not finite."""
    if expected.shape != found.shape or not bool(expected.isfinite().all() and found.isfinite().all()):
        return float("nan")
    likelier = torch.maximum(expected, found)
    told = likelier >= torch.log(torch.tensor(_TOLD))
    for each in (expected, found):
        told.scatter_(1, each.argmax(dim=1, keepdim=True), value=True)
    return float((expected - found).abs()[told].max())
