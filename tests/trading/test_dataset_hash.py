"""The same rows give the bytes that they gave when datasets were made of whole rows in memory (commit cb636a3)."""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tradewind.trading.dataset import Imitation, LoggedDecision, build_dataset, dataset_lines
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.duplicates import Dedupe
from tradewind.trading.labels import Label
from tradewind.trading.settings.dataset import DatasetSplit
from tradewind.trading.settings.labels import DatasetLabels

START = datetime(2026, 1, 5, tzinfo=UTC)
SYMBOLS = ("BTC", "ETH", "黄金")


def shown(rng: random.Random, symbol: str) -> DecisionInput:
    # Few prices and a fine last digit: exact and near duplicates are among them.
    price = rng.choice((100.0, 101.5, 103.0)) * (1 + rng.randrange(9) / 10) + rng.choice((0, 0, 0.001))
    return DecisionInput(
        market_data={symbol: {"price": price, "trend": "涨"}, "market_regime": rng.choice(["bull", "bear", None])},
        account_state={"balance": rng.choice((600.0, 600, 10**17)), "positions": [{"side": "long", "size": -0.0}]},
        recent_history=({"action": "hold", "pnl": rng.randrange(3)},),
    )


def log(rows: int) -> list[LoggedDecision]:
    rng = random.Random(1)
    made = []
    for number in range(rows):
        symbol = rng.choice(SYMBOLS)
        action = rng.choice((Action.OPEN_LONG, Action.OPEN_LONG, Action.OPEN_SHORT, Action.HOLD, Action.CLOSE))
        answer = TradeDecision(
            action=action, symbol=symbol, size_usd=rng.choice((60.0, 123.4, 0.004)) if action.opens else 0, leverage=rng.choice((1, 7)),
            stop_loss_pct=rng.choice((0.02, 0.0213, 0.000009)), take_profit_pct=0.05, confidence=rng.random(), reasoning="why " * 5,
        )  # fmt: skip
        decided = START + timedelta(minutes=30 * (number // 2))  # two at a time: ids tell them apart
        traded = action is not Action.HOLD
        columns: dict[str, Any] = {
            "closed_at": decided + timedelta(hours=rng.randrange(1, 30)) if traded and rng.random() < 0.95 else None,
            "pnl_usd": round(rng.gauss(0.3, 3), 4) * rng.choice((0, 1, 1, 1)) if traded else None,
            "trade_size_usd": answer.size_usd if action.opens else 60.0 if traded else None,
            "filled_notional_usd": 120.0 if traded else None,
            "execution_status": rng.choice(("opened", "opened", "opened", "rejected", "not_filled", None)),
            "parent_id": f"d{number - 4:05}" if not action.opens and rng.random() < 0.3 else None,
            "replay": rng.random() < 0.05,
            "fallback": rng.random() < 0.05,
            "invalid": rng.random() < 0.02,
            "source_model": rng.choice(("api", "own-v1", "")),
        }
        if rng.random() < 0.1:
            columns |= {"given_label": rng.choice(list(Label)), "imported_from": "seed", "pnl_usd": None}
        answered = None if columns["invalid"] or rng.random() < 0.02 else answer
        made.append(
            LoggedDecision(f"d{number:05}", decided, shown(rng, symbol), symbol, answered, **columns)  # type: ignore[arg-type]
        )
    rng.shuffle(made)
    return made


LABELS = {"counterfactualHolds": True, "returnExponent": "0.5", "holdWeight": "0.7"}
CASES: dict[str, tuple[Imitation, DatasetSplit, str]] = {
    "default": (Imitation(), DatasetSplit(), "312926ea80db3b52"),
    "near": (Imitation(dedupe=Dedupe.NEAR), DatasetSplit(eval_fraction="0.3", embargo="3h"), "f44320fe6e79b9a6"),
    "none": (Imitation(dedupe=Dedupe.NONE, max_samples=200), DatasetSplit(), "5d711291b3aa899d"),
    "kto": (
        Imitation(DatasetLabels.model_validate(LABELS), include_replay=True, include_fallback=True, avoid_bad=True),
        DatasetSplit(eval_fraction="0"),
        "32a5b1412af14490",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_hash_of_a_log_stays(case: str) -> None:
    imitation, split, expected = CASES[case]
    dataset = build_dataset(log(2000), imitation, split)
    assert len(dataset.samples) > 150
    text = "|".join("".join(dataset_lines(side, dataset.prompts)) for side in (dataset.train, dataset.evaluation))
    told = f"{text}{dict(sorted(dataset.dropped.items()))}{len(dataset.trades)}{dataset.watermark}"
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == expected
