"""Shared prefixes on the architectures that people mount: exact to rounding, or found out before the training and left alone."""

import pytest
import torch
from architectures import CONFIGS, TOKENS, adapted, make_model, samples

from tradewind.training.collator import group_tensors
from tradewind.training.loss import weighted_loss
from tradewind.training.packing import Group, Packing
from tradewind.training.sharing import choose_sharing, costs_of, deviation, shared_prefix

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),  # peft's name for it is an old one
    pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning"),  # peft sets it right for GPT-2
]
NOT_SHARED = {
    "Mistral, window": "Mistral",  # by what it is asked at 64 tokens and more
    "Gemma 2": "eager",
    "Gemma 2, whole attention": "eager",
    "Gemma 3": "gradient differs",
    "GPT-OSS": "eager",
    "Falcon": "RuntimeError",
    "BLOOM": "eager",
    "MPT": "eager",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_prefixes_are_shared_where_loss_and_gradient_stay_those_of_each_sample_alone(name: str) -> None:
    model, costs = adapted(name)
    sharing = choose_sharing(model, costs, samples(), 0, asked=True, half=None)
    if name in NOT_SHARED:
        assert sharing.costs is None
        assert sharing.reason.startswith("nothing shared")
        assert model.config._attn_implementation in ("sdpa", "eager"), "as it was"
        return
    assert sharing.costs == costs
    made = samples(seed=2)
    group = Group(tuple(made), shared_prefix(made))
    assert group.prefix == 40
    found = deviation(model, group, 0)
    assert found.shared < 5e-6
    assert found.padded < 5e-6


def test_what_is_shared_is_what_it_says_and_never_another_sample() -> None:
    """The logits of a sample, beside others and alone."""
    model, costs = adapted("Qwen3")
    choose_sharing(model, costs, samples(), 0, asked=True, half=None)
    made = samples(seed=3)
    inputs = group_tensors(Group(tuple(made), 40), 0)
    with torch.no_grad():
        together = model(
            input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], attention_mask=inputs["attention_mask"]
        ).logits[inputs["keep"]]
        alone = torch.cat([
            model(input_ids=torch.tensor([s.input_ids])).logits[0, s.prompt_length - 1 : -1] for s in made
        ])  # fmt: skip
    assert torch.allclose(together, alone, atol=2e-5)


def test_a_window_that_binds_at_the_longest_sample_is_found_out() -> None:
    model, costs = adapted("Mistral, window")
    short = [s for s in samples(static=15) if len(s.input_ids) <= 64]
    assert choose_sharing(model, costs, short, 0, asked=True, half=None).costs == costs
    model, costs = adapted("Mistral, window")
    found = choose_sharing(model, costs, samples(), 0, asked=True, half=None)
    assert found.costs is None
    assert "does not compute shared prefixes exactly" in found.reason


def test_the_probe_leaves_no_trace() -> None:
    model, costs = adapted("Llama", dropout=0.5)
    model.train()
    state = torch.get_rng_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert choose_sharing(model, costs, samples(), 0, asked=True, half=None).costs == costs
    assert torch.equal(torch.get_rng_state(), state), "a resumed run draws what an undisturbed one draws"
    assert model.training
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_is_tried_where_it_is_not_asked_for_or_nothing_is_common() -> None:
    model, costs = adapted("Llama")
    assert "packing is false" in choose_sharing(model, costs, samples(), 0, asked=False, half=None).reason
    assert "begin differently" in choose_sharing(model, costs, samples(static=0), 0, asked=True, half=None).reason
    assert "begin differently" in choose_sharing(model, costs, samples()[:1], 0, asked=True, half=None).reason
    assert model.config._attn_implementation == "sdpa"


def test_costs_count_what_a_token_meets() -> None:
    """Llama: 2 layers of q, k, v, o (32 x 32) and three of 32 x 48; a Mixtral has such experts four times, of which two are met."""
    llama, mixtral = (costs_of(make_model(name, TOKENS)) for name in ("Llama", "Mixtral"))
    assert llama.token == 2 * 2 * (4 * 32 * 32 + 3 * 32 * 48)
    assert mixtral.token == 2 * 2 * (4 * 32 * 32 + 2 * 3 * 32 * 48)
    assert llama.pair == 3.5 * 2 * 2 * 2 * 16


def test_the_loss_of_a_pass_is_the_same_however_it_is_cut() -> None:
    model, costs = adapted("Llama")
    choose_sharing(model, costs, samples(), 0, asked=True, half=None)
    made = samples(seed=5)
    found = []
    for packing in (Packing(), Packing(costs), Packing(costs, max_tokens=250), Packing(None, max_tokens=250)):
        groups = packing.arrange(made)
        with torch.no_grad():
            parts = [weighted_loss(model, group_tensors(group, 0), keeps=True) for group in groups]
        found.append((float(sum(p for p, _ in parts)), float(sum(w for _, w in parts))))
    assert len({round(weight, 4) for _, weight in found}) == 1
    assert [total for total, _ in found] == pytest.approx([found[0][0]] * 4, rel=1e-6)


def test_the_probe_finds_the_same_where_it_computes_activations_again() -> None:
    """As it does on a GPU, where keeping those of three samples would be the largest step of the whole training."""
    model, costs = adapted("Llama", dropout=0.5)
    choose_sharing(model, costs, samples(), 0, asked=True, half=None)
    model.train()
    made = samples(seed=2)
    calls = []
    layer = model.get_base_model().model.layers[1].input_layernorm
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    found = deviation(model, Group(tuple(made), shared_prefix(made)), 0, checkpointing=True)
    hook.remove()
    assert len(calls) == 2 * (len(made) + 2), "each group once forward and once more backward"
    assert found.shared < 5e-6
    assert all(module.training for module in model.modules())
    assert not model.get_base_model().is_activation_checkpointing
