"""What the base says of the evaluation rows without its adapter: by this alone can trainings on other rows be compared."""

import math
from typing import Any

import torch

from tradewind.training.loss import keeps_logits, weighted_loss


def base_loss(trainer: Any) -> float | None:
    """Weighted mean loss per supervised token of the trainer's evaluation set, in nats, with the adapter switched off.

    One pass over rows that have been evaluated before; weights, gradients and the generators of chance stay as they are.
    None: there is nothing to evaluate, or the base's loss is no finite number.

    Args:
        trainer: an AdapterTrainer, at its end.
    """
    model = trainer.model
    keeps = keeps_logits(model)
    total = weight = 0.0
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), model.disable_adapter():
            for index in range(len(trainer.evaluation)):
                inputs = trainer._prepare_inputs(trainer.data_collator([trainer.evaluation[index]]))
                for group in inputs["groups"]:
                    with trainer.compute_loss_context_manager():
                        part, part_weight = weighted_loss(model, group, keeps=keeps)
                    total += part.item()
                    weight += part_weight.item()
    finally:
        model.train(was_training)
    loss = total / weight if weight > 0 else math.nan
    return loss if math.isfinite(loss) else None
