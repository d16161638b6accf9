"""Which Endpoint's rows of which database a command is about.

Belongs here: the options and their values. Does not belong here: what is read and written.
"""

import argparse
import os

from tradewind.shell.endpoint_log import Place


class ArgumentError(ValueError):
    """An argument, or a file that says how to read others, is wrong."""


def add_place(parser: argparse.ArgumentParser, endpoint: str) -> None:
    """Adds `--endpoint`, with what to say of it, and `--installation`."""
    parser.add_argument("--endpoint", required=True, metavar="NAMESPACE/NAME", help=endpoint)
    parser.add_argument(
        "--installation", default=os.environ.get("TRADEWIND_INSTALLATION") or "tradewind", help="(default: %(default)s)"
    )


def add_dsn(parser: argparse.ArgumentParser) -> None:
    """Adds `--dsn-env`."""
    parser.add_argument(
        "--dsn-env", default="TRADEWIND_DSN", metavar="NAME", help="environment variable that holds the PostgreSQL DSN (default: %(default)s)"
    )  # fmt: skip


def place_of(args: argparse.Namespace) -> Place:
    """The Endpoint that is meant.

    Raises:
        ArgumentError: `--endpoint` names none.
    """
    namespace, slash, name = args.endpoint.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise ArgumentError(f"--endpoint: {args.endpoint!r}; give NAMESPACE/NAME, such as trading/trader")
    return Place(args.installation, namespace, name)


def dsn_of(args: argparse.Namespace) -> str:
    """The connection string.

    Raises:
        ArgumentError: the variable is not set.
    """
    dsn = os.environ.get(args.dsn_env, "")
    if not dsn:
        raise ArgumentError(
            f"{args.dsn_env} is not set; put the PostgreSQL DSN there, or name another variable by --dsn-env"
        )
    return dsn
