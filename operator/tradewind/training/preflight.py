"""Samples to tokens, and the proof that the tokens say what the samples say, before anything is trained.

Belongs here: tokenising and its checks, on the CPU, without a model. Does not belong here: batches.
The prompt and the completion are tokenised apart, by the server's own code (pretrained/tokens.py): the prompt is given, the
completion is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tradewind.pretrained.servable import positions_of
from tradewind.pretrained.tokens import encode_completions, encode_prompts, prompt_fault
from tradewind.trading.exits import ExitCode
from tradewind.training.files import Example
from tradewind.training.outcome import JobError

_MAX_CHANGED_SHARE: Final = 0.01  # of the samples; more prompts that a tokenizer changes are the tokenizer's fault
_BATCH: Final = 1024  # samples that are tokenised at once


@dataclass(frozen=True, slots=True)
class TokenizedSample:
    """Token ids of prompt, completion and stop token; what follows `prompt_length` is learned, or avoided."""

    input_ids: tuple[int, ...]
    prompt_length: int
    weight: float
    desirable: bool = True

    @property
    def supervised(self) -> int:
        """Number of tokens that are learned, the stop token included."""
        return len(self.input_ids) - self.prompt_length


@dataclass(frozen=True, slots=True)
class Preflight:
    """Samples that are fit to train on, and how many were left out: for their length, for a prompt that the tokenizer changes."""

    samples: tuple[TokenizedSample, ...]
    too_long: int = 0
    changed: int = 0


class Preflighting:
    """Tokens of a dataset's samples, some at a time.

    Attributes:
        too_long, changed: how many were left out so far.
        longest: tokens of the longest sample so far.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, total: int) -> None:
        """For a tokenizer, with tokens of a sample at most (the stop token included) and the number of samples in all."""
        self.too_long = self.changed = self.longest = 0
        self._tokenizer, self._max_length, self._total, self._seen = tokenizer, max_length, total, 0

    def take(self, examples: Sequence[Example]) -> list[TokenizedSample]:
        """The tokens of those that fit. Nothing is cut.

        Raises:
            JobError: exit 66, as `tokenize`, but for samples that are too long.
        """
        if not examples:
            return []
        tokenizer, stop = self._tokenizer, self._tokenizer.eos_token_id
        prompts = encode_prompts(tokenizer, [example.prompt for example in examples])
        completions = encode_completions(tokenizer, [example.completion for example in examples])["input_ids"]
        samples = []
        for example, given, completion in zip(examples, prompts, completions, strict=True):
            self._seen += 1
            written = tokenizer.decode(completion, clean_up_tokenization_spaces=False)
            if written != example.completion:
                said = (
                    f"the supervised tokens decode to {written[:120]!r}, the completion is {example.completion[:120]!r}"
                )
                raise _round_trip(self._seen, said)
            length = len(given) + len(completion) + 1
            self.longest = max(self.longest, length)
            if (problem := prompt_fault(tokenizer, example.prompt, given)) is not None:
                self.changed += 1
                if self.changed > max(1, _MAX_CHANGED_SHARE * self._total):
                    raise _round_trip(self._seen, problem)
            elif length > self._max_length:
                self.too_long += 1
            else:
                ids = (*given, *completion, stop)
                samples.append(TokenizedSample(ids, len(given), example.weight, example.desirable))
        return samples


def tokenize(examples: Sequence[Example], tokenizer: Any, *, max_length: int, max_too_long_share: float) -> Preflight:
    """Tokens of every sample that fits. Nothing is cut.

    Args:
        examples: the dataset's samples.
        tokenizer: of the base model.
        max_length: tokens of a sample at most, the stop token included.
        max_too_long_share: share of the samples that may be longer and are left out.

    Raises:
        JobError: exit 66, for a completion that does not come back as it was, or for too many prompts that do not (SentencePiece
            makes a space of "▁": one such row in a market's news is left out) or are too long.
    """
    taking = Preflighting(tokenizer, max_length=max_length, total=len(examples))
    samples: list[TokenizedSample] = []
    for first in range(0, len(examples), _BATCH):
        samples += taking.take(examples[first : first + _BATCH])
    if taking.too_long > max_too_long_share * len(examples):
        longest = taking.longest
        raise JobError(
            ExitCode.PREFLIGHT,
            "TooLong",
            f"hyperparameters.maxLength: {taking.too_long} of {len(examples)} samples are longer than {max_length} tokens (the longest"
            f" has {longest}); set it to {longest}, shorten what arms are shown, or allow more by extra.max_too_long_share",
        )
    return Preflight(tuple(samples), taking.too_long, taking.changed)


def check_sides(samples: Sequence[TokenizedSample], evaluation: Sequence[TokenizedSample], objective: str) -> None:
    """Refuse data that KTO cannot be trained on: it holds what is to be imitated against what is to be avoided.

    Args:
        samples: of the training.
        evaluation: may be empty; one side alone is measured as it is.
        objective: as it was asked for.

    Raises:
        JobError: exit 65.
    """
    good = sum(sample.desirable for sample in samples)
    bad = len(samples) - good
    if not good or not bad:
        kind = "to imitate" if bad else "to avoid"
        raise JobError(
            ExitCode.BAD_DATA,
            "OneSided",
            f"objective: {objective} needs samples to imitate and samples to avoid, and of {len(samples)} none is {kind}"
            f' ({len(evaluation)} more are for evaluation); take a dataset of both (lines with "desirable": false are to avoid,'
            " dataset.labels.weights.bad above 0 makes them), or use sft",
        )


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


def check_room(model: Any, lengths: Sequence[int]) -> None:
    """Refuse samples that are longer than what a server lets the model answer.

    Args:
        model: the base.
        lengths: tokens of every sample, prompt and answer.

    Raises:
        JobError: exit 66.
    """
    room, longest = positions_of(model.config), max(lengths, default=0)
    if longest > room:
        raise JobError(
            ExitCode.PREFLIGHT,
            "TooLong",
            f"hyperparameters.maxLength: the longest sample has {longest} tokens and the base has room for {room}: its server would"
            " refuse such prompts; lower maxLength, shorten what arms are shown, or choose a base with more positions",
        )


def _round_trip(number: int, problem: str) -> JobError:
    return JobError(ExitCode.PREFLIGHT, "TokenizerRoundTrip", f"dataset: sample {number}: {problem}")
