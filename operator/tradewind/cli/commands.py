"""The commands of `tradewind`, each in a module of its own with `add_parser` and `run`."""

import argparse

from tradewind.cli import (
    champion,
    crds,
    evaluate,
    explain,
    import_,
    lint,
    migrate,
    objects,
    operator,
    report,
    simulate,
    verbs,
)
from tradewind.shell.bundle import fetch_bundle


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Every command sets `run`, which takes the arguments and returns an exit code."""
    parser = argparse.ArgumentParser(
        prog="tradewind", description="Train, serve and A/B test language models for trading on Kubernetes."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (objects, explain, verbs, champion, lint, evaluate, simulate, crds, migrate, import_, operator):
        command.add_parser(subparsers)
    report.add_parser(subparsers, fetch_bundle)
    return parser
