"""Tokenizers give every text back, and a model in a folder is what transformers reads."""

from pathlib import Path

import pytest

from workshop.samples import random_texts
from workshop.tiny_llama import FAMILIES, Shape, make_llama, train_tokenizer, write

TEXTS = random_texts(20)


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_comes_back(family: str, begin: bool) -> None:
    tokenizer = train_tokenizer(TEXTS, FAMILIES[family], vocabulary=600, begin=begin)
    assert len(tokenizer) <= 600
    for text in (*TEXTS[:4], "Zürich\t日本 <|no special|>"):
        ids = tokenizer.encode(text)
        assert (ids[0] == tokenizer.bos_token_id) is begin
        assert tokenizer.decode(ids[begin:]) == text


def test_without_texts_a_byte_is_a_token() -> None:
    tokenizer = train_tokenizer([])
    assert len(tokenizer.encode("a b日")) == 6


def test_a_model_in_a_folder_is_read_again(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = train_tokenizer(TEXTS, vocabulary=300)
    model = make_llama(tokenizer, Shape(), seed=3)
    write(tmp_path, model, tokenizer)
    read, tokens = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert read.state_dict().keys() == model.state_dict().keys()
    assert all(bool((read.state_dict()[name] == value).all()) for name, value in model.state_dict().items())
    assert tokens.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])
    assert (tokens.eos_token_id, read.config.eos_token_id) == (tokenizer.eos_token_id, tokenizer.eos_token_id)
