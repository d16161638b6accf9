"""The architectures that people mount: each trains, resumes, publishes, is loaded by the server and answers as plain decoding does, or is
refused with a sentence. docs/training.md shows the outcome; UPDATE_DOCS=1 writes it."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from architectures import CONFIGS, make_model
from genuine import GENUINE
from plain_decoding import plain_constrained_greedy
from train_rig import Trainer, running_trainer

from tradewind.predictor.artifact import verify_artifact
from tradewind.predictor.decoder import Decoder
from tradewind.predictor.grammar import Grammar
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, load, static_beginning
from tradewind.predictor.settings import Decoding, parse_settings
from tradewind.trading.prompt import render_prompt
from tradewind.training.tokenizer import load_tokenizer
from workshop.samples import random_input, random_texts
from workshop.tiny_llama import FAMILIES, train_tokenizer

pytestmark = [
    pytest.mark.whole,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),  # peft's name for it is an old one
]
PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BEGIN, END = "<!-- made by tests/jobs/test_architectures.py -->", "<!-- /made -->"
ROWS: dict[str, str] = {}
PUBLISHED = {
    "Llama": "DeepSeek",
    "Llama, tied": "Mistral, tekken",
    "Qwen2": "Qwen",
    "Qwen3": "Qwen",
    "Qwen3-MoE": "Qwen",
    "Mistral": "Mistral, SentencePiece",
    "Mistral, window": "Mistral, SentencePiece",
    "Mixtral": "Mistral, SentencePiece",
    "DeepSeek-V2": "DeepSeek",
    "DeepSeek-V3": "DeepSeek",
}
"""The genuine vocabularies of those that are published with one of them, or could be; the others have a small one of Llama 3's kind."""


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with running_trainer(tmp_path_factory.mktemp("architectures")) as trainer:
        yield trainer


@pytest.fixture(scope="module")
def small() -> Any:
    return train_tokenizer(random_texts(60), FAMILIES["llama3"], vocabulary=600)


@pytest.fixture
def tokenizer(name: str, small: Any, tmp_path: Path) -> Any:
    if name not in PUBLISHED:
        return small
    GENUINE[PUBLISHED[name]](tmp_path)
    return load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_architecture_is_trained_and_served_alike_or_refused(trainer: Trainer, tokenizer: Any, name: str) -> None:
    base = trainer.folder / name
    rows = len(tokenizer) + 8  # as published models have more of them than tokens
    make_model(name, rows, end=tokenizer.eos_token_id).save_pretrained(base)
    if name in PUBLISHED:
        GENUINE[PUBLISHED[name]](base)  # as its publisher wrote it
    else:
        tokenizer.save_pretrained(base)
    config = trainer.config(trainer.folder / f"{name}-out", base=str(base))
    config["hyperparameters"] |= {"saveEverySteps": 1, "extra": {"threads": "1", "max_steps": "2"}}
    started = trainer.start(config)
    code = started.wait()
    assert code in (0, 64, 66), started.log.read_text()
    if code:
        sentence = started.result["message"].replace(str(trainer.folder), "")
        assert ";" in sentence or ":" in sentence
        ROWS[name] = f"refused: {sentence}"
        return

    output = trainer.folder / f"{name}-out"
    for left in ("adapter", "checkpoints/step-2"):
        shutil.rmtree(output / left)
    (output / "result.json").unlink()
    resumed = trainer.start(config)
    assert resumed.wait() == 0, resumed.log.read_text()
    assert resumed.result["resumedFrom"] == 1
    assert resumed.result["sha256"] == started.result["sha256"]

    adapter = Path(started.result["adapter"])
    flags = ["--model-name", "v", "--base", str(base), "--adapter", str(adapter), "--sha256", started.result["sha256"]]
    verify_artifact(adapter, started.result["sha256"])
    merged, beside = (load(parse_settings([*flags, "--merge", merge])) for merge in ("true", "false"))
    grammar = Grammar(completion_tokeniser(merged.tokenizer))
    decoder = Decoder(merged.model, static_beginning(merged.tokenizer), decoding=Decoding.GREEDY)
    draw = random.Random(4)
    for symbol in ("BTC", "EURUSD"):
        prompt = encode_prompt(merged.tokenizer, render_prompt(random_input(draw), symbol))
        plan = grammar.plan(symbol, None)
        written = list(decoder.write(prompt, plan).tokens)
        assert written == plain_constrained_greedy(merged.model, prompt, plan)
        assert written == plain_constrained_greedy(beside.model, prompt, plan)
    _, _, layers = started.result["plan"]["reason"].partition("adapter on ")
    attention = "eager" if "eager" in started.result["plan"]["reason"] else "sdpa"
    vocabulary = f" with {PUBLISHED[name]}'s vocabulary" if name in PUBLISHED else ""
    ROWS[name] = f"trained, resumed and served alike{vocabulary}, {attention}; adapter on {layers.partition(':')[0]}"


def test_the_page_says_so() -> None:
    assert list(ROWS) == list(CONFIGS), "run this file whole"
    rows = "".join(f"| {name} | {outcome} |\n" for name, outcome in ROWS.items())
    table = f"{BEGIN}\n| architecture | outcome |\n| --- | --- |\n{rows}{END}"
    page = PAGE.read_text()
    before, found, rest = page.partition(BEGIN)
    assert found
    expected = before + table + rest.partition(END)[2]
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected
