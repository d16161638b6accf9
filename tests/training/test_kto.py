"""The loss against the paper's formula written out in numpy, its gradient against the derivative, and the two sides' weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiny_base import make_base
from tradewind.training.collator import group_tensors, mismatch, plan_training
from tradewind.training.kto import Sides, balanced, baseline, kto_losses, put_back, trained_weights
from tradewind.training.loss import completion_logps
from tradewind.training.packing import Group
from tradewind.training.preflight import TokenizedSample

POLICY = np.array([-12.0, -30.5, -7.25, -18.0])
REFERENCE = np.array([-13.5, -28.0, -7.25, -21.0])
GOOD = np.array([True, False, True, False])
PAIRS, OF_PAIRS = np.array([-41.0, -38.5, -60.0, -52.0]), np.array([-43.0, -39.0, -60.5, -51.0])
SIDES = Sides(beta=0.1, desirable=1.25, undesirable=0.75)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def written_out(policy: np.ndarray) -> np.ndarray:
    """Ethayarajh et al. 2024, equations 7 and 8: lambda_y - v(x, y)."""
    z0 = max(0.0, float(np.mean(PAIRS - OF_PAIRS)))
    r = policy - REFERENCE
    value = np.where(GOOD, 1.25 * sigmoid(0.1 * (r - z0)), 0.75 * sigmoid(0.1 * (z0 - r)))
    return np.where(GOOD, 1.25, 0.75) - value


def test_loss_and_gradient_are_those_of_the_paper() -> None:
    policy = torch.tensor(POLICY, requires_grad=True)
    moved = baseline(torch.tensor(PAIRS), torch.tensor(OF_PAIRS))
    losses = kto_losses(policy, torch.tensor(REFERENCE), moved, torch.tensor(GOOD), SIDES)
    assert losses.detach().numpy() == pytest.approx(written_out(POLICY), rel=1e-12)
    losses.sum().backward()
    assert policy.grad is not None
    for index in range(4):
        step = np.eye(4)[index] * 1e-6
        slope = (written_out(POLICY + step) - written_out(POLICY - step)).sum() / 2e-6
        assert policy.grad[index].item() == pytest.approx(slope, rel=1e-6)
    assert [bool(g < 0) for g in policy.grad] == list(GOOD), "good ones become likelier, bad ones less likely"


def test_the_baseline_is_never_below_0_and_has_no_gradient() -> None:
    policy = torch.tensor(OF_PAIRS, requires_grad=True)
    assert baseline(policy, torch.tensor(PAIRS)).item() == 0
    assert not baseline(policy, torch.tensor(PAIRS)).requires_grad
    assert baseline(torch.zeros(0), torch.zeros(0)).item() == 0


def samples(good: int, bad: int) -> list[TokenizedSample]:
    kinds = [True] * good + [False] * bad
    return [TokenizedSample((1, 2, 10 + n, 9), 2, 1.0, desirable) for n, desirable in enumerate(kinds)]


@pytest.mark.parametrize(
    ("good", "bad", "desirable", "undesirable"),
    [(10, 100, 10, 1), (100, 10, 1, 7.5), (120, 100, 1, 1)],
)
def test_the_rarer_side_is_raised_into_1_to_4_thirds(good, bad, desirable, undesirable) -> None:
    sides = balanced(samples(good, bad), beta=0.1)
    assert (sides.desirable, sides.undesirable) == pytest.approx((desirable, undesirable))
    assert 1 - 1e-9 <= good * sides.desirable / (bad * sides.undesirable) <= 4 / 3 + 1e-9


@pytest.mark.parametrize("stated", [{"desirable": 3.0}, {"undesirable": 3.0}])
def test_a_stated_side_stays_and_the_other_follows(stated: dict[str, float]) -> None:
    sides = balanced(samples(100, 10), beta=0.1, **stated)
    assert {name: getattr(sides, name) for name in stated} == stated
    assert 100 * sides.desirable / (10 * sides.undesirable) == pytest.approx(4 / 3)
    assert balanced(samples(9, 1), beta=0.1, desirable=1.0, undesirable=1.0) == Sides(0.1, 1.0, 1.0)


def test_each_prompt_meets_another_samples_completion() -> None:
    made = [TokenizedSample((1, n, 10 + n, 20 + n), 2, 1.0) for n in range(3)]
    assert [pair.input_ids for pair in mismatch(made)] == [(1, 0, 11, 21), (1, 1, 12, 22), (1, 2, 10, 20)]
    assert mismatch(made[:1]) == ()


def test_sft_plans_only_what_is_imitated() -> None:
    def planned(*, desirable: bool) -> set[int]:
        plan = plan_training(
            samples(5, 3), batch_size=2, accumulation=2, epochs=1, seed=1, max_steps=None, desirable=desirable
        )
        return {index for step in plan for index in step}

    assert planned(desirable=True) == {0, 1, 2, 3, 4}
    assert planned(desirable=False) == set(range(8))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks by the old name
def test_the_reference_is_the_model_as_it_began_and_nothing_of_it_stays(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(make_base(tmp_path / "base"), dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.5))
    began = trained_weights(model)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn_like(weight))
    group = group_tensors(Group(tuple(samples(2, 1))), 0)

    def logps() -> torch.Tensor:
        model.eval()
        with torch.no_grad():
            return completion_logps(model, group, keeps=True)

    trained = logps()
    with model.disable_adapter():
        without = logps()
    with put_back(model, began):
        assert torch.equal(completion_logps(model, group, keeps=True), without)
    assert torch.equal(logps(), trained)
    assert not torch.allclose(trained, without)
    whole = [logps_of_one(model, sample) for sample in samples(2, 1)]
    assert trained.tolist() == pytest.approx(whole, rel=1e-4)


def logps_of_one(model: Any, sample: TokenizedSample) -> float:
    """Token by token, from all logits."""
    with torch.no_grad():
        said = model(torch.tensor([sample.input_ids])).logits[0].log_softmax(-1)
    return sum(float(said[at - 1, sample.input_ids[at]]) for at in range(sample.prompt_length, len(sample.input_ids)))
