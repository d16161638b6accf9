"""Texts to tokens: the one way in which training and serving encode what they are given.

A prompt begins as the tokenizer begins texts; a completion stands alone. Text of users is text: an end token that is spelt in
market data is written in ordinary tokens, or whoever feeds the market decides where a prompt ends.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of prompts, begun as the tokenizer begins texts and never ended: the answer follows."""
    stop = tokenizer.eos_token_id
    encoded: list[list[int]] = tokenizer(list(texts), split_special_tokens=True)["input_ids"]
    return [ids[:-1] if ids and ids[-1] == stop else ids for ids in encoded]


def encode_completions(tokenizer: Any, texts: Sequence[str], *, offsets: bool = False) -> Any:
    """Tokens (`input_ids`) of completions, without special ones; with `offsets` also where each stands (`offset_mapping`)."""
    return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=offsets)


def prompt_fault(tokenizer: Any, text: str, ids: Sequence[int]) -> str | None:
    """What a prompt's tokens say otherwise than its text, or None. Composed accents for decomposed ones are the same text."""
    special = set(tokenizer.all_special_ids)
    begin = 0
    while begin < len(ids) and ids[begin] in special:  # nobody's text gives these
        begin += 1
    back = tokenizer.decode(list(ids[begin:]), clean_up_tokenization_spaces=False)
    if back == text or unicodedata.normalize("NFC", back) == unicodedata.normalize("NFC", text):
        return None
    return difference(text, back)


def difference(text: str, back: str) -> str:
    """Where two texts part, in words."""
    pairs = enumerate(zip(text, back, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(text), len(back)))
    return f"{text[max(at - 30, 0) : at + 30]!r} came back as {back[max(at - 30, 0) : at + 30]!r}"
