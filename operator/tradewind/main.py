"""Entry point of the command line and of the operator."""

import os
import sys

from tradewind.cli.commands import build_parser, needs
from tradewind.trading.exits import CommandExit


def cli(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except ModuleNotFoundError as error:  # an import that a command makes when it runs
        package = str(error.name).partition(".")[0]
        if package == "tradewind":
            raise
        return needs(args.command, package)
    except KeyboardInterrupt:
        return CommandExit.INTERRUPTED
    except BrokenPipeError:  # whoever read, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CommandExit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(cli())
