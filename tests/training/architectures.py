"""Tiny models with random weights of the architectures that people mount as bases."""

import random
from typing import Any, Final

from tradewind.trading.settings.adapter import Lora
from tradewind.training.preflight import TokenizedSample

TOKENS: Final = 320
_COMMON: Final = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 4096}
_GROUPED: Final = {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16}
_EXPERTS: Final = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_LATENT: Final = {
    "intermediate_size": 48, "num_key_value_heads": 2, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 1,
    "n_group": 2, "topk_group": 1, "n_shared_experts": 1,
}  # fmt: skip
_WHOLE: Final = {"layer_types": ["full_attention", "full_attention"]}
_VISION: Final = {
    "vision_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
                      "image_size": 28, "patch_size": 14},
    "mm_tokens_per_image": 4,
}  # fmt: skip

CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "Llama": {"model_type": "llama", **_COMMON, **_GROUPED, "tie_word_embeddings": False},
    "Llama, tied": {"model_type": "llama", **_COMMON, **_GROUPED, "tie_word_embeddings": True},
    "Qwen2": {"model_type": "qwen2", **_COMMON, **_GROUPED},
    "Qwen3": {"model_type": "qwen3", **_COMMON, **_GROUPED},
    "Qwen3-MoE": {"model_type": "qwen3_moe", **_COMMON, **_GROUPED, **_EXPERTS},
    "Phi-3": {"model_type": "phi3", **_COMMON, **_GROUPED, "pad_token_id": 0},
    "Mistral": {"model_type": "mistral", **_COMMON, **_GROUPED, "sliding_window": None},
    "Mistral, window": {"model_type": "mistral", **_COMMON, **_GROUPED, "sliding_window": 64},
    "Mixtral": {"model_type": "mixtral", **_COMMON, **_GROUPED, **_EXPERTS},
    "Gemma 2": {"model_type": "gemma2", **_COMMON, **_GROUPED, "sliding_window": 64},
    "Gemma 2, whole attention": {"model_type": "gemma2", **_COMMON, **_GROUPED, **_WHOLE},
    "Gemma 3": {"model_type": "gemma3", "text_config": {**_COMMON, **_GROUPED, "sliding_window": 64}, **_VISION},
    "Gemma 3, whole attention": {"model_type": "gemma3", "text_config": {**_COMMON, **_GROUPED, **_WHOLE}, **_VISION},
    "DeepSeek-V2": {"model_type": "deepseek_v2", **_COMMON, **_LATENT, "q_lora_rank": None},
    "DeepSeek-V3": {"model_type": "deepseek_v3", **_COMMON, **_LATENT, "q_lora_rank": 24},
    "GPT-NeoX": {"model_type": "gpt_neox", **_COMMON, "intermediate_size": 48},
    "GPT-2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 4096},
    "OPT": {"model_type": "opt", **_COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "GPT-OSS": {"model_type": "gpt_oss", **_COMMON, **_GROUPED, **_EXPERTS, "sliding_window": 64},
    "Falcon": {"model_type": "falcon", **_COMMON, "new_decoder_architecture": False},
    "BLOOM": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 2},
    "MPT": {"model_type": "mpt", "d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 4096},
}  # fmt: skip


def make_model(name: str, tokens: int, *, end: int = 1) -> Any:
    """A model for so many tokens, the same weights each time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    stated = dict(CONFIGS[name])
    kind = stated.pop("model_type")
    ids = {"vocab_size": tokens, "eos_token_id": end, "bos_token_id": None, "pad_token_id": 0}
    if "text_config" in stated:
        stated["text_config"] = stated["text_config"] | ids
    config = AutoConfig.for_model(kind, **(stated if "text_config" in stated else {**ids, **stated}))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = end
    return model


def samples(static: int = 40, seed: int = 1) -> list[TokenizedSample]:
    """Nine samples of a few dozen tokens that begin with the same `static` ones."""
    draw = random.Random(seed)
    beginning = [draw.randrange(2, 300) for _ in range(static)]
    made = []
    for _ in range(9):
        own, answer = draw.randrange(10, 60), draw.randrange(4, 9)
        ids = (*beginning, *(draw.randrange(2, 300) for _ in range(own + answer)))
        made.append(TokenizedSample(ids, static + own, draw.choice((0.3, 1.0, 1.5))))
    return made


def adapted(name: str, *, dropout: float = 0.0) -> tuple[Any, Any]:
    """A model whose attention says something, with an adapter that does too, and what its tokens cost."""
    from peft import LoraConfig, get_peft_model

    from tradewind.training.sharing import costs_of
    from tradewind.training.targets import resolve_targets

    model = make_model(name, TOKENS)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15)
    costs = costs_of(model)
    targets = resolve_targets(model, Lora().target_modules)
    settings = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_dropout=dropout, target_modules=list(targets.modules),
        exclude_modules=targets.exclude, init_lora_weights=False,
    )  # fmt: skip
    return get_peft_model(model, settings), costs
