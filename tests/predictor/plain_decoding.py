"""Decoding with no cache, no mask and no shared beginning: what every shortcut is held against."""

from typing import Any

import torch

from tradewind.predictor.grammar import FieldPlan, Plan
from tradewind.predictor.trie import ROOT
from tradewind.trading.decision import Action


def candidates(field: FieldPlan) -> list[tuple[int, ...]]:
    leaves = [field.trie.candidate.index(i) for i in range(len(field.values))]
    return [
        (*field.forced, *(field.trie.token[n] for n in reversed(field.trie.ancestors(leaf, ROOT)))) for leaf in leaves
    ]


def next_logits(model: Any, ids: list[int]) -> torch.Tensor:
    """No cache, no mask, no shared beginning: the model's own forward over the whole row."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


def plain_constrained_greedy(model: Any, prompt: list[int], plan: Plan) -> list[int]:
    """One token a pass, forced or not; the mask admits what begins some candidate of the field."""
    written: list[int] = []
    action: Action | None = None
    fields = [plan.action]
    while fields:
        field = fields.pop(0)
        open_candidates = candidates(field)
        done = 0
        while len(open_candidates) > 1 or done < len(open_candidates[0]):
            logits = next_logits(model, prompt + written)
            mask = torch.full_like(logits, -torch.inf)
            mask[[c[done] for c in open_candidates]] = 0
            written.append(int((logits + mask).argmax()))
            open_candidates = [c for c in open_candidates if c[done] == written[-1]]
            done += 1
        if action is None:
            action = Action(str(field.values[candidates(field).index(open_candidates[0])]))
            fields = list(plan.fields_after(action))
    return written
