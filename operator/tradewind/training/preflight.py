"""Samples to tokens, and the proof that the tokens say what the samples say, before anything is trained.

Belongs here: tokenising and its checks, on the CPU, without a model. Does not belong here: batches.
The prompt and the completion are tokenised apart, as the server does it: the prompt is given, the completion is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tradewind.trading.exits import ExitCode
from tradewind.training.files import Example
from tradewind.training.outcome import JobError


@dataclass(frozen=True, slots=True)
class TokenizedSample:
    """Token ids of prompt, completion and stop token; what follows `prompt_length` is learned."""

    input_ids: tuple[int, ...]
    prompt_length: int
    weight: float

    @property
    def supervised(self) -> int:
        """Number of tokens that are learned, the stop token included."""
        return len(self.input_ids) - self.prompt_length


@dataclass(frozen=True, slots=True)
class Preflight:
    """Samples that are fit to train on, and how many were left out for their length."""

    samples: tuple[TokenizedSample, ...]
    too_long: int


def tokenize(examples: Sequence[Example], tokenizer: Any, *, max_length: int, max_too_long_share: float) -> Preflight:
    """Tokens of every sample that fits. Nothing is cut.

    Args:
        examples: the dataset's samples.
        tokenizer: of the base model.
        max_length: tokens of a sample at most, the stop token included.
        max_too_long_share: share of the samples that may be longer and are left out.

    Raises:
        JobError: exit 66, for a sample that does not come back as it was, or for too many that are too long.
    """
    stop = tokenizer.eos_token_id
    if not examples:
        return Preflight((), 0)
    prompts = tokenizer([example.prompt for example in examples])["input_ids"]
    completions = tokenizer([example.completion for example in examples], add_special_tokens=False)["input_ids"]
    samples = []
    too_long = 0
    for number, (example, prompt, completion) in enumerate(zip(examples, prompts, completions, strict=True), start=1):
        given = prompt[:-1] if prompt and prompt[-1] == stop else prompt
        problem = _changed(example, given, completion, tokenizer)
        if problem is not None:
            raise JobError(ExitCode.PREFLIGHT, "TokenizerRoundTrip", f"dataset: sample {number}: {problem}")
        if len(given) + len(completion) + 1 > max_length:
            too_long += 1
            continue
        samples.append(TokenizedSample((*given, *completion, stop), len(given), example.weight))
    if too_long > max_too_long_share * len(examples):
        longest = max(len(p) + len(c) + 1 for p, c in zip(prompts, completions, strict=True))
        raise JobError(
            ExitCode.PREFLIGHT,
            "TooLong",
            f"hyperparameters.maxLength: {too_long} of {len(examples)} samples are longer than {max_length} tokens (the longest"
            f" has {longest}); set it to {longest}, shorten what arms are shown, or allow more by extra.max_too_long_share",
        )
    return Preflight(tuple(samples), too_long)


def check_stop_token(tokenizer: Any, model: Any) -> None:
    """Refuse a tokenizer whose end token is none of those at which the model's server stops.

    Raises:
        JobError: exit 66.
    """
    stated = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    stops = stated if isinstance(stated, list) else [] if stated is None else [stated]
    if stops and tokenizer.eos_token_id not in stops:
        raise JobError(
            ExitCode.PREFLIGHT,
            "StopToken",
            f"base: the tokenizer ends with token {tokenizer.eos_token_id}, its generation_config.json stops at {stops};"
            " make them agree, or the server never stops",
        )


def _changed(example: Example, prompt: list[int], completion: list[int], tokenizer: Any) -> str | None:
    written = tokenizer.decode(completion, clean_up_tokenization_spaces=False)
    if written != example.completion:
        return f"the supervised tokens decode to {written[:120]!r}, the completion is {example.completion[:120]!r}"
    body = prompt[1:] if prompt and prompt[0] == tokenizer.bos_token_id else prompt
    whole = tokenizer.decode([*body, *completion], clean_up_tokenization_spaces=False)
    text = example.prompt + example.completion
    if whole != text:
        at = next((i for i, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), min(len(text), len(whole)))
        return f"{text[max(at - 30, 0) : at + 30]!r} came back as {whole[max(at - 30, 0) : at + 30]!r}"
    return None
