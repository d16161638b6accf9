"""Which objective teaches most at equal compute, on the demo's bars: sft, kto, and one after the other.

    python benchmarks/objectives.py [--base FOLDER] [--seeds 5]

The demo's own market, log, labels and recipe (demo/offline.py), with the product's data set, trainer and decoder. Training is on the
first two thirds of the bars before the demo's test, what was learned is tried on the last third of them: each bar is decided, carried out
on paper and settled with the demo's cost. An objective may use as much processor time as three epochs of sft; how many steps that is, is
measured before. A ratio is what an objective adds to the arm that it learned from, in basis points a decision, by what sft adds
(0.01 where it adds nothing).

A market in which the arm that is learned from only loses pays for holding: the share of holds stands beside.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from cluster.images import NAMES
from demo.bars import WARMUP, Bar, load_bars, split_index
from demo.manifest import render
from demo.offline import Decide, api_arm, api_log, candidate_arm, shown_at, traded, train
from demo.paper_trader import settle
from demo.plan import Plan
from tradewind.trading.dataset import LoggedDecision
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
    """What came of a training: processor seconds, mean return of a decision in basis points, its Sharpe, share of holds."""

    cpu: float
    bp: float
    sharpe: float
    holds: float


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
    source = measured(plan, api_arm, 0.0)
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
        spread = statistics.stdev(run.bp for run in runs) if len(runs) > 1 else 0.0
        mean = Learned(
            *(statistics.fmean(getattr(run, name) for run in runs) for name in ("cpu", "bp", "sharpe", "holds"))
        )
        say(f"{objective}: {words(mean)}; {spread:.3f} bp between seeds (standard deviation)")
    added = {name: statistics.fmean(run.bp for run in runs) - source.bp for name, runs in learned.items()}
    if added["sft"] <= 0:
        say("sft adds nothing here: there is nothing to compare with")
    print_ratios(
        {
            f"{name} against sft": (max(added[name] / added["sft"], 0.01) if added["sft"] > 0 else 0.01, 1.0)
            for name in OBJECTIVES[1:]
        }
    )


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
    return measured(plan, candidate_arm(base, Path(result["adapter"]), result["sha256"]), processor_seconds(before))


def measured(plan: Plan, decide: Decide, cpu: float) -> Learned:
    """What an arm earns on every bar of the plan's test."""
    bars: tuple[Bar, ...] = plan.bars
    returns, holds = [], 0
    for index in traded(plan):
        fill = settle(decide(shown_at(bars, index)).model_dump(mode="json"), bars[index + 1], plan.cost_bp)
        returns.append(fill.pnl_usd / fill.notional_usd if fill else 0.0)
        holds += fill is None
    mean, spread = statistics.fmean(returns), statistics.pstdev(returns)
    return Learned(cpu, 1e4 * mean, mean / spread if spread else 0.0, holds / len(returns))


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
    return f"{found.bp:+.3f} bp a decision, Sharpe {found.sharpe:+.4f}, {100 * found.holds:.0f} % held{cpu}"


if __name__ == "__main__":
    main()
