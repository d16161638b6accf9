"""What a server takes, asked of configurations alone."""

import pytest
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
)

from tradewind.pretrained.fault import UnfitError
from tradewind.pretrained.servable import check_servable, positions_of

LONG_ROPE = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}


def test_room_is_what_the_model_states() -> None:
    assert positions_of(LlamaConfig(max_position_embeddings=777)) == 777
    assert positions_of(GPT2Config(n_positions=333)) == 333


def test_where_rotations_change_with_the_length_room_ends_before_they_do() -> None:
    """Keys of the instruction are kept; those of a longer text would be rotated otherwise."""
    config = Phi3Config(
        hidden_size=32, num_attention_heads=2, max_position_embeddings=4096, original_max_position_embeddings=512,
        rope_scaling=LONG_ROPE, pad_token_id=0,
    )  # fmt: skip
    assert positions_of(config) == 512
    linear = LlamaConfig(max_position_embeddings=4096, rope_scaling={"rope_type": "linear", "factor": 2.0})
    assert positions_of(linear) == 4096


def test_room_ends_where_a_window_begins_to_hide_something() -> None:
    shape = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 64,
    }
    wide, narrow = (MistralConfig(**shape, sliding_window=w, max_position_embeddings=4096) for w in (1024, 64))
    assert positions_of(wide) == 1024
    check_servable(MistralForCausalLM(wide), range(64))
    with pytest.raises(
        UnfitError, match=r"room for 64 tokens .*decisions need 256; choose a base whose layers"
    ) as refused:
        check_servable(MistralForCausalLM(narrow), range(64))
    assert refused.value.code == 64
    assert positions_of(Gemma3Config(text_config={**shape, "sliding_window": 512}).get_text_config()) == 512
    assert positions_of(MistralConfig(**shape, sliding_window=None, max_position_embeddings=4096)) == 4096


def test_positions_that_are_read_off_the_mask_are_refused() -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
    with pytest.raises(UnfitError, match="ALiBi"):
        check_servable(FalconForCausalLM(FalconConfig(**shape, alibi=True)), range(64))
    check_servable(FalconForCausalLM(FalconConfig(**shape, alibi=False)), range(64))
    with pytest.raises(UnfitError, match="the tokenizer has 65 tokens, the model 64"):
        check_servable(FalconForCausalLM(FalconConfig(**shape)), range(65))
