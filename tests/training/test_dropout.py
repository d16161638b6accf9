import pytest
import torch
from architectures import adapted
from torch import nn

from tradewind.training.dropout import QuarterDropout, quicken_dropout

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning"),
]


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_a_share_of_the_elements_is_dropped_and_the_others_make_up_for_it(p: float) -> None:
    torch.manual_seed(3)
    given = torch.ones(1001, 333, requires_grad=True)
    dropped = QuarterDropout(p)(given)
    share = float((dropped.detach() == 0).double().mean())
    assert share == pytest.approx(p, abs=5 * (p * (1 - p) / given.numel()) ** 0.5 + 1 / 65536)
    (value,) = dropped.detach()[dropped.detach() != 0].unique()
    assert float(value) == pytest.approx(1 / (1 - p), rel=2e-4)
    dropped.sum().backward()
    assert given.grad is not None
    assert torch.equal(given.grad, dropped.detach()), "the gradient goes where the value went"


def test_neighbours_are_dropped_independently() -> None:
    """Four of them are drawn as one number."""
    torch.manual_seed(4)
    kept = (QuarterDropout(0.5)(torch.ones(400_000)) != 0).double().view(-1, 4)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / 100_000**0.5


def test_the_generator_is_torchs_and_nothing_is_drawn_where_nothing_is_dropped() -> None:
    given, drop = torch.ones(100, 7), QuarterDropout(0.3)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = drop(given)
    torch.set_rng_state(state)
    assert torch.equal(drop(given), first)
    for quiet in (QuarterDropout(0.0), QuarterDropout(0.3).eval()):
        state = torch.get_rng_state()
        assert torch.equal(quiet(given), given)
        assert torch.equal(torch.get_rng_state(), state)


def test_the_adapters_dropout_is_exchanged_and_the_bases_is_not() -> None:
    model, _ = adapted("GPT-2", dropout=0.25)
    of_base = [module for module in model.modules() if type(module) is nn.Dropout and module.p == 0.1]
    quicken_dropout(model)
    assert sum(isinstance(module, QuarterDropout) and module.p == 0.25 for module in model.modules()) == 4
    assert [module for module in model.modules() if type(module) is nn.Dropout] == of_base
