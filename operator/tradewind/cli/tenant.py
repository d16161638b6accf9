"""`tradewind tenant`: a role of the database for each namespace, so that none reads or writes another's rows.

Belongs here: arguments, messages, exit codes. Does not belong here: SQL (migrations/tenants.py).

Exit codes: 0 done, 1 the database refused or is unreachable, 2 what was given cannot be used.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tradewind.migrations.tenants import Connection, Tenant

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `tenant` and its commands to the command line."""
    parser = subparsers.add_parser("tenant", help="roles of the database, one a namespace, for its gateways and Jobs")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="tenant_command")
    add = commands.add_parser("add", help="make a namespace's role and print its connection string")
    add.add_argument("namespace", help="whose rows the role sees and writes")
    add.add_argument("--role", help="a role that is there, or the name of the new one (default: by the namespace)")
    add.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file with the password; else a new one is made"
    )
    add.add_argument("--new-password", action="store_true", help="give a role that is there another password")
    remove = commands.add_parser("remove", help="take a namespace's roles their rights, and drop them")
    remove.add_argument("namespace", help="whose roles go; its rows stay")
    listing = commands.add_parser("list", help="show every role and its namespace")
    forget = commands.add_parser(
        "forget-cluster", help="let another cluster have an installation whose cluster is gone"
    )
    for command in (add, remove, listing, forget):
        _add_common(command)
    parser.set_defaults(run=run)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--installation",
        default=os.environ.get("TRADEWIND_INSTALLATION") or "tradewind",
        help="the chart's value `installation` (default: TRADEWIND_INSTALLATION, else tradewind)",
    )
    parser.add_argument(
        "--dsn-env",
        default="TRADEWIND_DSN",
        metavar="NAME",
        help="environment variable that holds the DSN of the schema's owner (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the DSN of a new tenant, and nothing else, to stdout; what was done to stderr. Returns the exit code."""
    import psycopg

    from tradewind import migrations
    from tradewind.migrations.tenants import TenantError

    dsn = os.environ.get(args.dsn_env, "")
    if not dsn:
        return _fail(2, f"{args.dsn_env} is not set; put the DSN of the schema's owner there")
    try:
        return _COMMANDS[args.tenant_command](args, dsn)
    except (TenantError, OSError) as error:
        if isinstance(error, migrations.UnreachableDatabaseError):
            return _fail(1, str(error))
        return _fail(2, str(error))
    except migrations.InvalidDsnError as error:
        return _fail(2, f"{args.dsn_env}: {error}")
    except psycopg.Error as error:
        return _fail(1, f"the database refused, nothing was changed: {str(error).strip().splitlines()[0]}")


def _add(args: argparse.Namespace, dsn: str) -> int:
    from tradewind import migrations
    from tradewind.migrations import tenants

    role = args.role or tenants.role_name(args.installation, args.namespace)
    with migrations.connect(dsn) as connection:
        there = _is_there(connection, role)
    if args.password_file is not None:
        password = args.password_file.read_text(encoding="utf-8").strip()
        if not password:
            return _fail(2, f"--password-file {args.password_file}: is empty")
    else:
        password = tenants.new_password() if args.new_password or not there else None
    made = tenants.add(dsn, args.installation, args.namespace, role=role, password=password)
    _tell(f"{made.role} is for namespace {made.namespace} of installation {made.installation}")
    if password is None:
        _tell("it was there and keeps its password: --new-password gives it another, and prints its connection string")
    else:
        print(tenants.tenant_dsn(dsn, made.role, password))
    return 0


def _is_there(connection: "Connection", role: str) -> bool:
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None


def _remove(args: argparse.Namespace, dsn: str) -> int:
    from tradewind.migrations import tenants

    gone = tenants.remove(dsn, args.installation, args.namespace)
    if not gone:
        return _fail(2, f"namespace {args.namespace} of installation {args.installation} has no role")
    _tell(f"{', '.join(tenant.role for tenant in gone)}: no rights any more; rows of {args.namespace} stay")
    return 0


def _list(_: argparse.Namespace, dsn: str) -> int:
    from tradewind import migrations
    from tradewind.migrations import tenants

    with migrations.connect(dsn) as connection:
        found = tenants.listed(connection)
    for tenant in found:
        print(f"{tenant.role}\t{_scope(tenant)}")
    return 0


def _forget(args: argparse.Namespace, dsn: str) -> int:
    from tradewind.migrations import tenants

    if not tenants.forget_cluster(dsn, args.installation):
        return _fail(2, f"installation {args.installation} is no cluster's")
    _tell(f"the next operator that starts as installation {args.installation} has it")
    return 0


_COMMANDS = {"add": _add, "remove": _remove, "list": _list, "forget-cluster": _forget}


def _scope(tenant: "Tenant") -> str:
    if tenant.namespace is None:
        return "every namespace that its grants reach: of before tenants"
    return f"{tenant.installation}/{tenant.namespace}"


def _tell(message: str) -> None:
    print(f"tradewind tenant: {message}", file=sys.stderr)


def _fail(code: int, message: str) -> int:
    _tell(message)
    return code
