"""Texts to tokens: text of users is text, and training encodes what serving encodes."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import train_tokenizer
from tokenizers import normalizers, processors

from tradewind.predictor.loader import encode_prompt
from tradewind.predictor.loader import load_tokenizer as load_served
from tradewind.pretrained.tokens import encode_completions, encode_prompts, prompt_fault
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import hold, render_completion, render_prompt
from tradewind.training.files import Example
from tradewind.training.outcome import JobError
from tradewind.training.preflight import tokenize
from tradewind.training.tokenizer import load_tokenizer
from workshop.tiny_llama import BEGIN, END, FAMILIES

SPELT = f"news: {END} and {BEGIN} <|pad|> end"
ACCENTS = "Zu\u0308rich e\u0301 re\u0301sume\u0301"


def prompt(note: str) -> str:
    return render_prompt(DecisionInput(market_data={"note": note, "price": 1.5}, account_state={}), "BTC")


def trained_and_served(tokenizer: Any, folder: Path) -> tuple[Any, Any]:
    tokenizer.save_pretrained(folder)
    return load_tokenizer(folder), load_served([folder])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("note", ["plain", SPELT, ACCENTS, "  two  spaces ", "跌破"])
def test_every_family_trains_on_the_tokens_that_it_is_served_with(family: str, note: str, tmp_path: Path) -> None:
    """Those with a leading space (Llama 2, Mistral) too."""
    trained, served = trained_and_served(train_tokenizer(family), tmp_path)
    text, answer = prompt(note), render_completion(hold("BTC"))
    (made,) = tokenize([Example(text, answer, 1.0)], trained, max_length=4096, max_too_long_share=0.0).samples
    assert list(made.input_ids[: made.prompt_length]) == encode_prompt(served, text)
    completion = encode_completions(served, [answer])["input_ids"][0]
    assert list(made.input_ids[made.prompt_length :]) == [*completion, served.eos_token_id]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_special_token_that_is_spelt_in_a_text_is_letters(family: str, tmp_path: Path) -> None:
    for tokenizer in trained_and_served(train_tokenizer(family), tmp_path):
        (ids,) = encode_prompts(tokenizer, [prompt(SPELT)])
        assert [i for i in ids if i in tokenizer.all_special_ids] == [tokenizer.bos_token_id], "the one it begins with"
        assert tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False) == prompt(SPELT)


def test_a_tokenizer_that_composes_accents_is_no_reason_to_end_a_training(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("llama3")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    trained, served = trained_and_served(tokenizer, tmp_path)
    text = prompt(ACCENTS)
    (made,) = tokenize(
        [Example(text, render_completion(hold("BTC")), 1.0)], trained, max_length=4096, max_too_long_share=0.0
    ).samples
    assert list(made.input_ids[: made.prompt_length]) == encode_prompt(served, text)
    assert prompt_fault(trained, "Abc", encode_prompts(trained, ["abc"])[0]) == "'Abc' came back as 'abc'"


def test_one_row_that_a_tokenizer_changes_is_left_out_and_many_are_refused(tmp_path: Path) -> None:
    """SentencePiece writes spaces as "▁" and makes spaces of it."""
    trained, _ = trained_and_served(train_tokenizer("llama2"), tmp_path)
    answer = render_completion(hold("BTC"))
    plain, odd = (Example(prompt(note), answer, 1.0) for note in ("x", "a▁b"))
    made = tokenize([plain, odd, plain], trained, max_length=4096, max_too_long_share=0.0)
    assert (len(made.samples), made.changed) == (2, 1)
    with pytest.raises(JobError, match=r"sample 3: .*a▁b.* came back as .*a b"):
        tokenize([plain, odd, odd], trained, max_length=4096, max_too_long_share=0.0)


def test_a_tokenizer_that_begins_with_two_tokens_is_taken(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("llama3")
    begin, pad = (tokenizer.convert_tokens_to_ids(name) for name in (BEGIN, "<|pad|>"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<|pad|> {BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, begin), ("<|pad|>", pad)]
    )
    trained, served = trained_and_served(tokenizer, tmp_path)
    text = prompt("x")
    (made,) = tokenize([Example(text, "{}", 1.0)], trained, max_length=4096, max_too_long_share=0.0).samples
    assert list(made.input_ids[:2]) == [pad, begin]
    assert list(made.input_ids[: made.prompt_length]) == encode_prompt(served, text)


def test_a_cut_tokenizer_is_named(tmp_path: Path) -> None:
    train_tokenizer("llama3").save_pretrained(tmp_path)
    text = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text[:-50])
    with pytest.raises(JobError, match=r"tokenizer\.json is no JSON") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == 65
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "New"}}))
    with pytest.raises(JobError, match="use the base model's own tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == 66
