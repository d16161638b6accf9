"""The curve of a training: whole in every report, thinned, and small enough for a status."""

import json
import math

from tradewind.api.training_run_status import CURVE_POINTS, ProgressStatus
from tradewind.training.curve import curve_of


def test_a_point_has_what_was_measured_at_its_step() -> None:
    log = [
        {"loss": 2.0, "learning_rate": 1e-4, "grad_norm": 1.0, "step": 10},
        {"eval_loss": 1.5, "step": 10},
        {"loss": math.nan, "learning_rate": 5e-5, "step": 20},
        {"train_runtime": 3.0, "train_loss": 1.0, "step": 20},
    ]
    assert curve_of(log, step=20, loss=9.0) == [
        {"step": 10, "loss": 2.0, "learningRate": 1e-4, "evalLoss": 1.5},
        {"step": 20, "learningRate": 5e-5},
    ]


def test_a_training_shorter_than_a_line_of_the_log_has_its_step() -> None:
    assert curve_of([{"eval_loss": 1.0, "step": 4}], step=4, loss=1.25) == [{"step": 4, "loss": 1.25, "evalLoss": 1.0}]
    assert curve_of([], step=0, loss=None) == []


def test_a_long_training_fits_a_status_and_keeps_both_ends() -> None:
    log = [{"loss": 1 / n, "learning_rate": 1e-4 / n, "step": 10 * n} for n in range(1, 5001)]
    log += [{"eval_loss": 2 / n, "step": 100 * n + 5} for n in range(1, 500)]
    curve = curve_of(log)
    assert (curve[0]["step"], curve[-1]["step"]) == (10, 50_000)
    assert 150 <= len(curve) <= CURVE_POINTS
    assert len(json.dumps(curve)) < 20_000
    assert len(ProgressStatus.model_validate({"curve": curve}).curve) == len(curve)
