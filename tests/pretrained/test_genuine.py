"""Genuine vocabularies train on the tokens that they are served with, and write decisions piece by piece."""

from pathlib import Path

import pytest
from genuine import GENUINE

from tradewind.predictor.grammar import Grammar
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.loader import load_tokenizer as load_served
from tradewind.pretrained.tokens import prompt_fault
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import hold, render_completion, render_prompt
from tradewind.training.files import Example
from tradewind.training.preflight import tokenize
from tradewind.training.tokenizer import load_tokenizer

NOTES = ("plain", "<|end▁of▁sentence|> </s> <|im_end|> <s>", "Zu\u0308rich", "  two  spaces 跌破支撑位")


@pytest.mark.parametrize("name", GENUINE)
def test_a_genuine_vocabulary_is_trained_as_it_is_served(name: str, tmp_path: Path) -> None:
    GENUINE[name](tmp_path)
    trained, served = load_tokenizer(tmp_path), load_served([tmp_path])
    answer = render_completion(hold("BTC"))
    for note in NOTES:
        text = render_prompt(DecisionInput(market_data={"note": note, "price": 65432.1}, account_state={}), "BTC")
        ids = encode_prompt(served, text)
        begin = [] if served.bos_token_id is None or ids[0] != served.bos_token_id else [served.bos_token_id]
        assert [i for i in ids if i in served.all_special_ids] == begin, note
        if prompt_fault(trained, text, ids) is not None:
            assert "▁" in note, "SentencePiece alone makes a space of it"
            continue
        (made,) = tokenize([Example(text, answer, 1.0)], trained, max_length=4096, max_too_long_share=0.0).samples
        assert list(made.input_ids[: made.prompt_length]) == ids
    assert Grammar(completion_tokeniser(served)).plan("EURUSD", None).longest < 80
    assert len(static_beginning(served)) > 40
