"""`tradewind operator`: run the operator process; what the chart's Deployment starts."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `operator` to the command line."""
    parser = subparsers.add_parser("operator", help="run the operator (settings from TRADEWIND_* variables)")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM."""
    from tradewind.shell.operator import run as run_operator
    from tradewind.shell.settings import SettingsError, settings_from_environment

    try:
        settings = settings_from_environment()
    except SettingsError as error:
        print(f"tradewind operator: {error}", file=sys.stderr)
        return 2
    asyncio.run(run_operator(settings))
    return 0
