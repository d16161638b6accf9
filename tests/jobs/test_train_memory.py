"""A training that runs out of memory in spite of its plan goes on from its checkpoint with less, until nothing is left to give up."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tiny_base import make_base, make_dataset
from tradewind.training.config import TrainConfig
from tradewind.training.outcome import JobError
from tradewind.training.trainer import AdapterTrainer

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec = importlib.util.spec_from_file_location("train_job", Path(__file__).parents[2] / "jobs" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    base = make_base(tmp_path / "base")
    asked: dict[str, Any] = {
        "run": "run", "base": str(base), "dataset": str(tmp_path / "data"), "output": str(tmp_path / "out"),
        "datasetSha256": make_dataset(tmp_path / "data"), "lora": {"rank": 4, "alpha": 8},
        "hyperparameters": {
            "epochs": "1", "learningRate": "0.02", "batchSize": 4, "gradientAccumulation": 1, "warmupSteps": 2,
            "evalEverySteps": 4, "saveEverySteps": 1, "extra": {"threads": "1"},
        },
    }  # fmt: skip
    return TrainConfig.model_validate(asked)


def run_out(monkeypatch: pytest.MonkeyPatch, times: int) -> list[tuple[int, int, bool]]:
    """Steps end for want of memory so many times, the first one after two steps; what each was made with: step, groups, whether
    activations are computed again."""
    seen: list[tuple[int, int, bool]] = []
    real = AdapterTrainer.training_step

    def step(self: AdapterTrainer, model: Any, inputs: Any, items: Any = None) -> torch.Tensor:
        again = model.get_base_model().is_activation_checkpointing
        seen.append((self.state.global_step, len(inputs["groups"]), again))
        if self.state.global_step >= 2 and sum(number == 2 for number, *_ in seen) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, model, inputs, items)

    monkeypatch.setattr(AdapterTrainer, "training_step", step)
    return seen


def test_it_goes_on_from_its_checkpoint_with_fewer_tokens_at_once(job, config, monkeypatch) -> None:
    seen = run_out(monkeypatch, times=1)
    result = job.train(config)
    assert [number for number, *_ in seen] == [0, 1, 2, 2, 3, 4, 5]
    before, after = seen[2][1], seen[3][1]
    assert after > before, "the same samples in more groups"
    assert "then ran out of memory" in result["plan"]["reason"]
    assert result["resumedFrom"] == 2
    assert result["steps"] == 6


def test_where_nothing_is_left_to_give_up_it_says_so(job, config, monkeypatch) -> None:
    seen = run_out(monkeypatch, times=99)
    with pytest.raises(JobError) as caught:
        job.train(config)
    assert caught.value.code == 68
    assert seen[-1][1:] == (4, True), "each sample alone, activations computed again"
    assert "request more memory" in caught.value.message


def test_a_plan_that_was_begun_is_gone_on_with(job, config, monkeypatch) -> None:
    """What memory says at the second attempt changes nothing: the sums would be others."""
    run_out(monkeypatch, times=99)
    with pytest.raises(JobError):
        job.train(config)
    plan = json.loads((config.output / "plan.json").read_text())
    monkeypatch.undo()
    result = job.train(config)
    assert json.loads((config.output / "plan.json").read_text()) == plan
    assert result["resumedFrom"] == 2


@pytest.mark.parametrize("step", [0, 2], ids=["while it measures", "in the middle of the training"])
def test_an_attempt_after_a_kill_for_memory_takes_less(job, config, monkeypatch, step: int) -> None:
    """The kernel gives no error to catch: all that is left of the attempt is what it wrote before."""

    class KilledError(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> Any:
        raise KilledError

    real = AdapterTrainer.training_step

    def training_step(self: AdapterTrainer, *arguments: Any) -> torch.Tensor:
        return kill() if self.state.global_step == step else real(self, *arguments)

    with monkeypatch.context() as patch:
        if step:
            patch.setattr(AdapterTrainer, "training_step", training_step)
        else:
            patch.setattr("tradewind.training.memory.step_bytes", kill)
        with pytest.raises(KilledError):
            job.train(config)
    killed = json.loads((config.output / "plan.json").read_text())
    result = job.train(config.model_copy(update={"attempt": 2, "after_out_of_memory": True}))
    taken = json.loads((config.output / "plan.json").read_text())
    assert (taken["maxTokens"], taken["checkpointing"]) != (killed["maxTokens"], killed["checkpointing"])
    assert f"{killed['maxTokens']} at once" in result["plan"]["reason"]
    assert "did not fit" in result["plan"]["reason"]
    assert result["resumedFrom"] == (step or None)
