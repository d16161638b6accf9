"""`tradewind simulate`: what an experiment's own spec does, in simulated experiments.

Belongs here: arguments, the printed table, exit codes. Does not belong here: the simulation (trading/simulation.py).

Exit codes: 0 done; 2 an argument or the file is wrong.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tradewind.cli.experiment_file import read_experiment
from tradewind.schema.durations import format_duration, parse_duration
from tradewind.trading.evidence import EvidenceSpec
from tradewind.trading.simulation import Characteristics, Market, Share, operating_characteristics

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EFFECTS = (0.0, 0.2, -0.2, 0.3)
"""True per-trade Sharpe differences that are simulated."""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `simulate` to the command line."""
    parser = subparsers.add_parser("simulate", help="false-promotion rate, power and time to decision of a spec")
    parser.add_argument("--experiment", type=Path, metavar="FILE", help="ABExperiment manifest (default: the defaults)")
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="experiments per effect (default: 200)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the random numbers (default: 1)")
    parser.add_argument("--decisions-per-day", type=int, default=24, metavar="N", help="(default: 24)")
    parser.add_argument("--hold", default="4h", metavar="4h", help="time that a position stays open (default: 4h)")
    parser.add_argument("--max-hold", metavar="24h", help="longest time that a position stays open, of the Endpoint")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default: text)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the operating characteristics and returns the exit code."""
    try:
        max_hold = parse_duration(args.max_hold, "--max-hold") if args.max_hold else None
        spec = read_experiment(args.experiment, max_hold=max_hold).spec
        if spec.too_short is not None:
            raise ValueError(spec.too_short)
        market = Market(args.decisions_per_day, parse_duration(args.hold, "--hold"))
        if args.seed < 0:
            raise ValueError(f"--seed: {args.seed}; give a whole number from 0 up")
        results = operating_characteristics(spec, EFFECTS, args.runs, np.random.default_rng(args.seed), market)
    except (OSError, ValueError) as error:
        print(f"tradewind simulate: {error}", file=sys.stderr)
        return 2
    if args.output == "json":
        print(json.dumps({"runs": args.runs, "seed": args.seed, "effects": [asdict(r) for r in results]}, indent=1))
    else:
        _print_text(spec, market, results)
    return 0


def _print_text(spec: EvidenceSpec, market: Market, results: tuple[Characteristics, ...]) -> None:
    print(
        f"{results[0].runs} simulated experiments per line: {format_duration(spec.max_duration)}, "
        f"{market.decisions_per_day} decisions a day held {format_duration(market.hold)}, t(4) returns, "
        f"policy {spec.policy.name}, alpha {spec.alpha:g}, alphaRollback {spec.alpha_rollback:g}"
    )
    print("(+- is one Monte-Carlo standard error; the effect is the true per-trade Sharpe difference)")
    print(f"{'effect':28} {'promote':>15} {'rollback':>15}  median block")
    for result in results:
        name = {0.0: "no difference (both false)"}.get(result.effect, f"{result.effect:+.1f}")
        shares = f"{_percent(result.promote):>15} {_percent(result.rollback):>15}"
        print(f"{name:28} {shares}  {_median(result) if result.effect else '-'}")


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} +- {100 * share.standard_error:.1f} %"


def _median(result: Characteristics) -> str:
    if result.median_block is None:
        return "none decided"
    error = "" if result.median_block_error is None else f" +- {result.median_block_error:.1f}"
    return f"{result.median_block:.0f}{error}"
