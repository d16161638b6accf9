"""What a training says of itself while it runs."""

from typing import Any

from tradewind.training.config import TrainConfig
from tradewind.training.curve import curve_of


def progress_of(trainer: Any, config: TrainConfig, message: str) -> dict[str, Any]:
    """What the operator is told of a training after a step; speeds and losses are those of all its processes."""
    step, total = trainer.state.global_step, trainer.state.max_steps
    speed = trainer.meter.steps_per_second
    return {
        "attempt": config.attempt,
        "step": step,
        "totalSteps": total,
        "epoch": round(step / max(total, 1) * float(config.hyperparameters.epochs), 3),
        "percent": round(100 * step / max(total, 1), 1),
        "etaSeconds": round((total - step) / speed) if speed else None,
        "tokensPerSecond": round(trainer.meter.tokens_per_second, 1),
        "loss": trainer.step_loss,
        "evalLoss": trainer.eval_loss,
        "checkpointStep": trainer.saved_step,
        "message": message or None,
        "curve": curve_of(trainer.state.log_history, step=step, loss=trainer.step_loss),
    }
