"""The tiny base model, made on the spot: no weights are downloaded and none are shipped.

    python -m demo.base_model --output /mnt/models/base --threads 2

A byte-level BPE tokenizer is trained on generated prompts and answers, then a small Llama is pretrained on them. The
markets are random walks seen through the demo's own features and the decisions are drawn at random: the model learns the
format and how the fields of a market go together, and knows nothing of profit. That is what the LoRA training adds.

Belongs here: the tokenizer, the synthetic text, the pretraining, the folder in Hugging Face's layout. Does not belong here:
real bars and anything learned from outcomes. The folder is complete once `base-model.json` names every file's hash; a
second run with the same key (scripts, prompt, flags) verifies them and does nothing.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from demo import bars as demo_bars
from demo.bars import SYMBOL, WARMUP, Bar, market_view
from tradewind.trading import prompt as trading_prompt
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    INSTRUCTION,
    LEVERAGE_GRID,
    PERCENT_GRID,
    SIZE_GRID_USD,
    hold,
    render_completion,
    render_prompt,
)  # fmt: skip
from workshop import tiny_llama

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

MANIFEST: Final = "base-model.json"
SHORT_SHARE: Final = 0.8  # of the steps are without the instruction: they cost half
PROMPT_WEIGHT: Final = 0.1  # of a prompt's token in the loss, against 1 of an answer's

# A JSON key with the punctuation around it is one piece, and so are a word and a number: a value never shares a token with
# its key, so forcing the key and choosing the value never changes how either is cut, and the instruction, which ends with a
# newline, is cut alike with and without what follows.
PIECES: Final = (
    r'"?[\]}]*,?[\[{]*"[A-Za-z0-9_]+":[\[{]*"?|[A-Z][a-z]+: |\n|[0-9]{4}-[0-9]{2}-[0-9]{2}|T[0-9]{2}|:[0-9]{2}:[0-9.]+Z'
    r"| ?[A-Za-z_][A-Za-z0-9_]*|-?[0-9]+(?:\.[0-9]+)?"
)


SIZES: Final = tuple(size for size in SIZE_GRID_USD if 10 <= size <= 1000)
PERCENTS: Final = tuple(share for share in PERCENT_GRID if share in (0, 0.5) or 0.0005 <= share <= 0.3)
LEVERAGES: Final = tuple(leverage for leverage in LEVERAGE_GRID if leverage <= 50)
ACTIONS: Final = (Action.OPEN_LONG, Action.OPEN_SHORT, Action.HOLD)
READ_FIELDS: Final = (
    "macd_signal", "momentum_1h", "momentum_3h", "move_3h", "session", "trend", "volatility",
)  # fmt: skip
WHIM: Final = 0.5  # share of blind actions towards the end: a base that is sure of itself has to be unlearned first
Rule = Callable[[demo_bars.MarketView], Action]


def synthetic_samples(seed: int, count: int, *, whim: float = 0, rule_seed: int = 0) -> Iterator[tuple[str, str]]:
    """Pairs of a prompt and an answer: random walks, and decisions of a rule that was drawn at random.

    Everything in an answer has to be read off the fields; nothing of it has to do with profit. `whim` is the share of
    actions that follow no rule.
    """
    draw = random.Random(seed)
    rule = _random_rule(rule_seed)
    made = 0
    while made < count:
        walk = _random_walk(draw, WARMUP + 200)
        for index in draw.sample(range(WARMUP, len(walk)), k=min(40, count - made)):
            made += 1
            market = market_view(walk, index)
            history = tuple(_past(draw) for _ in range(draw.choices((0, 1, 2, 3), (17, 1, 1, 1))[0]))
            shown = DecisionInput(
                market_data=market,
                account_state={
                    "balance": float(draw.choice((100, 500, 600, 1000, 2500, 10_000))),
                    "permission_level": draw.choice(("L1", "L2", "L3")),
                    "positions": [],
                },
                recent_history=history,
            )
            yield render_prompt(shown, SYMBOL), render_completion(_random_decision(draw, market, rule, whim))


def pretrain(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Train tokenizer and model into a folder in Hugging Face's layout; returns what is worth knowing of it."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(options.threads)
    texts = [prompt + answer for prompt, answer in synthetic_samples(options.seed, options.tokenizer_samples)]
    tokenizer = tiny_llama.train_tokenizer(texts, [PIECES], vocabulary=options.vocab)
    heads = options.hidden // 32
    shape = tiny_llama.Shape(options.hidden, options.layers, heads, inner=3 * options.hidden)
    model = tiny_llama.make_llama(tokenizer, shape, seed=options.seed)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"model: {parameters / 1e6:.2f} M parameters, {len(tokenizer)} tokens in the vocabulary", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    warm = max(1, options.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / warm, max(0.05, 1 - (k - warm) / max(1, options.steps - warm)))
    )
    model.train()
    began, seen, loss_value = time.monotonic(), 0, float("nan")
    batches = _batches(tokenizer, options)
    for step in range(options.steps):
        inputs, weights = next(batches)
        loss = _loss(model, inputs, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        seen += inputs.numel()
        if step % 25 == 0 or step + 1 == options.steps:
            loss_value = float(loss.detach())
            speed = seen / (time.monotonic() - began)
            print(f"step {step + 1}/{options.steps}: loss {loss_value:.3f}, {speed:,.0f} tokens/s", flush=True)
    check_round_trip(tokenizer, synthetic_samples(options.seed + 2, 200))
    tiny_llama.write(folder, model.eval(), tokenizer)
    return {"parameters": parameters, "loss": round(loss_value, 4), "seconds": round(time.monotonic() - began, 1)}


def check_round_trip(tokenizer: "PreTrainedTokenizerFast", samples: Iterator[tuple[str, str]]) -> None:
    """Refuse a tokenizer that does not give a text back, or cuts an answer otherwise after its prompt than alone.

    Raises:
        ValueError: with the text that failed.
    """
    for prompt, answer in samples:
        apart = tokenizer.encode(prompt) + tokenizer.encode(answer)
        if tokenizer.decode(apart) != prompt + answer or tokenizer.encode(prompt + answer) != apart:
            raise ValueError(f"tokenizer: {prompt + answer!r} does not survive the round trip")


def content_key(options: argparse.Namespace) -> str:
    """Hash of all that the model is made from: this script, the features, the prompt, the flags."""
    digest = hashlib.sha256()
    for module in (__file__, demo_bars.__file__, tiny_llama.__file__, trading_prompt.__file__):
        digest.update(Path(module).read_bytes())
    made_of = {k: v for k, v in sorted(vars(options).items()) if k not in ("output", "result")}
    digest.update(json.dumps(made_of).encode())
    return digest.hexdigest()


def is_complete(folder: Path, key: str) -> bool:
    """Whether the folder holds the model of this key, every file of it unharmed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["key"] == key and manifest["files"] == _hashes(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _loss(model: Any, inputs: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=inputs, attention_mask=(weights >= 0).long()).logits[:, :-1]
    losses = cross_entropy(logits.flatten(0, 1), inputs[:, 1:].flatten(), reduction="none")
    counted = weights[:, 1:].flatten().clamp(min=0)
    return (losses * counted).sum() / counted.sum()


def _batches(
    tokenizer: "PreTrainedTokenizerFast", options: argparse.Namespace
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Token ids and loss weights, both [batch, longest]; a weight of -1 marks padding."""
    import torch

    sharp = synthetic_samples(options.seed + 1, options.steps * options.batch)
    whimsical = synthetic_samples(options.seed + 3, options.steps * options.batch, whim=WHIM)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    for step in range(options.steps):
        short = step < SHORT_SHARE * options.steps
        rows, weights = [], []
        for prompt, answer in itertools.islice(
            sharp if short else whimsical, options.batch if short else options.batch // 2
        ):
            asked = tokenizer.encode(prompt.removeprefix(INSTRUCTION) if short else prompt)
            said = [*tokenizer.encode(answer), end]
            rows.append(asked + said)
            weights.append([PROMPT_WEIGHT] * len(asked) + [1.0] * len(said))
        width = max(map(len, rows))
        yield (
            torch.tensor([row + [pad] * (width - len(row)) for row in rows]),
            torch.tensor([row + [-1.0] * (width - len(row)) for row in weights]),
        )


def _random_walk(draw: random.Random, length: int) -> tuple[Bar, ...]:
    price, noise = draw.uniform(0.8, 1.6), draw.uniform(2e-4, 2e-3)
    start = datetime(2000, 1, 1, tzinfo=UTC) + draw.randrange(24 * 365 * 15) * demo_bars.BAR
    made = []
    for k in range(length):
        if k % 24 == 0:
            drift, scale = draw.gauss(0, noise / 6), noise * draw.choice((0.5, 0.8, 1.0, 1.3, 2.0))
        close = price * (1 + draw.gauss(drift, scale))
        low, high = min(price, close), max(price, close)
        made.append(Bar(start + k * demo_bars.BAR, price, high, low, close))
        price = close
    return tuple(made)


def _random_rule(seed: int) -> Rule:
    """A trading rule drawn from a seed: each value of each field speaks for or against each action, by chance."""

    def decide(market: demo_bars.MarketView) -> Action:
        fields = market[SYMBOL]
        assert isinstance(fields, dict)
        words = [f"{name}={fields[name]}" for name in READ_FIELDS]
        return max(ACTIONS, key=lambda action: sum(_chance(seed, f"{word}/{action}") for word in words))

    return decide


def _chance(seed: int, what: str) -> float:
    """A fixed draw from -1 to 1 that depends on nothing but the seed and the text."""
    digest = hashlib.blake2b(f"{seed}/{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1


def _random_decision(draw: random.Random, market: demo_bars.MarketView, rule: Rule, whim: float) -> TradeDecision:
    """The rule's action, or by whim another; size, leverage, distances and confidence are read off the hour by fixed tables.

    The tables walk through every value that an answer may hold: a value that was never written with certainty in
    pretraining is out of reach of an adapter, which changes no embedding.
    """
    fields = market[SYMBOL]
    assert isinstance(fields, dict)
    hour = int(fields["hour"])
    action = draw.choice(ACTIONS) if draw.random() < whim else rule(market)
    confidence = _walked(CONFIDENCE_GRID, 5 * hour)
    if action is Action.HOLD:
        return hold(SYMBOL, confidence=confidence)
    return TradeDecision(
        action=action,
        symbol=SYMBOL,
        size_usd=_walked(SIZES, hour),
        leverage=int(_walked(LEVERAGES, 7 * hour)),
        stop_loss_pct=_walked(PERCENTS, 11 * hour),
        take_profit_pct=_walked(PERCENTS, 13 * hour + 5),
        confidence=confidence,
    )


def _walked(grid: Sequence[float], step: int) -> float:
    return grid[step % len(grid)]


def _past(draw: random.Random) -> dict[str, Any]:
    """An earlier decision as the gateway shows it in `recent_history`."""
    action = draw.choice(ACTIONS)
    opened, pnl = action.opens, round(draw.gauss(0, 2), 2)
    when = datetime(2000, 1, 1, tzinfo=UTC) + draw.randrange(24 * 365 * 20) * demo_bars.BAR
    result = {"exit_reason": "bar_close", "pnl": pnl, "profitable": pnl > 0} if opened else None
    return {
        "action": str(action),
        "confidence": draw.choice(CONFIDENCE_GRID),
        "leverage": draw.choice((1, 2, 5, 10, 20)) if opened else 1,
        "result": result,
        "size_usd": draw.choice((50, 100, 200, 500)) if opened else 0,
        "symbol": SYMBOL,
        "timestamp": f"{when:%Y-%m-%dT%H:%M:%S}.000000Z",
    }


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def _parse_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description="tiny base model of the Tradewind demo")
    flags.add_argument("--output", type=Path, required=True, help="folder of the finished model")
    flags.add_argument("--seed", type=int, default=7)
    flags.add_argument("--steps", type=int, default=400)
    flags.add_argument("--batch", type=int, default=24)
    flags.add_argument("--learning-rate", type=float, default=3e-3)
    flags.add_argument("--tokenizer-samples", type=int, default=3000, help="generated texts the tokenizer learns from")
    flags.add_argument("--vocab", type=int, default=1024)
    flags.add_argument("--hidden", type=int, default=128, help="width, a multiple of 32")
    flags.add_argument("--layers", type=int, default=4)
    flags.add_argument("--threads", type=int, default=2, help="part of the key: sums depend on it in the last digits")
    flags.add_argument("--result", type=Path, default=Path("/dev/termination-log"), help="file for the JSON summary")
    return flags.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = _parse_flags(argv)
    key = content_key(options)
    folder: Path = options.output
    summary: dict[str, object] = {"key": key, "output": str(folder)}
    if is_complete(folder, key):
        print(f"{folder} already holds this model, verified", flush=True)
        summary["reused"] = True
    else:
        parts = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        summary |= pretrain(options, parts)
        (parts / MANIFEST).write_text(json.dumps({"key": key, "files": _hashes(parts)}, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        parts.rename(folder)
    if options.result.parent.is_dir():
        options.result.write_text(json.dumps(summary), encoding="utf-8")
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
