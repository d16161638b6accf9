"""`tradewind simulate`: what an experiment's own spec does, in simulated experiments.

Belongs here: arguments, the printed table, exit codes. Does not belong here: the simulation (trading/simulation/).

Exit codes: 0 done; 2 an argument or a file is wrong.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from tradewind.cli.experiment_file import read_experiment
from tradewind.cli.table_file import ENCODINGS, read_lines
from tradewind.schema.durations import format_duration, parse_duration
from tradewind.trading.evidence import Basis, EvidenceSpec, Pairing
from tradewind.trading.evidence.settings import Shadow
from tradewind.trading.simulation import (
    SCENARIOS,
    Bars,
    Characteristics,
    Market,
    Prices,
    Scenario,
    Share,
    operating_characteristics,
    read_bars,
)

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EFFECTS = (0.0, 0.063, 0.126, 0.2, -0.126)
"""True per-decision Sharpe differences that are simulated."""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `simulate` to the command line."""
    parser = subparsers.add_parser("simulate", help="false-promotion rate, power and time to decision of a spec")
    parser.add_argument("--experiment", type=Path, metavar="FILE", help="ABExperiment manifest (default: the defaults)")
    parser.add_argument("--runs", type=int, metavar="N", default=200, help="experiments per effect (default: 200)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the random numbers (default: 1)")
    parser.add_argument(
        "--effects", type=float, nargs="+", default=EFFECTS, metavar="D",
        help=f"true per-decision Sharpe differences (default: {' '.join(f'{e:g}' for e in EFFECTS)})",
    )  # fmt: skip
    told = "; ".join(f"{s.name}: {s.about}" for s in SCENARIOS.values()).replace("%", "%%")  # argparse formats it
    parser.add_argument("--scenario", metavar="NAME", help=f"the market (default: iid). {told}")
    parser.add_argument("--bars", type=Path, metavar="FILE", help="real bars instead: time, open, high, low, close")
    parser.add_argument("--encoding", choices=ENCODINGS, help="of the bars (default: utf-8)")
    parser.add_argument("--decimal", choices=(".", ","), default=".", help="sign of decimals in the bars (default: .)")
    parser.add_argument("--decisions-per-day", type=int, metavar="N", default=24, help="(default: 24)")
    parser.add_argument("--hold", default="4h", metavar="4h", help="time that a position stays open (default: 4h)")
    parser.add_argument("--max-hold", metavar="24h", help="longest time that a position stays open, of the Endpoint")
    parser.add_argument(
        "--shadow", choices=get_args(Shadow), help="who is asked beside (default: traffic.shadow, else none)"
    )
    parser.add_argument(
        "--agreement", type=float, metavar="P", help="share of decisions at which the arms answer alike"
    )
    parser.add_argument(
        "--paper-correlation", type=float, metavar="R", help="of papers with real trades (default: 0.96)"
    )
    parser.add_argument("--symbols", type=int, metavar="N", default=1, help="that decisions go round (default: 1)")
    parser.add_argument(
        "--reference-notional-usd",
        type=float,
        metavar="USD",
        help="of a trade, for evidence.netOfCost and riskBudgetUSD",
    )
    parser.add_argument(
        "--volatility-bp", type=float, metavar="BP", help="of a trade's return (default: 20; of the bars)"
    )
    parser.add_argument(
        "--baseline-answer-usd", type=float, metavar="USD", default=0.0, help="price of an answer (default: 0)"
    )
    parser.add_argument(
        "--candidate-answer-usd", type=float, metavar="USD", default=0.0, help="price of an answer (default: 0)"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default: text)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the operating characteristics and returns the exit code."""
    try:
        spec = _spec(args)
        market = Market(args.decisions_per_day, parse_duration(args.hold, "--hold"), args.symbols)
        scenario = _scenario(args)
        prices = _prices(args, scenario, market)
        if args.seed < 0:
            raise ValueError(f"--seed: {args.seed}; give a whole number from 0 up")
        rng = np.random.default_rng(args.seed)
        results = operating_characteristics(spec, args.effects, args.runs, rng, market, scenario, prices)
    except (OSError, ValueError) as error:
        print(f"tradewind simulate: {error}", file=sys.stderr)
        return 2
    if args.output == "json":
        told = {
            "runs": args.runs,
            "seed": args.seed,
            "scenario": _name(scenario),
            "score": spec.pairing.value,
            "effects": [asdict(result) for result in results],
        }
        print(json.dumps(told, indent=1))
    else:
        _print_text(args, spec, market, scenario, results)
    return 0


def _spec(args: argparse.Namespace) -> EvidenceSpec:
    max_hold = parse_duration(args.max_hold, "--max-hold") if args.max_hold else None
    notional = args.reference_notional_usd
    if notional is not None:
        Prices(reference_notional_usd=notional)
    spec = read_experiment(args.experiment, max_hold=max_hold, reference_notional=notional).spec
    if args.shadow is not None:
        spec = replace(spec, basis=replace(spec.basis or Basis(), shadow=args.shadow))
    if spec.too_short is not None:
        raise ValueError(spec.too_short)
    return spec


def _scenario(args: argparse.Namespace) -> Scenario | Bars:
    if args.bars is None:
        name = args.scenario or "iid"
        if name not in SCENARIOS:
            raise ValueError(f"--scenario: {name!r} is unknown; use one of {', '.join(SCENARIOS)}")
        return SCENARIOS[name].having(args.agreement, args.paper_correlation)
    for option in ("scenario", "paper_correlation", "volatility_bp"):
        if getattr(args, option) is not None:
            raise ValueError(
                f"--{option.replace('_', '-')}: goes with simulated markets; leave it out, or leave out --bars"
            )
    try:
        bars = read_bars(read_lines(args.bars, args.encoding), args.decimal)
    except ValueError as error:
        raise ValueError(f"{args.bars}: {error}") from None
    return bars if args.agreement is None else bars.having(args.agreement)


def _prices(args: argparse.Namespace, scenario: Scenario | Bars, market: Market) -> Prices:
    answers = (args.baseline_answer_usd, args.candidate_answer_usd)
    if any(answers) and args.reference_notional_usd is None:
        raise ValueError("--reference-notional-usd: prices of answers are compared with a trade's notional; give it")
    basis_points = 20.0 if args.volatility_bp is None else args.volatility_bp
    volatility = scenario.volatility(market) if isinstance(scenario, Bars) else basis_points / 1e4
    return Prices(args.reference_notional_usd, volatility, answers)


def _name(scenario: Scenario | Bars) -> str:
    return scenario.name if isinstance(scenario, Scenario) else "bars"


def _print_text(
    args: argparse.Namespace,
    spec: EvidenceSpec,
    market: Market,
    scenario: Scenario | Bars,
    results: tuple[Characteristics, ...],
) -> None:
    evidence = spec.rules.evidence
    hold = spec.settlement.max_hold if isinstance(scenario, Scenario) and scenario.longest else market.hold
    print(
        f"{results[0].runs} simulated experiments per line: {format_duration(spec.max_duration)}, "
        f"{market.decisions_per_day} decisions a day held {format_duration(hold)}, scenario {_name(scenario)}, "
        f"policy {spec.policy.name}, shadow {spec.shadow}, objective {evidence.objective}, boundary {evidence.boundary}, "
        f"alpha {spec.alpha:g}, alphaRollback {spec.alpha_rollback:g}"
    )
    print("(+- is one Monte-Carlo standard error; the effect is the true per-decision Sharpe difference; days from t0)")
    if spec.rules.guardrails.risk_budget_usd is not None and args.reference_notional_usd is None:
        print("(riskBudgetUSD is left aside: it needs --reference-notional-usd)")
    if evidence.net_of_cost:
        print("(the effect is before the price of answers, the verdict after it)")
    print(f"{'effect':28} {'promote':>15} {'rollback':>15} {'guardrail':>15} {'futile':>15}  median day  mean end")
    for result in results:
        nothing = "no difference" if spec.not_inferior else "no difference (both false)"
        _print_line(result, f"{result.effect:+g}" if result.effect else nothing)
        if result.unpaired is not None:
            label = "without the market" if spec.pairing is Pairing.MARKET else "without pairs"
            _print_line(result.unpaired, f"  {label}")


def _print_line(result: Characteristics, name: str) -> None:
    shares = (result.promote, result.rollback, result.guardrail, result.futile)
    median = "-" if result.median_day is None else f"{result.median_day:.0f}"
    print(f"{name:28} {' '.join(f'{_percent(share):>15}' for share in shares)} {median:>11} {result.mean_days:>9.0f}")


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} +- {100 * share.standard_error:.1f} %"
