"""The commands of `tradewind`, each in a module of its own with `add_parser` and `run`.

A module whose packages are not installed keeps its place: its commands say what to install. So `pip install tradewind` has
`lint` and `evaluate`, the extra `cli` what a person types, and the extra `operator` the rest.
"""

import argparse
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_MODULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("objects", "cli", ("get",)),
    ("wait", "cli", ("wait",)),
    ("explain", "cli", ("explain",)),
    ("verify", "cli", ("verify",)),
    ("export", "cli", ("export",)),
    ("verbs", "cli", ("abort", "pause", "resume", "approve", "accept")),
    ("champion", "cli", ("promote", "rollback")),
    ("stop", "cli", ("stop",)),
    ("lint", "cli", ("lint",)),
    ("evaluate", "cli", ("evaluate",)),
    ("simulate", "cli", ("simulate",)),
    ("crds", "cli", ("crds",)),
    ("migrate", "operator", ("migrate",)),
    ("tenant", "operator", ("tenant",)),
    ("import_", "cli", ("import",)),
    ("review", "cli", ("review",)),
    ("operator", "operator", ("operator",)),
    ("report", "cli", ("report",)),
    ("completion", "cli", ("completion",)),
)
"""Module, the extra that has its packages, and its commands."""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Every command sets `run`, which takes the arguments and returns an exit code."""
    parser = argparse.ArgumentParser(
        prog="tradewind", description="Train, serve and A/B test language models for trading on Kubernetes."
    )
    parser.add_argument("--version", action="version", version=f"tradewind {installed_version()}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for module, extra, names in _MODULES:
        try:
            import_module(f"tradewind.cli.{module}").add_parser(subparsers)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] == "tradewind":
                raise
            for name in names:
                _add_missing(subparsers, name, str(error.name), extra)
    return parser


def installed_version() -> str:
    """The version of the installed package; from a checkout that is not installed, "unknown"."""
    try:
        return version("tradewind")
    except PackageNotFoundError:
        return "unknown"


def needs(command: str, package: str) -> int:
    """Says what to install for a command, whose packages are not all there."""
    extra = next((extra for _, extra, names in _MODULES if command in names), "cli")
    print(
        f"tradewind {command}: needs the package {package}, which is not installed: pip install 'tradewind[{extra}]'",
        file=sys.stderr,
    )
    return CommandExit.NOT_ASKED


def _add_missing(subparsers: "Subparsers", name: str, package: str, extra: str) -> None:
    parser = subparsers.add_parser(name, help=f"needs pip install 'tradewind[{extra}]'", add_help=False)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=lambda _: needs(name, package))
