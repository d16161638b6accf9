"""`tradewind migrate`: brings the database schema to the version of this package, or says whether it is there.

Belongs here: arguments, messages, exit codes. Does not belong here: SQL (migrations/).

Exit codes: 0 done or at head, 1 the database is not at head (`--check`), unreachable or refused, 2 no usable DSN.
"""

import argparse
import os
import sys
from pathlib import Path
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
    parser.add_argument(
        "--tenants",
        type=Path,
        metavar="FOLDER",
        help="then make a role for each file there: its name is a namespace, its text the password (the chart's Secret)",
    )
    parser.add_argument(
        "--installation",
        default=os.environ.get("TRADEWIND_INSTALLATION") or "tradewind",
        help="of those roles (default: TRADEWIND_INSTALLATION, else tradewind)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Migrates or checks; prints what was done and returns the exit code. The DSN itself is never printed."""
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
    _tell_of_unbound(dsn)
    return 0 if args.tenants is None else _make_tenants(dsn, args)


def _tell_of_unbound(dsn: str) -> None:
    from tradewind import migrations
    from tradewind.migrations import tenants

    with migrations.connect(dsn) as connection:
        unbound = [tenant.role for tenant in tenants.listed(connection) if tenant.namespace is None]
    if unbound:
        print(
            f"roles that see every namespace: {', '.join(unbound)}; `tradewind tenant add` makes one for each namespace"
        )


def _make_tenants(dsn: str, args: argparse.Namespace) -> int:
    import psycopg

    from tradewind.migrations import tenants

    try:
        made = tenants.ensure_from_folder(dsn, args.installation, args.tenants)
    except (tenants.TenantError, OSError) as error:
        return _fail(1, f"--tenants: {error}")
    except psycopg.Error as error:
        return _fail(1, f"--tenants: the database refused: {str(error).strip().splitlines()[0]}")
    print(f"tenants of {args.installation}: {', '.join(str(tenant.namespace) for tenant in made) or 'none'}")
    return 0


def _fail(code: int, message: str) -> int:
    print(f"tradewind migrate: {message}", file=sys.stderr)
    return code
