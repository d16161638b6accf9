from pathlib import Path

import pytest
import torch
from architectures import adapted, samples

from tradewind.training.collator import group_tensors
from tradewind.training.loss import weighted_loss
from tradewind.training.memory import Record, choose_fit, limit_bytes, set_checkpointing, step_bytes
from tradewind.training.packing import Group
from tradewind.training.planner import Fit, Taken, Tried, fits, needs_quantisation, next_fit, smaller

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
GIB = 2**30


def taken(needs, *, limit=10 * GIB, largest=8000, longest=700, asked="auto"):
    """What is taken where a step at a fit needs so many bytes, and what was tried on the way."""
    tried: list[Tried] = []
    while True:
        step = next_fit(tried, limit=limit, largest=largest, longest=longest, asked=asked)
        if not isinstance(step, Fit):
            return step, [one.fit for one in tried]
        tried.append(Tried(step, needs(step)))


def model_of(per_token: float, *, kept: float = 4.0):
    """4 GiB of weights, and so many MiB a token, `kept` times as many where activations are kept."""
    return lambda fit: int(4 * GIB + fit.max_tokens * per_token * 2**20 * (1 if fit.checkpointing else kept))


def test_what_fits_is_taken_at_once_without_giving_anything_up() -> None:
    found, tried = taken(model_of(0.1))
    assert tried == [Fit(8000, False)]
    assert isinstance(found, Taken)
    assert found == Taken(Fit(8000, False), "a step of 8000 tokens at once takes 7.12 GiB of 10 GiB")


def test_fewer_tokens_at_once_come_before_computing_activations_again() -> None:
    found, tried = taken(model_of(0.5))
    assert tried == [Fit(8000, False), Fit(4000, False), Fit(2000, False)]
    assert found.fit == Fit(2000, False)
    assert "8000 at once took 19.6 GiB" in found.reason


def test_computing_activations_again_comes_before_steps_too_small_for_the_processor() -> None:
    found, tried = taken(model_of(1.5))
    assert Fit(1000, False) not in tried
    assert found.fit == Fit(2000, True)
    assert "activations are computed again" in found.reason
    assert "with all activations kept took" in found.reason


def test_nothing_fits() -> None:
    found, tried = taken(model_of(20))
    assert found is None
    assert tried[-1] == Fit(700, True)
    assert taken(lambda _: None)[0] is None


def test_what_is_asked_for_is_done() -> None:
    assert taken(model_of(0.1), asked="true")[0].fit == Fit(8000, True)
    assert "as asked" in taken(model_of(0.1), asked="true")[0].reason
    found, tried = taken(model_of(1.5), asked="false")
    assert found.fit == Fit(700, False)
    assert not any(fit.checkpointing for fit in tried)


def test_without_a_limit_what_was_possible_fits() -> None:
    assert taken(model_of(99), limit=None)[0].fit == Fit(8000, False)
    found, _ = taken(lambda fit: None if fit.max_tokens > 4000 else 1, limit=None)
    assert found.fit == Fit(4000, False)
    assert "8000 at once did not fit" in found.reason


def test_every_try_is_smaller_than_the_one_before_and_never_cuts_a_sample() -> None:
    for asked in ("auto", "true", "false"):
        order = fits(9000, 700, asked)
        assert len(set(order)) == len(order)
        assert min(fit.max_tokens for fit in order) == 700
    assert fits(700, 700, "auto") == (Fit(700, False), Fit(700, True))


def test_after_a_training_ran_out_of_memory_it_goes_on_with_less_until_nothing_is_left() -> None:
    fit, seen = Fit(3000, False), []
    while (less := smaller(fit, longest=700, asked="auto")) is not None:
        fit = less
        seen.append(fit)
    assert seen == [Fit(1500, False), Fit(750, False), Fit(700, False), Fit(700, True)]
    assert smaller(Fit(700, False), longest=700, asked="false") is None


def test_weights_that_leave_no_room_are_quantised() -> None:
    assert not needs_quantisation(7 * 10**9, 24 * GIB)
    assert needs_quantisation(14 * 10**9, 24 * GIB)


def test_the_probe_measures_more_for_more_tokens_and_leaves_no_trace() -> None:
    model, _ = adapted("Llama", dropout=0.5)
    made = samples()
    state = torch.get_rng_state()
    few, many = (step_bytes(model, Group(tuple(made * times)), 0, None) for times in (1, 300))
    assert few is not None
    assert many is not None
    assert many > few + 20 * 2**20
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_taken_is_set_on_the_model_and_computes_the_same() -> None:
    model, _ = adapted("Llama")
    made = samples()
    base = model.get_base_model()
    found = choose_fit(model, None, [made], 0, asked="auto", half=None, limit=1)
    assert found is None, "one byte is not enough for anything"
    found = choose_fit(model, None, [made[:4], made], 0, asked="true", half=None, limit=None)
    assert found is not None
    assert found.fit == Fit(Group(tuple(made)).computed, True)
    assert base.is_activation_checkpointing

    def gradients():
        model.train()
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        return torch.autograd.grad(weighted_loss(model, group_tensors(Group(tuple(made)), 0), keeps=True)[0], weights)

    again = gradients()
    set_checkpointing(model, on=False)
    assert not base.is_activation_checkpointing
    for one, other in zip(again, gradients(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1000\n"}, 1000),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "2000\n"}, 2000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_limit_is_the_pods_or_what_the_node_has_free(tmp_path: Path, files, expected) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert limit_bytes(tmp_path, tmp_path / "none") == expected
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 1 kB\n")
    free = limit_bytes(tmp_path, tmp_path / "meminfo")
    assert free is not None
    assert free == expected or (expected is None and free > 1024)


def test_a_resumed_run_goes_by_what_it_began_with(tmp_path: Path) -> None:
    assert Record.read(tmp_path) is None
    kept = Record(Taken(Fit(900, True), "why"), "qlora", 2)
    kept.write(tmp_path)
    assert Record.read(tmp_path) == kept
    (tmp_path / "plan.json").write_text('{"maxTokens": 1')
    assert Record.read(tmp_path) is None


def test_what_it_was_killed_at_is_not_tried_again() -> None:
    model, _ = adapted("Llama")
    made = samples()
    tried: list[Fit] = []

    def chosen(killed_at: Fit | None) -> Fit:
        tried.clear()
        found = choose_fit(
            model, None, [made * 40], 0, asked="auto", half=None, limit=None, killed_at=killed_at, before=tried.append
        )
        assert found is not None
        return found.fit

    first = chosen(None)
    second = chosen(first)
    assert tried == [second]
    assert (second.max_tokens, second.checkpointing) < (first.max_tokens, True)
    assert chosen(Fit(1, False)) == first, "a record of other samples says nothing"
