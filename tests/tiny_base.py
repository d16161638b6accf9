"""A random Llama of a few thousand parameters with a byte-level tokenizer, and datasets to train it on, made in milliseconds."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.prompt import hold, render_completion, render_prompt
from workshop.tiny_llama import Shape, make_llama, train_tokenizer, write

START = datetime(2026, 1, 5, tzinfo=UTC)


def make_base(folder: Path) -> Path:
    """One byte is one token; ends with its tokenizer's stop token."""
    tokenizer = train_tokenizer([])
    return write(folder, make_llama(tokenizer, Shape()), tokenizer)


def sample(number: int, draw: random.Random) -> dict[str, object]:
    """A line of a dataset; what is right follows from the market."""
    change = round(draw.uniform(-0.05, 0.05), 4)
    shown = DecisionInput(market_data={"BTC": {"change": change, "n": "x" * draw.randrange(30)}}, account_state={})
    action = Action.OPEN_LONG if change > 0.02 else Action.OPEN_SHORT if change < -0.02 else Action.HOLD
    decision = hold("BTC") if action is Action.HOLD else TradeDecision(
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
