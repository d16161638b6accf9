"""`tradewind crds`: write the CRDs from the types, or check that what is committed is what they say."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `crds` to the command line."""
    parser = subparsers.add_parser("crds", help="generate the CRDs and their reference", add_help=False)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hands over to the generator."""
    from tradewind.api.crd import main

    return int(main(args.arguments) or 0)
