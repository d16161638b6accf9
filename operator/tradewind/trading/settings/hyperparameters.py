"""Knobs of the optimiser, further arguments under the names that transformers gives them, and checkpoints."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from tradewind.schema.checked import Checked
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import PositiveDecimal

_NUMBER = "([0-9]{1,12}([.][0-9]{0,12})?|[.][0-9]{1,12})([eE][-+]?[0-9]{1,2})?"

Number = Annotated[str, Checked(_NUMBER, "must be a number in quotes, 0 or more, such as '0.01' or '1e-4'", 32)]
"""Number, 0 or more, also with an exponent."""

WholeNumber = Annotated[
    str, Checked("0*[1-9][0-9]{0,8}", "must be a whole number in quotes, 1 or more, such as '10'", 16)
]
"""Whole number, 1 or more, as text."""

Epochs = Annotated[
    str,
    Checked(
        "(10000([.]0{1,9})?|[1-9][0-9]{0,3}([.][0-9]{1,9})?|0[.][0-9]{0,8}[1-9][0-9]{0,8})",
        "must be a number in quotes above 0 and up to 10000, such as '3' or '0.5'",
        24,
    ),
]
"""Passes over the data."""


MaxLength = Annotated[int, Field(ge=64, le=131_072)]
"""Tokens of a sample."""


def _bounded(name: str, comparison: str, message: str) -> Rule:
    """A bound of a `Number` of `ExtraHyperparameters`, such as `> 0.0`."""
    operator, bound = comparison.split()
    holds = {">": float.__gt__, "<": float.__lt__, "<=": float.__le__}[operator]
    return Rule(
        f"!has(self.{name}) || !self.{name}.matches('^{_NUMBER}$') || double(self.{name}) {comparison}",
        lambda s: holds(float(getattr(s, name)), float(bound)),
        f"{name} must be {message}",
        name,
    )


class ExtraHyperparameters(StrictModel):
    """Further arguments of the trainer, named as transformers names them; their values are text."""

    model_config = ConfigDict(alias_generator=None)

    weight_decay: Number = "0"
    """Decay of the adapter's weights at each step, in units of the learning rate (AdamW)."""
    max_grad_norm: Number = "1"
    """Norm to which gradients are clipped, above 0."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """Course of the learning rate after the warm-up."""
    adam_beta1: Number = "0.9"
    """Decay of the mean of gradients (AdamW), below 1."""
    adam_beta2: Number = "0.999"
    """Decay of the mean of squared gradients (AdamW), below 1."""
    gradient_checkpointing: Literal["auto", "true", "false"] = "auto"
    """Whether activations are computed again instead of kept; auto: where memory asks for it, as a step before the training shows."""
    packing: Literal["auto", "false"] = "auto"
    """Whether tokens that prompts begin with alike are computed once for all samples of a pass; auto: where the model gives the same
    loss and gradient."""
    neftune_noise_alpha: Number = "0"
    """Noise on what the model embeds, while training only: uniform, up to this / sqrt(tokens x width); 0: none (NEFTune)."""
    early_stopping_patience: Annotated[
        str, Checked("[0-9]{1,9}", "must be a whole number in quotes, 0 or more, such as '3'", 16)
    ] = "0"
    """Evaluations without a lower loss after which training stops; 0: never."""
    logging_steps: WholeNumber = "10"
    """Steps between lines of the log."""
    max_steps: WholeNumber | None = None
    """Steps at most; absent: hyperparameters.epochs alone decide."""
    max_too_long_share: Number = "0.01"
    """Share of the samples, up to 1, that may be longer than maxLength; they are left out. More refuse the run."""
    threads: (
        Annotated[
            str,
            Checked(
                "0*(10[01][0-9]|102[0-4]|[1-9][0-9]{0,2})",
                "must be a whole number from 1 to 1024 in quotes, such as '4'",
                16,
            ),
        ]
        | None
    ) = None
    """Threads on the CPU, 1 to 1024; absent: OMP_NUM_THREADS, or one a core."""

    rules: ClassVar[tuple[Rule, ...]] = (
        _bounded("max_grad_norm", "> 0.0", "above 0"),
        _bounded("adam_beta1", "< 1.0", "below 1"),
        _bounded("adam_beta2", "< 1.0", "below 1"),
        _bounded("max_too_long_share", "<= 1.0", "at most 1"),
    )


class Hyperparameters(StrictModel):
    """Knobs of the optimiser."""

    epochs: Epochs = "3"
    """Passes over the data; fractions are allowed."""
    learning_rate: PositiveDecimal = "0.0002"
    """Peak learning rate."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 4
    """Samples of an optimiser step, times gradientAccumulation. How many are computed at once is chosen by memory."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = 4
    """How many times batchSize samples one optimiser step has."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    """Steps until the learning rate has its peak."""
    max_length: MaxLength = 2048
    """Tokens of a sample at most; longer ones are counted, not cut."""
    eval_every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Steps between evaluations."""
    save_every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Steps between checkpoints."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    """Seed of every random choice."""
    extra: ExtraHyperparameters = ExtraHyperparameters()
    """Further arguments of the trainer under the names that transformers gives them, values as text."""


class Checkpoint(StrictModel):
    """Checkpoints that a run resumes from."""

    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints that are kept."""
    resume: bool = True
    """Whether a new attempt resumes from the newest checkpoint that verifies."""
