"""What is done before the server is ready is not done while somebody waits."""

import pytest
from tiny_llama import Served

from tradewind.predictor.failure import StartError
from tradewind.predictor.loader import SAMPLE_INPUTS, load
from tradewind.predictor.protocol import Instance
from tradewind.predictor.server import build, warm_up
from tradewind.predictor.settings import Settings, parse_settings

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # peft's name for it is an old one


def settings(served: Served, *more: str) -> Settings:
    return parse_settings(
        ["--model-name", "v1", "--base", str(served.base), "--adapter", str(served.adapter), "--sha256", served.sha256, *more]
    )  # fmt: skip


def test_the_first_question_about_a_symbol_waits_for_nothing(served: Served) -> None:
    given = settings(served, "--symbol", "ETH", "--symbol=600519.SH")
    assert given.symbols == ("ETH", "600519.SH")
    model = build(given, load(given))
    warm_up(model, "float32", given.symbols)
    cut = model._grammar._pieces.cache_info().misses
    for symbol in given.symbols:
        model.decide([Instance(**shown.model_dump(), symbols=(symbol,)) for shown in SAMPLE_INPUTS])
    assert model._grammar._pieces.cache_info().misses == cut
    model.decide([Instance(**SAMPLE_INPUTS[0].model_dump(), symbols=("SOL",))])
    assert model._grammar._pieces.cache_info().misses == cut + 1


@pytest.mark.parametrize("symbol", ["", " BTC", "B\nTC", "x" * 300])
def test_what_is_no_symbol_is_named(served: Served, symbol: str) -> None:
    with pytest.raises(StartError, match="--symbol") as refused:
        settings(served, "--symbol", symbol)
    assert refused.value.code == 64
