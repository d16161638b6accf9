"""Entry point of the command line and of the operator."""

import sys

from tradewind.cli.commands import build_parser


def cli(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(cli())
