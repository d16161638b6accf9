import itertools
import random

import pytest

from tradewind.training.packing import Costs, Group, Packing, common_prefix
from tradewind.training.preflight import TokenizedSample

WIDE = Costs(token=1.0, pair=0.0)  # of a model so wide that attention costs nothing beside it


def samples(count: int, *, static: int = 200, own: int = 100, answer: int = 20, seed: int = 1) -> list[TokenizedSample]:
    draw = random.Random(seed)
    beginning = [draw.randrange(2, 999) for _ in range(static)]
    made = []
    for _ in range(count):
        length = own + draw.randrange(own // 5 + 1)
        ids = (*beginning, *(draw.randrange(2, 999) for _ in range(length + answer)))
        made.append(TokenizedSample(ids, static + length, 1.0))
    return made


def computed(groups) -> int:
    return sum(group.computed for group in groups)


@pytest.mark.parametrize(
    "packing", [Packing(), Packing(WIDE), Packing(WIDE, max_tokens=900), Packing(None, max_tokens=900)]
)
@pytest.mark.parametrize("static", [0, 1, 200])
def test_every_sample_is_computed_once_after_what_it_really_begins_with(packing: Packing, static: int) -> None:
    given = samples(11, static=static)
    groups = packing.arrange(given)
    assert sorted(s.input_ids for group in groups for s in group.samples) == sorted(s.input_ids for s in given)
    for group in groups:
        beginnings = {sample.input_ids[: group.prefix] for sample in group.samples}
        assert len(beginnings) == 1
        assert all(group.prefix < sample.prompt_length for sample in group.samples), (
            "each predicts its own first answer token"
        )
        assert packing.max_tokens is None or group.computed <= packing.max_tokens or len(group.samples) == 1
    assert groups == packing.arrange(list(given)), "a function of its arguments alone"


def test_what_all_prompts_begin_with_is_computed_once() -> None:
    given = samples(8)
    (group,) = Packing(WIDE).arrange(given)
    assert group.prefix == 200
    assert group.computed < 0.5 * computed(Packing().arrange(given))


def test_prompts_that_have_more_in_common_than_the_instruction_share_that_too() -> None:
    """Two markets, four accounts each: the market is computed twice, not eight times."""
    draw = random.Random(4)
    made = []
    for market in ([draw.randrange(2, 999) for _ in range(600)] for _ in range(2)):
        beginning = [*range(1000, 1200), *market]
        made += [
            TokenizedSample((*beginning, *(draw.randrange(2, 999) for _ in range(30))), 820, 1.0) for _ in range(4)
        ]
    draw.shuffle(made)
    groups = Packing(WIDE).arrange(made)
    assert [(len(group.samples), group.prefix) for group in groups] == [(4, 800), (4, 800)]


def test_where_attention_costs_more_than_sharing_saves_samples_are_padded() -> None:
    narrow = Costs(token=1.0, pair=1.0)
    given = samples(8, static=20, own=2000)
    assert {group.prefix for group in Packing(narrow).arrange(given)} == {0}
    assert Packing(narrow).arrange(samples(8, static=2000, own=20))[0].prefix == 2000


def test_the_cut_is_the_cheapest_of_all() -> None:
    """Against every way to cut five samples, by the same prices."""
    costs = Costs(token=1.0, pair=0.004)
    draw = random.Random(9)
    for _ in range(40):
        beginning = [draw.randrange(2, 9) for _ in range(draw.randrange(300))]
        given = []
        for _ in range(5):
            ids = (
                *beginning[: draw.randrange(len(beginning) + 1)],
                *(draw.randrange(2, 9) for _ in range(draw.randrange(20, 400))),
            )
            given.append(TokenizedSample(ids, len(ids) - 10, 1.0))
        ordered = sorted(given, key=lambda sample: sample.input_ids)
        least = min(
            sum(price(tuple(ordered[a:b]), costs) for a, b in itertools.pairwise((0, *cut, 5)))
            for size in range(5)
            for cut in itertools.combinations(range(1, 5), size)
        )
        found = sum(price_of(group, costs) for group in Packing(costs).arrange(given))
        assert found == pytest.approx(least)


def price(group: tuple[TokenizedSample, ...], costs: Costs) -> float:
    prefix = min((common_prefix(group[0], group[-1]), *(sample.prompt_length - 1 for sample in group)))
    ways = [Group(group)] if len(group) == 1 else [Group(group), Group(group, prefix)]
    return min(price_of(way, costs) for way in ways)


def price_of(group: Group, costs: Costs) -> float:
    from tradewind.training.packing import CALL_TOKENS

    count = len(group.samples)
    cost = (
        costs.shared(count, group.prefix, group.width - group.prefix)
        if group.prefix
        else costs.padded(count, group.width)
    )
    return cost + CALL_TOKENS * costs.token
