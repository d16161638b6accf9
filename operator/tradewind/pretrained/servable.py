"""What a server can serve: asked before anything is trained, and again before anything is served."""

import inspect
from typing import Any, Final

from tradewind.pretrained.fault import unfit_config

_BY_LENGTH: Final = ("dynamic", "longrope")  # rotations that change for all positions once a text is longer
_UNBOUNDED: Final = 1 << 20  # tokens; of a model that states no bound
LEAST_POSITIONS: Final = 256
"""Tokens of prompt and answer without which nothing can be asked: the instruction takes about 75 of them, an answer 45."""


def check_servable(model: Any, tokenizer: Any) -> None:
    """Whether the server's decoder takes this model with this tokenizer.

    Args:
        model: a transformers causal language model.
        tokenizer: the one that it will be served with.

    Raises:
        UnfitError: exit 64: layers that keep other state than plain keys and values, positions that cannot be stated or are too
            few, or tokens that the model has no row for.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    for layer in DynamicCache(config=model.config).layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            raise unfit_config(
                f"the model has a {type(layer).__name__}; choose a base whose layers all attend to the whole prompt"
            )
    room = positions_of(model.config)
    if room < LEAST_POSITIONS:
        raise unfit_config(
            f"the model has room for {room} tokens of prompt and answer (its positions, or the window in which its layers attend),"
            f" decisions need {LEAST_POSITIONS}; choose a base whose layers all attend to the whole prompt, or within a wider window"
        )
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(model.config, "alibi", False):
        raise unfit_config(
            f"this {model.config.model_type} model reads positions off its mask (ALiBi), and the server's masks are trees; choose a"
            " base with rotary or learned positions"
        )
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise unfit_config(
            f"the tokenizer has {len(tokenizer)} tokens, the model {rows}: use the tokenizer that belongs to the base"
        )


def positions_of(config: Any) -> int:
    """Tokens of prompt and answer that a model has room for, answered piece by piece.

    Where rotations are chosen by a text's length, keys that were kept would be of another length's: the length up to which they
    stay the same is the bound. Where layers attend within a window, its width is: up to there it hides nothing.
    """
    from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer

    text = config.get_text_config()
    stated = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or _UNBOUNDED
    windows = [
        layer.sliding_window
        for layer in DynamicCache(config=config).layers
        if isinstance(layer, DynamicSlidingWindowLayer)
    ]
    stated = min([stated, *windows])
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if rope.get("rope_type", rope.get("type")) in _BY_LENGTH:
        original = rope.get("original_max_position_embeddings") or getattr(
            text, "original_max_position_embeddings", None
        )
        return int(min(stated, original or stated))
    return int(stated)
