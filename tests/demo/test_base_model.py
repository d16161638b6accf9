import json
from pathlib import Path

import pytest

from demo.bars import SYMBOL, account_state, load_bars, market_view
from demo.base_model import MANIFEST, PERCENTS, PIECES, check_round_trip, is_complete, main, synthetic_samples
from tradewind.trading.decision import DecisionInput, TradeDecision
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    INSTRUCTION,
    LEVERAGE_GRID,
    SIZE_GRID_USD,
    render_completion,
    render_prompt,
)  # fmt: skip
from workshop.tiny_llama import train_tokenizer

BARS = load_bars()
TINY = [
    "--steps",
    "2",
    "--batch",
    "2",
    "--hidden",
    "32",
    "--layers",
    "1",
    "--threads",
    "1",
    "--vocab",
    "700",
    "--tokenizer-samples",
    "60",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([prompt + answer for prompt, answer in synthetic_samples(7, 600)], [PIECES], vocabulary=1024)


def real_prompt(index: int) -> str:
    shown = DecisionInput(market_data=market_view(BARS, index), account_state=account_state())
    return render_prompt(shown, SYMBOL)


def answers() -> list[str]:
    base = {"action": "open_long", "symbol": SYMBOL, "size_usd": 100, "leverage": 1, "stop_loss_pct": 0.01,
            "take_profit_pct": 0.02, "confidence": 0.5}  # fmt: skip
    changes: list[dict[str, object]] = [{"action": "hold"}, {"action": "open_short"}, {"action": "close"}]
    grids = {"size_usd": SIZE_GRID_USD, "leverage": LEVERAGE_GRID}
    grids |= {"stop_loss_pct": PERCENTS, "confidence": CONFIDENCE_GRID}
    changes += [{field: number} for field, grid in grids.items() for number in grid]
    return [render_completion(TradeDecision.model_validate(base | change)) for change in changes]


def test_every_prompt_and_answer_comes_back_and_is_cut_alike_apart_and_together(tokenizer) -> None:
    check_round_trip(tokenizer, ((real_prompt(index), answer) for index, answer in enumerate(answers(), 200)))
    odd = 'Zürich {"x":[1e-07,null]}\n\t 日本 <|no special|>'
    assert tokenizer.decode(tokenizer.encode(odd)) == odd


def test_a_tokenizer_that_loses_text_is_refused(tokenizer) -> None:
    class Lossy:
        def encode(self, text: str) -> list[int]:
            return list(tokenizer.encode(text.lower()))

        decode = staticmethod(tokenizer.decode)

    with pytest.raises(ValueError, match="does not survive the round trip"):
        check_round_trip(Lossy(), iter([(real_prompt(200), answers()[0])]))  # type: ignore[arg-type]


def test_prompts_are_short_and_the_instruction_is_a_prefix_of_whole_tokens(tokenizer) -> None:
    instruction, prompt = tokenizer.encode(INSTRUCTION), tokenizer.encode(real_prompt(2000))
    assert prompt[: len(instruction)] == instruction
    assert len(prompt) <= 150
    assert max(len(tokenizer.encode(answer)) for answer in answers()) <= 24


def test_a_value_shares_no_token_with_its_key(tokenizer) -> None:
    pieces = [
        tokenizer.decode([i]) for i in tokenizer.encode('{"action":"open_long","symbol":"EURUSD","size_usd":100}')
    ]
    assert pieces[1] == "open_long"
    assert '","symbol":"' in pieces


def test_the_synthetic_text_holds_no_real_price_and_every_value_of_the_grids() -> None:
    samples = list(synthetic_samples(3, 1500))
    written = [json.loads(answer) for _, answer in samples]
    assert {row["confidence"] for row in written} == set(CONFIDENCE_GRID)
    assert {row[name] for row in written for name in ("stop_loss_pct", "take_profit_pct")} == set(PERCENTS)
    assert 100 in {row["size_usd"] for row in written}
    assert 20 in {row["leverage"] for row in written}
    assert {row["action"] for row in written} == {"open_long", "open_short", "hold"}
    assert real_prompt(2000) not in {prompt for prompt, _ in samples}


def test_the_same_seed_makes_the_same_bytes_and_a_whole_model_is_kept(tmp_path: Path) -> None:
    for name in ("one", "two"):
        main([*TINY, "--output", str(tmp_path / name), "--result", str(tmp_path / f"{name}.json")])
    one, two = (json.loads((tmp_path / name / MANIFEST).read_text()) for name in ("one", "two"))
    assert one == two
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(one["files"])
    main([*TINY, "--output", str(tmp_path / "one"), "--result", str(tmp_path / "again.json")])
    assert json.loads((tmp_path / "again.json").read_text())["reused"] is True


def test_a_harmed_or_different_model_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    main([*TINY, "--output", str(folder), "--result", str(tmp_path / "r.json")])
    key = json.loads((folder / MANIFEST).read_text())["key"]
    assert is_complete(folder, key)
    assert not is_complete(folder, "another key")
    (folder / "config.json").write_text("{}")
    assert not is_complete(folder, key)
    assert not is_complete(tmp_path / "nowhere", key)
