"""`tradewind migrate`: brings the database schema to the version of this package, or says whether it is there.

Belongs here: arguments, messages, exit codes. Does not belong here: SQL (migrations/).

Exit codes: 0 done or at head, 1 the database is not at head (`--check`), unreachable or refused, 2 no usable DSN.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `migrate` to the command line."""
    parser = subparsers.add_parser("migrate", help="bring the database schema to this version, or check it")
    parser.add_argument(
        "--dsn-env",
        default="TRADEWIND_DSN",
        metavar="NAME",
        help="environment variable that holds the PostgreSQL DSN (default: %(default)s)",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 0 if the schema is at head, else 1")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Migrates or checks; prints one line and returns the exit code. The DSN itself is never printed."""
    import psycopg
    from sqlalchemy.exc import DBAPIError

    from tradewind import migrations

    dsn = os.environ.get(args.dsn_env, "")
    if not dsn:
        return _fail(
            2, f"{args.dsn_env} is not set; put the PostgreSQL DSN there, or name another variable by --dsn-env"
        )
    head = migrations.head()
    try:
        target = migrations.describe(dsn)
        before = migrations.current(dsn)
        if args.check:
            if before == head:
                print(f"schema is at {head} (head) at {target}")
                return 0
            return _fail(1, f"schema is at {before or 'nothing'}, head is {head}, at {target}; run `tradewind migrate`")
        migrations.upgrade(dsn)
    except migrations.InvalidDsnError as error:
        return _fail(2, f"{args.dsn_env}: {error}")
    except migrations.UnreachableDatabaseError as error:
        return _fail(1, str(error))
    except (psycopg.Error, DBAPIError) as error:
        cause = getattr(error, "orig", None) or error
        message = str(cause).strip().splitlines()[0]
        return _fail(1, f"the database refused the migration, nothing was changed: {message} (at {target})")
    except Exception as error:
        if type(error).__name__ != "CommandError":
            raise
        return _fail(1, f"schema is at {before}, which this version (head {head}) does not know; upgrade Tradewind")
    print(f"schema was at {before or 'nothing'}, is at {head} (head) at {target}")
    return 0


def _fail(code: int, message: str) -> int:
    print(f"tradewind migrate: {message}", file=sys.stderr)
    return code
