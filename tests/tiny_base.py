"""A random Llama of a few thousand parameters with a byte-level tokenizer, and datasets to train it on, made in milliseconds."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tradewind.trading.decision import Action, Decision, DecisionInput
from tradewind.trading.prompt import hold, render_completion, render_prompt

START = datetime(2026, 1, 5, tzinfo=UTC)


def make_base(folder: Path, *, hidden: int = 32, layers: int = 2) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<|pad|>": 0, "<|end|>": 1} | {letter: i + 2 for i, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocab), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=None,
            eos_token_id=1, pad_token_id=0, tie_word_embeddings=True,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    return folder


def sample(number: int, draw: random.Random) -> dict[str, object]:
    """A line of a dataset; what is right follows from the market."""
    change = round(draw.uniform(-0.05, 0.05), 4)
    shown = DecisionInput(market_data={"BTC": {"change": change, "n": "x" * draw.randrange(30)}}, account_state={})
    action = Action.OPEN_LONG if change > 0.02 else Action.OPEN_SHORT if change < -0.02 else Action.HOLD
    decision = hold("BTC") if action is Action.HOLD else Decision(
        action=action, symbol="BTC", size_usd=100, leverage=2, stop_loss_pct=0.02, take_profit_pct=0.05, confidence=0.7
    )  # fmt: skip
    decided = START + timedelta(hours=number)
    return {
        "prompt": render_prompt(shown, "BTC"),
        "completion": render_completion(decision),
        "weight": draw.choice((0.3, 1.0, 1.5)),
        "label": "good_decision",
        "action": str(action),
        "symbol": "BTC",
        "decision_id": f"d{number}",
        "decided_at": decided.isoformat(),
        "ends_at": decided.isoformat(),
        "source_model": "api",
        "regime": "",
    }


def make_dataset(folder: Path, *, train: int = 24, evaluation: int = 6, seed: int = 1) -> str:
    """Writes the dataset and returns its hash."""
    from tradewind.training.files import dataset_sha256

    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(sample(n, draw)) + "\n" for n in range(train + evaluation)]
    (folder / "train.jsonl").write_text("".join(lines[:train]))
    (folder / "eval.jsonl").write_text("".join(lines[train:]))
    (folder / "manifest.json").write_text(json.dumps({"watermark": "2026-02-01T00:00:00+00:00"}))
    return dataset_sha256(folder)
