"""Which objective teaches most at equal compute, on the demo's bars: sft, kto, and one after the other.

    python benchmarks/objectives.py [--base FOLDER] [--seeds 5]

The demo's own market, log, labels and recipe (demo/offline.py), with the product's data set, trainer and decoder. Training is on the
first two thirds of the bars before the demo's test, what was learned is tried on the last third of them: each bar is decided, carried out
on paper and settled with the demo's cost. An objective may use as much processor time as three epochs of sft; how many steps that is, is
measured before. There are two ratios to sft:

- profit: what is added to the arm that was learned from, in basis points a decision (0.01 where it adds nothing). A market in which that
  arm only loses pays for holding always; the share of holds stands beside.
- telling apart: the chance that of two trades of that arm, one that earned and one that lost, the model gives the former's action the
  higher probability (area under the ROC curve; 0.5 is guessing). It asks what was learned, whatever is then done with it.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import yaml

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from cluster.images import NAMES
from demo.bars import WARMUP, load_bars, split_index
from demo.manifest import render
from demo.offline import api_arm, api_log, candidate_writer, shown_at, traded, train
from demo.paper_trader import settle
from demo.plan import Plan
from tradewind.trading.dataset import LoggedDecision
from tradewind.trading.decision import Action, TradeDecision
from tradewind.training.files import TRAIN_FILE
from workshop.benchmark import print_ratios, size
from workshop.progress import say

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--base", type=Path, help="folder of a base model (default: the demo's is made)")
FLAGS.add_argument("--seeds", type=int, default=size(5, 1), help="trainings of each objective (default: %(default)s)")
FLAGS.add_argument("--cost-bp", type=float, default=1.2, help="cost of a round trip (default: %(default)s)")

OBJECTIVES: Final = ("sft", "kto", "sft-then-kto")
ROOT: Final = Path(__file__).resolve().parents[1]
SHORT, LONG = 20, 60
"""Steps of two trainings whose difference tells what a step costs."""
BATCH: Final = 16


@dataclass(frozen=True)
class Learned:
    """What came of a training: processor seconds, mean return of a decision in basis points, its Sharpe, share of holds, area under
    the ROC curve of the source's trades.
    """

    cpu: float
    bp: float
    sharpe: float
    holds: float
    apart: float = 0.5


def main() -> None:
    options = FLAGS.parse_args()
    bars = load_bars()
    stop = split_index(bars)
    last = WARMUP + 2 * (stop - WARMUP) // 3
    first = size(WARMUP, last - 160)
    split = next(i for i in range(last, stop) if bars[i].closes_at.hour == 0)
    plan = Plan("objectives", bars[: size(stop, split + 30) + 1], split, options.cost_bp)
    values = plan.values("objectives", dict.fromkeys(NAMES, "")) | {"base_key": ""}
    spec = yaml.safe_load(render("training.yaml", values))["spec"]
    log = api_log(bars, first, split, options.cost_bp)
    source = measured(plan, {index: api_arm(shown_at(plan.bars, index)) for index in traded(plan)})
    say(f"{len(log)} decisions to learn from; their arm on the bars after them: {words(source)}")

    with tempfile.TemporaryDirectory(prefix="objectives-") as folder:
        work = Path(folder)
        base = options.base or made_base(work / "base")
        steps = equal_steps(log, spec, base, work)
        learned: dict[str, list[Learned]] = {}
        for seed in range(options.seeds):
            for objective in OBJECTIVES:  # in turns, so that load is shared
                found = trained(
                    log, asked(spec, objective, steps[objective], seed), base, work / f"{objective}-{seed}", plan
                )
                learned.setdefault(objective, []).append(found)
                say(f"{objective}, seed {seed}, {steps[objective]} steps: {words(found)}")

    for objective, runs in learned.items():
        spread, spread_apart = (
            statistics.stdev(one) if len(one) > 1 else 0.0 for one in ([r.bp for r in runs], [r.apart for r in runs])
        )
        mean = Learned(
            *(statistics.fmean(getattr(run, name) for run in runs) for name in [each.name for each in fields(Learned)])
        )
        say(f"{objective}: {words(mean)}; between seeds {spread:.3f} bp and {spread_apart:.3f} (standard deviation)")
    added = {name: statistics.fmean(run.bp for run in runs) - source.bp for name, runs in learned.items()}
    if added["sft"] <= 0:
        say("sft adds nothing here: there is nothing to compare with")
    apart = {name: statistics.fmean(run.apart for run in runs) for name, runs in learned.items()}
    ratios: dict[str, tuple[float, float]] = {}
    for name in OBJECTIVES[1:]:
        gained = max(added[name] / added["sft"], 0.01) if added["sft"] > 0 else 0.01
        ratios |= {
            f"{name} to sft, profit": (gained, 1.0),
            f"{name} to sft, telling apart": (apart[name] / apart["sft"], 1.0),
        }
    print_ratios(ratios)


def asked(spec: Mapping[str, Any], objective: str, steps: int, seed: int) -> dict[str, Any]:
    """The demo's recipe with another objective, an end and a seed."""
    settings = dict(spec["hyperparameters"]) | {"seed": seed, "epochs": "50", "extra": {"max_steps": str(steps)}}
    return dict(spec) | {"objective": objective, "hyperparameters": settings}


def equal_steps(log: list[LoggedDecision], spec: Mapping[str, Any], base: Path, work: Path) -> dict[str, int]:
    """Steps of each objective that cost as much as the demo's epochs of sft."""
    cost = {"sft": 1.0, "kto": 2.0}
    for objective in size(("sft", "kto"), ()):
        used = []
        for count in (SHORT, LONG):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            train(log, asked(spec, objective, count, 0), base, work / f"cost-{objective}-{count}")
            used.append(processor_seconds(before))
        cost[objective] = max((used[1] - used[0]) / (LONG - SHORT), 1e-3)
        say(f"a step of {objective} costs {cost[objective]:.3f} processor seconds")
    data = work / f"cost-sft-{SHORT}" / "dataset" / TRAIN_FILE
    rows = data.read_text(encoding="utf-8").count("\n") if data.is_file() else BATCH
    most = round(float(spec["hyperparameters"]["epochs"]) * rows / BATCH)
    budget = most * cost["sft"]
    return {
        "sft": most,
        "kto": max(round(budget / cost["kto"]), 2),
        "sft-then-kto": max(round(2 * budget / (cost["sft"] + cost["kto"])), 2),  # half of its steps are of each
    }


def trained(log: list[LoggedDecision], spec: Mapping[str, Any], base: Path, work: Path, plan: Plan) -> Learned:
    """One training, and what its adapter does on the bars after it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = train(log, spec, base, work)
    spent = processor_seconds(before)
    write = candidate_writer(base, Path(result["adapter"]), result["sha256"])
    written = {index: write(shown_at(plan.bars, index)) for index in traded(plan)}
    return measured(
        plan,
        {index: one.decision for index, one in written.items()},
        spent,
        {index: one.probabilities for index, one in written.items()},
    )


def measured(
    plan: Plan,
    decisions: Mapping[int, TradeDecision],
    cpu: float = 0.0,
    probabilities: Mapping[int, Mapping[Action, float]] | None = None,
) -> Learned:
    """What an arm's decisions on every bar of the plan's test earn, and how well its probabilities tell the source's trades apart."""
    returns = [earned(plan, index, decision) for index, decision in decisions.items()]
    known = [0.0 if one is None else one for one in returns]
    mean, spread = statistics.fmean(known), statistics.pstdev(known)
    apart = 0.5 if probabilities is None else area(plan, probabilities)
    return Learned(cpu, 1e4 * mean, mean / spread if spread else 0.0, returns.count(None) / len(returns), apart)


def area(plan: Plan, probabilities: Mapping[int, Mapping[Action, float]]) -> float:
    """Area under the ROC curve of the probabilities of the source's actions; 0.5 where all of its trades end alike."""
    won: list[float] = []
    lost: list[float] = []
    for index, shares in probabilities.items():
        answer = api_arm(shown_at(plan.bars, index))
        came = earned(plan, index, answer)
        if came is not None:
            (won if came > 0 else lost).append(shares[answer.action])
    pairs = len(won) * len(lost)
    return sum((a > b) + 0.5 * (a == b) for a in won for b in lost) / pairs if pairs else 0.5


def earned(plan: Plan, index: int, decision: TradeDecision) -> float | None:
    """Net return of a decision on its notional; None: it holds."""
    fill = settle(decision.model_dump(mode="json"), plan.bars[index + 1], plan.cost_bp)
    return None if fill is None else fill.pnl_usd / fill.notional_usd


def made_base(folder: Path) -> Path:
    """The demo's base model, made here."""
    small = ["--steps", "20", "--tokenizer-samples", "300", "--vocab", "512", "--hidden", "32", "--layers", "1"]
    say("making the demo's base model")
    command = [
        sys.executable,
        "-m",
        "demo.base_model",
        "--output",
        str(folder),
        "--result",
        str(folder.with_suffix(".json")),
    ]
    subprocess.run([*command, *size([], small)], check=True, cwd=ROOT, stdout=sys.stderr)
    return folder


def processor_seconds(before: resource.struct_rusage) -> float:
    """Of the children that ended since."""
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime


def words(found: Learned) -> str:
    cpu = f", {found.cpu:.0f} processor seconds" if found.cpu else ""
    return f"{found.bp:+.3f} bp a decision, Sharpe {found.sharpe:+.4f}, {100 * found.holds:.0f} % held, told apart {found.apart:.3f}{cpu}"


if __name__ == "__main__":
    main()
