"""The demo's loop without a cluster: for tuning, and to see what `make demo` will see.

    python -m demo.base_model --output build/base
    python -m demo.offline --base build/base --work build/offline --validate     tunes: sees the first part of the bars only
    python -m demo.offline --base build/base --work build/offline                the whole, with a report

The very pieces of the product in one process: the stand-in's rule, the data set's filter, jobs/train.py, the predictor's
decoder, the draw, the weight policy and the verdict. What is missing is the gateway, the database and the operator. The
settings are those of demo/manifests, so that nothing is tuned here that the demo does not use. With `--validate` the last
third of the first part plays the role of the test: the bars after the first part are not looked at.

Belongs here: the loop. Does not belong here: any rule of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from cluster.images import NAMES
from demo.bars import (
    SYMBOL,
    WARMUP,
    Bar,
    account_state,
    load_bars,
    market_is_open_after,
    market_view,
    split_index,
)  # fmt: skip
from demo.manifest import render
from demo.paper_trader import settle
from demo.plan import Plan
from demo.standin import MODEL
from demo.standin import decide as standin_decide
from demo.verdicts import ROOT
from tradewind.cli.report_data import read_bundle
from tradewind.cli.report_page import render_page as render_report
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.assignment import Arm, draw_arm
from tradewind.trading.dataset import LoggedDecision, build_dataset, dataset_lines
from tradewind.trading.decision import DecisionInput, Limits, TradeDecision
from tradewind.trading.evidence import (
    Basis,
    EvidenceSpec,
    ExperimentRules,
    Memory,
    Status,
    TradeRow,
    TradeTable,
    Verdict,
    candidate_weight_for_block,
    judge,
)  # fmt: skip
from tradewind.trading.paper import Paper, PaperRule, Price, Prices, hold, settled
from tradewind.trading.prompt import render_prompt
from tradewind.trading.settings.paper import PaperSettings
from tradewind.trading.standing import Trade, trade_of
from tradewind.training.artifact import published_sha256
from tradewind.training.config import SnapshotConfig
from tradewind.training.files import EVAL_FILE, TRAIN_FILE, dataset_sha256

if TYPE_CHECKING:
    from tradewind.predictor.decoder import Written

LIMITS: Final = Limits(max_leverage=20, max_size_usd=100)
Decide = Callable[[DecisionInput], TradeDecision]


def shown_at(bars: tuple[Bar, ...], index: int) -> DecisionInput:
    """What an arm is shown at the close of a bar."""
    return DecisionInput(market_data=market_view(bars, index), account_state=account_state())


def api_arm(shown: DecisionInput) -> TradeDecision:
    """The stand-in's answer, from the prompt's text as over the wire."""
    return TradeDecision.model_validate(standin_decide(render_prompt(shown, SYMBOL)))


def api_log(bars: tuple[Bar, ...], start: int, stop: int, cost_bp: float) -> list[LoggedDecision]:
    """The log of the API arm alone, as the snapshot reads it from the database."""
    log = []
    for index in (i for i in range(start, stop) if market_is_open_after(bars, i)):
        shown = shown_at(bars, index)
        answer = api_arm(shown)
        fill = settle(answer.model_dump(mode="json"), bars[index + 1], cost_bp)
        log.append(
            LoggedDecision(
                decision_id=f"offline-{index:05d}",
                decided_at=bars[index].closes_at,
                shown=shown,
                symbol=SYMBOL,
                answer=answer,
                replay=True,
                execution_status="opened" if fill else None,
                closed_at=fill.closed_at if fill else None,
                pnl_usd=fill.pnl_usd if fill else None,
                trade_size_usd=answer.size_usd if fill else None,
                filled_notional_usd=fill.notional_usd if fill else None,
                source_model=MODEL,
            )
        )
    return log


def train(log: list[LoggedDecision], spec: Mapping[str, Any], base: Path, work: Path) -> dict[str, Any]:
    """Data set and adapter by the product's own code; the trainer's result."""
    chosen = {"includeReplay": True, "labels": spec["dataset"]["labels"], "split": spec["dataset"]["split"]}
    learned = {name: spec[name] for name in ("objective", "kto") if name in spec}
    chosen |= {name: value for name, value in learned.items() if name == "objective"}
    endpoint = {"installation": "offline", "namespace": "offline", "name": "offline"}
    config = SnapshotConfig.model_validate({**chosen, "endpoint": endpoint, "output": str(work)})
    data = build_dataset(log, config.imitation(), config.split)
    folder = work / "dataset"
    folder.mkdir(parents=True, exist_ok=True)
    for name, side in ((TRAIN_FILE, data.train), (EVAL_FILE, data.evaluation)):
        with (folder / name).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(dataset_lines(side, data.prompts))
    labels = Counter(sample.label for sample in data.samples)
    print(f"data set: {len(data.train)} + {len(data.evaluation)} samples, {dict(labels)}, dropped {dict(data.dropped)}")
    asked = {
        "run": "offline",
        "base": str(base),
        "dataset": str(folder),
        "datasetSha256": dataset_sha256(folder),
        "output": str(work / "run"),
        "method": spec["method"],
        "lora": spec["lora"],
        "hyperparameters": spec["hyperparameters"],
        "checkpoint": {"resume": False},
        **learned,
    }
    (work / "train.json").write_text(json.dumps(asked), encoding="utf-8")
    result = work / "train-result.json"
    command = [
        sys.executable,
        str(ROOT / "jobs" / "train.py"),
        "--config",
        str(work / "train.json"),
        "--result",
        str(result),
    ]
    subprocess.run(command, check=True)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def candidate_arm(base: Path, adapter: Path, sha256: str) -> Decide:
    """What the predictor answers, without its server."""
    write = candidate_writer(base, adapter, sha256)
    return lambda shown: write(shown).decision


def candidate_writer(base: Path, adapter: Path, sha256: str) -> "Callable[[DecisionInput], Written]":
    """The predictor's own loader and decoder: decisions with the probabilities of actions."""
    from tradewind.predictor.decoder import Decoder
    from tradewind.predictor.grammar import Grammar
    from tradewind.predictor.loader import completion_tokeniser, encode_prompt, load, static_beginning
    from tradewind.predictor.settings import parse_settings

    settings = parse_settings(
        [
            "--model-name",
            "candidate",
            "--base",
            str(base),
            "--adapter",
            str(adapter),
            "--sha256",
            sha256,
            "--decoding",
            "scored",
        ]
    )
    loaded = load(settings)
    grammar = Grammar(completion_tokeniser(loaded.tokenizer))
    decoder = Decoder(loaded.model, static_beginning(loaded.tokenizer), decoding=settings.decoding)
    plan = grammar.plan(SYMBOL, LIMITS)

    def write(shown: DecisionInput) -> "Written":
        return decoder.write(encode_prompt(loaded.tokenizer, render_prompt(shown, SYMBOL)), plan)

    return write


@dataclass(frozen=True)
class Answers:
    """What baseline and candidate say on a bar, and how long each took in milliseconds."""

    answers: tuple[TradeDecision, TradeDecision]
    latency_ms: tuple[float, float]

    def of(self, arm: Arm) -> tuple[TradeDecision, float]:
        """Answer and latency of one arm."""
        which = int(arm is Arm.CANDIDATE)
        return self.answers[which], self.latency_ms[which]


@dataclass(frozen=True)
class Papers:
    """What baseline and candidate would have earned on paper on a bar."""

    baseline: Paper
    candidate: Paper

    def seen(self, arm: Arm, shadow: str) -> tuple[float | None, float | None, datetime | None]:
        """Those of baseline and candidate that there are where an arm was drawn, and when they are known."""
        both = self.baseline, self.candidate
        asked = shadow == "both" or arm is Arm.BASELINE, shadow != "none" or arm is Arm.CANDIDATE
        known = [paper.known_at for paper, there in zip(both, asked, strict=True) if there]
        first, second = (paper.ret if there else None for paper, there in zip(both, asked, strict=True))
        return first, second, max(known, default=None)


def ask_both(plan: Plan, candidate: Decide) -> dict[int, Answers]:
    """What both arms say on every bar of the test: nothing that they are shown depends on the draws."""
    found = {}
    for index in traded(plan):
        shown = shown_at(plan.bars, index)
        times = [time.perf_counter()]
        both = []
        for decide in (api_arm, candidate):
            both.append(decide(shown))
            times.append(time.perf_counter())
        found[index] = Answers((both[0], both[1]), (1e3 * (times[1] - times[0]), 1e3 * (times[2] - times[1])))
    return found


def traded(plan: Plan) -> Iterator[int]:
    """The bars of the test on which an arm decides."""
    return (i for i in range(plan.split, len(plan.bars) - 1) if market_is_open_after(plan.bars, i))


def papers(plan: Plan, endpoint: Mapping[str, Any], answers: Mapping[int, Answers]) -> dict[int, Papers]:
    """What both arms would have earned on paper on each bar, by the product's rule; nothing where there is no pair."""
    settings = PaperSettings.model_validate(endpoint["spec"]["paper"])
    rule = PaperRule.of(settings, as_timedelta(endpoint["spec"]["maxHold"]))
    prices = Prices(
        Price(bar.opens_at, bar.closes_at, bar.open, bar.high, bar.low, bar.close, bar.closes_at) for bar in plan.bars
    )
    found: dict[int, Papers] = {}
    for index, both in answers.items():
        at = plan.bars[index].closes_at
        entry = float(str(market_view(plan.bars, index)[SYMBOL]["price"]))  # type: ignore[index]
        trades = [trade_of(answer.model_dump(mode="json")) for answer in both.answers]
        settled_ = [
            hold(at) if trade is None else settled(trade, at, entry, prices, rule) if isinstance(trade, Trade) else None
            for trade in trades
        ]
        if all(isinstance(paper, Paper) for paper in settled_):
            found[index] = Papers(*(paper for paper in settled_ if isinstance(paper, Paper)))
    return found


def replay(
    plan: Plan,
    spec: Mapping[str, Any],
    answers: Mapping[int, Answers],
    on_paper: Mapping[int, Papers],
    uid: str = "offline",
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The A/B test block by block: rows as the view judged_rows has them, and the experiment's status.

    Args:
        answers: what both arms say on each bar; the draw decides whose is carried out.
        on_paper: what both would earn on paper.
        uid: of the experiment: the draws follow from it.
    """
    shadow = spec["traffic"].get("shadow", "none")
    rules = EvidenceSpec(
        rules=ExperimentRules.model_validate({k: spec[k] for k in ("evidence", "traffic", "guardrails")}),
        replay=spec.get("mode") == "Replay",
        basis=Basis(shadow=shadow),
    )
    bars, t0 = plan.bars, plan.t0
    trades: list[TradeRow] = []
    rows: list[dict[str, Any]] = []
    weight, block = 0.0, -1
    status: dict[str, Any] = {"phase": "Running", "t0": t0.isoformat(), "basis": {"shadow": shadow}}
    memory = Memory()
    for index in traded(plan):
        now = bars[index].closes_at
        while (now - t0) // rules.block_length > block:
            block += 1
            look = t0 + block * rules.block_length
            table = TradeTable.from_rows(trades)
            weight = candidate_weight_for_block(table, t0, block, rules).weight
            verdict = judge(table, t0, look, rules, memory=memory).verdict
            if verdict.verdict is not Verdict.CONTINUE:
                status |= {
                    "phase": "Succeeded",
                    "verdict": {
                        "decision": verdict.verdict.value,
                        "reason": str(verdict.reason),
                        "message": verdict.message[:1000],
                        "time": look.isoformat(),
                    },
                }
                return rows, status
        decision_id = f"offline-{index:05d}"
        arm = draw_arm(uid, decision_id, weight)
        answer, latency_ms = answers[index].of(arm)
        paper = on_paper.get(index)
        first, second, known = (None, None, None) if paper is None else paper.seen(arm, shadow)
        fill = settle(answer.model_dump(mode="json"), bars[index + 1], plan.cost_bp)
        trade = TradeRow(
            decision_id,
            arm,
            weight,
            now,
            Status.HOLD,
            symbol=SYMBOL,
            paper_baseline=first,
            paper_candidate=second,
            paper_at=known,
        )
        if fill:
            trade = replace(
                trade,
                status=Status.CLOSED,
                closed_at=fill.closed_at,
                notional_usd=fill.notional_usd,
                pnl_usd=fill.pnl_usd,
            )
        trades.append(trade)
        rows.append(
            {
                "decision_id": decision_id,
                "arm": arm.value,
                "candidate_weight": weight,
                "decided_at": now.isoformat(),
                "status": trade.status.value,
                "closed_at": fill.closed_at.isoformat() if fill else None,
                "notional_usd": trade.notional_usd,
                "pnl_usd": trade.pnl_usd,
                "latency_ms": round(latency_ms, 3),
                "symbol": SYMBOL,
                "paper_baseline": trade.paper_baseline,
                "paper_candidate": trade.paper_candidate,
                "paper_at": trade.paper_at.isoformat() if trade.paper_at else None,
            }
        )
    return rows, status


def describe(plan: Plan, answers: Mapping[int, Answers]) -> None:
    """What both arms would do on every bar, without a draw: hold share and per-decision Sharpe."""
    for name, arm in (("baseline", Arm.BASELINE), ("candidate", Arm.CANDIDATE)):
        actions: Counter[str] = Counter()
        returns = []
        for index, both in answers.items():
            answer, _ = both.of(arm)
            fill = settle(answer.model_dump(mode="json"), plan.bars[index + 1], plan.cost_bp)
            actions[answer.action] += 1
            returns.append(fill.pnl_usd / fill.notional_usd if fill else 0.0)
        mean = sum(returns) / len(returns)
        spread = (sum((r - mean) ** 2 for r in returns) / len(returns)) ** 0.5
        print(
            f"{name}: {dict(actions)}, {1e4 * mean:+.3f} bp a decision, Sharpe {mean / spread if spread else 0:+.4f}, "
            f"{sum(both.of(arm)[1] for both in answers.values()) / len(returns):.1f} ms a decision"
        )


def main() -> None:
    flags = argparse.ArgumentParser(description="the demo's loop without a cluster")
    flags.add_argument("--base", type=Path, required=True, help="folder of the tiny base model")
    flags.add_argument("--work", type=Path, required=True, help="folder for data set, adapter and report")
    flags.add_argument("--cost-bp", type=float, default=1.2)
    flags.add_argument("--validate", action="store_true", help="test on the last third of the first part")
    flags.add_argument(
        "--adapter", type=Path, help="a trained adapter, such as that of a demo's run; none is trained then"
    )
    flags.add_argument("--seeds", type=int, default=0, help="other draws of the same test, one after the other")
    flags.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value for a manifest")
    options = flags.parse_args()
    bars = load_bars()
    split, stop = split_index(bars), len(bars) - 1
    if options.validate:
        stop = split
        last = WARMUP + 2 * (split - WARMUP) // 3
        split = next(i for i in range(last, stop) if bars[i].closes_at.hour == 0)
    plan = Plan("offline", bars[: stop + 1], split, options.cost_bp)
    values = plan.values("offline", dict.fromkeys(NAMES, "")) | {"base_key": ""}
    values |= dict(pair.split("=", 1) for pair in options.set)
    training = yaml.safe_load(render("training.yaml", values))["spec"]
    experiment = yaml.safe_load(render("experiment.yaml", values))
    began = time.monotonic()
    if options.adapter is not None:
        adapter, sha256 = options.adapter, published_sha256(options.adapter) or ""
    else:
        log = api_log(bars, WARMUP, split, options.cost_bp)
        result = train(log, training, options.base.resolve(), options.work.resolve())
        print(f"trained in {time.monotonic() - began:.0f} s: {result}")
        adapter, sha256 = Path(result["adapter"]), result["sha256"]
    candidate = candidate_arm(options.base, adapter, sha256)
    answers = ask_both(plan, candidate)
    describe(plan, answers)
    endpoint = next(d for d in yaml.safe_load_all(render("endpoint.yaml", values)) if d["kind"] == "Endpoint")
    on_paper = papers(plan, endpoint, answers)
    print(f"{len(on_paper)} of {len(answers)} decisions have a pair")
    for seed in range(options.seeds):
        _, ended = replay(plan, experiment["spec"], answers, on_paper, uid=f"seed-{seed}")
        verdict = ended.get("verdict") or {"decision": "none", "reason": "the bars ended", "time": "", "message": ""}
        print(f"seed {seed}: {verdict['decision']} ({verdict['reason']}) {verdict['time']}: {verdict['message'][:160]}")
    rows, status = replay(plan, experiment["spec"], answers, on_paper)
    print(json.dumps(status, indent=1))
    note = "Made without a cluster by demo/offline.py; the baseline is a stand-in for an API, not a model."
    experiment["metadata"]["uid"] = "offline"
    bundle = {"experiment": experiment | {"status": status}, "trades": rows, "notes": [note]}
    data = read_bundle(bundle, datetime.now(tz=UTC))
    (options.work / "report.html").write_text(render_report(data), encoding="utf-8")
    judgement = data.judgement()
    print(judgement.verdict)
    print(f"{options.work / 'report.html'}")


if __name__ == "__main__":
    main()
