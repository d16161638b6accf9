import itertools
import json
import random
import shutil
from pathlib import Path

import pytest

from tiny_base import make_base, sample
from tradewind.trading.exits import ExitCode
from tradewind.training.files import Example
from tradewind.training.outcome import JobError

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base: Path):
    from tradewind.training.tokenizer import load_tokenizer

    return load_tokenizer(base)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    draw = random.Random(3)
    made = [sample(number, draw) for number in range(40)]
    return [Example(str(s["prompt"]), str(s["completion"]), float(str(s["weight"]))) for s in made]


def tokenized(examples, tokenizer, **changes):
    from tradewind.training.preflight import tokenize

    return tokenize(examples, tokenizer, **{"max_length": 2048, "max_too_long_share": 0.0} | changes)


def test_only_the_completion_and_the_stop_token_are_learned(examples, tokenizer) -> None:
    for example, made in zip(examples, tokenized(examples, tokenizer).samples, strict=True):
        assert tokenizer.decode(list(made.input_ids[: made.prompt_length])) == example.prompt
        assert tokenizer.decode(list(made.input_ids[made.prompt_length :])) == example.completion + "<|end|>"
        assert made.input_ids[-1] == tokenizer.eos_token_id
        assert made.supervised == len(example.completion) + 1, "one byte is one token here"


def test_nothing_is_cut_long_samples_are_left_out_or_refused(examples, tokenizer) -> None:
    lengths = [len(made.input_ids) for made in tokenized(examples, tokenizer).samples]
    longest = max(lengths)
    over = sum(length == longest for length in lengths)
    ready = tokenized(examples, tokenizer, max_length=longest - 1, max_too_long_share=0.5)
    assert ready.too_long == over
    assert len(ready.samples) == len(examples) - over
    with pytest.raises(JobError, match=f"the longest has {longest}") as caught:
        tokenized(examples, tokenizer, max_length=longest - 1, max_too_long_share=0.0)
    assert caught.value.code is ExitCode.PREFLIGHT


def test_a_tokenizer_that_loses_text_is_refused_at_the_sample(examples, base: Path) -> None:
    from tokenizers import Regex, Tokenizer, normalizers
    from transformers import PreTrainedTokenizerFast

    lossy = Tokenizer.from_file(str(base / "tokenizer.json"))
    lossy.normalizer = normalizers.Replace(Regex("0.7"), "0.8")
    broken = PreTrainedTokenizerFast(tokenizer_object=lossy, eos_token="<|end|>", pad_token="<|pad|>")
    with pytest.raises(JobError, match="sample 1: the supervised tokens decode to") as caught:
        tokenized([e for e in examples if "0.7" in e.completion], broken)
    assert caught.value.code is ExitCode.PREFLIGHT


def test_a_byte_level_tokenizer_under_a_wrong_label_is_loaded_without_it(base: Path, tmp_path: Path, examples) -> None:
    """As published DeepSeek models are labelled."""
    from tradewind.training.tokenizer import load_tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(base / name, tmp_path / name)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizer"}))
    assert tokenized(examples, load_tokenizer(tmp_path)).samples


def test_a_tokenizer_that_no_way_reproduces_text_is_refused(base: Path, tmp_path: Path) -> None:
    from tradewind.training.tokenizer import load_tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / name)
    stated = json.loads((tmp_path / "tokenizer.json").read_text())
    stated["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated))
    with pytest.raises(JobError, match="came back as") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code is ExitCode.PREFLIGHT


def test_a_stop_token_that_the_server_does_not_know_is_refused(base: Path, tokenizer) -> None:
    from transformers import AutoModelForCausalLM

    from tradewind.training.preflight import check_stop_token

    model = AutoModelForCausalLM.from_pretrained(base)
    check_stop_token(tokenizer, model)
    model.generation_config.eos_token_id = [5]
    with pytest.raises(JobError, match="the server never stops"):
        check_stop_token(tokenizer, model)


def test_qlora_without_a_gpu_says_so() -> None:
    import torch

    from tradewind.training.base import choose_method

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(JobError, match="method: qlora needs a CUDA GPU") as caught:
        choose_method("qlora")
    assert caught.value.code is ExitCode.BAD_CONFIG
    assert choose_method("auto").name == choose_method("lora").name == "lora"


def test_the_plan_covers_each_epoch_once_and_pads_little() -> None:
    from tradewind.training.collator import plan_batches

    lengths = [random.Random(5).randrange(100, 400) for _ in range(1)] + [100 + 7 * n % 300 for n in range(402)]
    plan = plan_batches(lengths, batch_size=4, epochs=2, seed=1)
    half = len(plan) // 2
    for epoch in (plan[:half], plan[half:]):
        assert sorted(itertools.chain.from_iterable(epoch)) == list(range(403))
    assert plan == plan_batches(lengths, batch_size=4, epochs=2, seed=1)
    assert plan != plan_batches(lengths, batch_size=4, epochs=2, seed=2)
    assert plan[:half] != plan[half:], "each epoch has an order of its own"
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in plan)
    assert padded < 1.03 * 2 * sum(lengths)
    assert len(plan_batches(lengths, batch_size=4, epochs=0.25, seed=1)) == 26


def test_an_optimiser_step_has_the_samples_of_its_passes() -> None:
    from tradewind.training.collator import join_steps, plan_batches

    plan = plan_batches([100] * 43, batch_size=4, epochs=1, seed=1)
    steps = join_steps(plan, 3)
    assert len(steps) == 4, "11 passes: three steps of 3 and one of 2"
    assert [index for step in steps for index in step] == list(itertools.chain.from_iterable(plan))
    assert [len(step) for step in steps[:-1]] == [sum(map(len, plan[i : i + 3])) for i in (0, 3, 6)]


def test_loss_and_gradient_are_those_of_each_sample_alone(base: Path, tokenizer, examples) -> None:
    """Shared prefixes, right padding without a mask, gathered logits and accumulation change nothing."""
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    from tradewind.training.attention import enable_shared_prefixes
    from tradewind.training.collator import Part, collate
    from tradewind.training.noise import EmbeddingNoise
    from tradewind.training.packing import Costs, Packing
    from tradewind.training.ranks import Ranks
    from tradewind.training.trainer import AdapterTrainer

    samples = tokenized(examples, tokenizer).samples[:6]
    model = AutoModelForCausalLM.from_pretrained(base)

    total = weight = torch.tensor(0.0)
    for made in samples:
        ids = torch.tensor([made.input_ids])
        logits = model(input_ids=ids).logits[0, made.prompt_length - 1 : -1]
        total = total + made.weight * functional.cross_entropy(logits, ids[0, made.prompt_length :], reduction="sum")
        weight = weight + made.weight * made.supervised
    reference = total / weight
    reference.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    trainer = AdapterTrainer.__new__(AdapterTrainer)
    trainer.noise = EmbeddingNoise(model, 0)
    trainer.ranks = Ranks()
    enable_shared_prefixes(model)
    for packing in (Packing(), Packing(Costs(1.0, 0.0)), Packing(Costs(1.0, 0.0), max_tokens=1000)):
        batches = [collate([Part(part)], tokenizer.pad_token_id, packing) for part in (samples[:4], samples[4:])]
        groups = [group for batch in batches for group in batch["groups"]]
        assert any("attention_mask" in group for group in groups) == (packing.costs is not None)
        items = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
        for keeps_logits in (True, False):
            trainer._keeps_logits = keeps_logits
            losses = [trainer.compute_loss(model, group, num_items_in_batch=items) for group in groups]
            total = torch.stack(losses).sum()
            assert total.item() == pytest.approx(reference.item(), rel=1e-6)
            total.backward()
            for name, parameter in model.named_parameters():
                assert torch.allclose(parameter.grad, expected[name], atol=1e-7), name
            model.zero_grad()
        learned = sum(int(group["keep"].sum()) for group in groups)
        assert learned == sum(made.supervised for made in samples), "logits of completions, not of prompts or padding"
