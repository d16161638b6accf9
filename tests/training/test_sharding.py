import pytest
import torch
from architectures import make_model
from peft import LoraConfig, get_peft_model

from tradewind.training.outcome import JobError
from tradewind.training.planner import DDP, FSDP, choose_strategy
from tradewind.training.sharding import lack_of_sharding, shard
from tradewind.training.targets import resolve_targets

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
GIB = 2**30


def chosen(asked="auto", *, nodes=4, quantised=False, weights=7 * GIB, limit=24 * GIB, before=None, lack=""):
    return choose_strategy(
        asked, nodes=nodes, quantised=quantised, weight_bytes=weights, limit=limit, before=before, lack=lack
    )


def test_a_base_that_one_device_holds_is_whole_in_each() -> None:
    assert chosen().name == chosen(limit=None).name == DDP
    assert chosen().why == "and all of the base"


def test_a_base_that_no_device_holds_is_shared_out_and_it_says_why() -> None:
    found = chosen(weights=20 * GIB)
    assert found.name == FSDP
    assert found.why == "and a share of the base: 20 GiB of weights leave no room in 24 GiB"


def test_what_is_asked_for_is_done_whatever_memory_says() -> None:
    assert chosen("fsdp").name == FSDP
    assert chosen("ddp", weights=90 * GIB).name == DDP


def test_a_run_that_shared_its_base_out_goes_on_so() -> None:
    assert chosen(before=FSDP).name == FSDP
    assert chosen("ddp", before=FSDP).name == DDP


def test_a_torch_that_shares_nothing_out_leaves_all_of_it_in_each_and_says_so() -> None:
    found = chosen(weights=20 * GIB, before=FSDP, lack="torch 2.6.0 does not share out a base")
    assert (found.name, found.why) == (DDP, "and all of the base, since torch 2.6.0 does not share out a base")
    assert lack_of_sharding(on_gpu=False) == "", "the torch of the tests does"


def test_a_torch_whose_processors_have_no_events_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu.Stream, "record_event")
    assert lack_of_sharding(on_gpu=False) == f"torch {torch.__version__} does not share out a base"
    assert lack_of_sharding(on_gpu=True) == ""


def test_one_process_and_four_bits_share_nothing() -> None:
    assert chosen(nodes=1, weights=90 * GIB).name == DDP
    assert chosen(quantised=True, weights=90 * GIB).name == DDP


def test_an_adapter_on_the_embedding_is_refused() -> None:
    model = make_model("Llama", 320)
    targets = resolve_targets(model, ["q_proj", "embed_tokens"])
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM"))
    with pytest.raises(JobError, match=r"model\.embed_tokens is the base's embedding.* set strategy to ddp"):
        shard(adapted, targets, on_gpu=False)


def test_a_model_without_layers_to_share_is_refused() -> None:
    model = make_model("Llama", 320)
    model._no_split_modules = []
    targets = resolve_targets(model, ["q_proj"])
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    with pytest.raises(JobError, match="names no layers of a llama model; set it to ddp"):
        shard(adapted, targets, on_gpu=False)
