"""Which layers get an adapter, by architecture: whole, or refused with what there is."""

import re
from collections import Counter

import pytest
from architectures import make_model

from tradewind.trading.settings.adapter import Lora
from tradewind.training.outcome import JobError
from tradewind.training.targets import Targets, resolve_targets

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # peft's name for it is an old one

DEFAULT = Lora().target_modules


def counts(targets: Targets) -> dict[str, int]:
    return dict(Counter(name.rpartition(".")[2] for name in targets.names))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("Llama", {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}),
        ("Qwen3-MoE", {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}),
        ("Phi-3", {"qkv_proj": 2, "o_proj": 2}),
        ("OPT", {"q_proj": 2, "k_proj": 2, "v_proj": 2, "out_proj": 2}),
        ("DeepSeek-V2", {"q_proj": 2, "kv_a_proj_with_mqa": 2, "kv_b_proj": 2, "o_proj": 2}),
        ("DeepSeek-V3", {"q_a_proj": 2, "q_b_proj": 2, "kv_a_proj_with_mqa": 2, "kv_b_proj": 2, "o_proj": 2}),
        ("GPT-NeoX", {"query_key_value": 2, "dense": 2}),
        ("Falcon", {"query_key_value": 2, "dense": 2}),
        ("BLOOM", {"query_key_value": 2, "dense": 2}),
        ("GPT-2", {"c_attn": 2, "c_proj": 2}),
        ("MPT", {"Wqkv": 2, "out_proj": 2}),
        ("Gemma 3", {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}),
    ],
)
def test_the_default_is_the_whole_attention_by_whatever_names(name: str, layers: dict[str, int]) -> None:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    model = make_model(name, 300)
    targets = resolve_targets(model, DEFAULT)
    assert counts(targets) == layers
    assert targets.as_asked == (set(layers) == set(DEFAULT))
    adapted = get_peft_model(
        model,
        LoraConfig(
            target_modules=list(targets.modules), exclude_modules=targets.exclude, fan_in_fan_out=name == "GPT-2"
        ),
    )
    given = {n.removeprefix("base_model.model.") for n, m in adapted.named_modules() if isinstance(m, LoraLayer)}
    assert given == set(targets.names)


def test_towers_that_text_never_reaches_get_no_adapter() -> None:
    for asked in (DEFAULT, ("all-linear",), ("q_proj",)):
        targets = resolve_targets(make_model("Gemma 3", 300), asked)
        assert targets.names
        assert not [name for name in targets.names if "vision" in name or "projector" in name]
        assert targets.exclude is not None
        assert re.fullmatch(targets.exclude, "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj")
        assert not re.fullmatch(targets.exclude, targets.names[0])


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("Phi-3", ("q_proj", "o_proj"), "q_proj is no layer of this phi3 model; it has down_proj, gate_up_proj, o_proj, qkv_proj"),
        ("DeepSeek-V3", ("q_proj",), "q_proj is no layer of this deepseek_v3 model"),
        ("GPT-2", ("query",), "it has c_attn, c_fc, c_proj"),
        ("Llama, tied", ("lm_head",), "lm_head shares its weights with model.embed_tokens"),
        ("GPT-2", ("wte",), "transformer.wte shares its weights with lm_head"),
    ],
)  # fmt: skip
def test_what_matches_in_part_or_is_tied_is_refused(name: str, asked: tuple[str, ...], said: str) -> None:
    with pytest.raises(JobError) as caught:
        resolve_targets(make_model(name, 300), asked)
    assert caught.value.code == 64
    assert said in caught.value.message


def test_an_untied_head_may_be_asked_for() -> None:
    assert resolve_targets(make_model("Llama", 300), ("lm_head", "q_proj")).names[-1] == "lm_head"
