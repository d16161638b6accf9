"""`tradewind crds`: write the CRDs from the types, or check that what is committed is what they say."""

import argparse
from typing import TYPE_CHECKING

from tradewind.api import crd

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `crds` to the command line."""
    parser = subparsers.add_parser("crds", help="generate the CRDs and their reference")
    crd.add_arguments(parser)
    parser.set_defaults(run=crd.run)
