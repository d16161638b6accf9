"""Entry point of the command line and of the operator."""

import sys

from tradewind.cli.commands import build_parser, needs


def cli(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except ModuleNotFoundError as error:  # an import that a command makes when it runs
        package = str(error.name).partition(".")[0]
        if package == "tradewind":
            raise
        return needs(args.command, package)


if __name__ == "__main__":
    sys.exit(cli())
