"""`tradewind import`: history from elsewhere, checked, counted and stored for trainings; it is never evidence.

    tradewind import decisions.jsonl --endpoint trading/trader --dry-run

Belongs here: arguments, files one after the other, exit codes. Does not belong here: formats (import_files.py), checks
(trading/imports), SQL (shell/imported.py), and how results are told (import_text.py).

Exit codes, of trading/exits.py: 0 all rows are in (or would be); 1 rows or files were refused, where those that are right are in
all the same, unless --strict is given; 2 nothing was read or stored: an argument, the mapping file or the database.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import TypeAdapter, ValidationError

from tradewind import migrations
from tradewind.cli.import_files import Opened, open_file
from tradewind.cli.import_text import Told, as_json, text
from tradewind.cli.place import ArgumentError, add_dsn, add_place, dsn_of, place_of
from tradewind.cli.table_file import ENCODINGS
from tradewind.schema.durations import parse_duration
from tradewind.schema.names import Symbol
from tradewind.shell.endpoint_log import Place, RefusedByDatabaseError
from tradewind.shell.imported import ImportedFile, ImportLog
from tradewind.trading.exits import CommandExit
from tradewind.trading.imports.build import build
from tradewind.trading.imports.formats import Format
from tradewind.trading.imports.mapping import TableMapping, read_mapping
from tradewind.trading.imports.options import ASSUMABLE, FRACTIONS, Options, Unit
from tradewind.trading.imports.problems import FileError, RowError
from tradewind.trading.imports.records import Record
from tradewind.trading.imports.tally import Tally

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_symbol: TypeAdapter[str] = TypeAdapter(Symbol)


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `import` to the command line."""
    parser = subparsers.add_parser(
        "import",
        help="bring labelled decisions and trades from elsewhere, for trainings",
        description="Bring labelled decisions and trades from elsewhere to an Endpoint. Trainings read them at once; no statistic does.",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="JSON, JSON Lines, CSV, xlsx, SQLite or a dump; may be gzip"
    )
    add_place(parser, "the Endpoint whose trainings learn from it")
    parser.add_argument(
        "--format", choices=[str(name) for name in Format], help="of the files; left out: where it is certain"
    )
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="which column of a table is which field (YAML)")
    parser.add_argument("--encoding", choices=ENCODINGS, help="of texts (default: UTF-8)")
    parser.add_argument("--time-zone", metavar="ZONE", help="of times without an offset, such as Asia/Shanghai or UTC")
    parser.add_argument("--symbols", metavar="A,B", help="those that are taken; others are refused")
    parser.add_argument(
        "--symbol-map", action="append", default=[], metavar="FROM=TO", help="a spelling of the source and ours"
    )
    parser.add_argument(
        "--percent", default="", metavar="FIELDS", help=f"fields that are in percent, of {', '.join(FRACTIONS)}"
    )
    parser.add_argument(
        "--fraction", default="", metavar="FIELDS", help="fields that are fractions even where they look like percent"
    )
    parser.add_argument(
        "--assume", action="append", default=[], metavar="FIELD=VALUE", help=f"where a row has none, of {', '.join(ASSUMABLE)}; a fraction is 0.05"
    )  # fmt: skip
    parser.add_argument(
        "--assume-hold", metavar="24h", help="how long trades lasted of which nobody says when they ended"
    )
    parser.add_argument(
        "--price-as-input", action="store_true", help="teach trades that come without their market on their entry price"
    )
    parser.add_argument("--dry-run", action="store_true", help="store nothing, tell what would be")
    parser.add_argument("--strict", action="store_true", help="store nothing if any row of any file is refused")
    parser.add_argument(
        "--problems", type=int, default=10, metavar="N", help="how many are told; 0: all (default: %(default)s)"
    )
    parser.add_argument(
        "--forget", metavar="SOURCE", help="take back all that was imported from a source, instead of importing"
    )
    parser.add_argument("--by", metavar="NAME", help="who imports (default: the user of this machine)")
    add_dsn(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default: text)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Imports, or tells what it would; returns the exit code."""
    try:
        place = place_of(args)
        options, mapping = _options(args), _mapping(args.mapping)
        if bool(args.files) == bool(args.forget):
            raise ArgumentError("give FILEs to import, or --forget SOURCE to take one back")
        if args.problems < 0:
            raise ArgumentError(f"--problems: {args.problems}; give 0 for all, or how many")
        log = _log(args, place)
    except (ArgumentError, migrations.InvalidDsnError, migrations.UnreachableDatabaseError) as error:
        return _fail(CommandExit.NOT_ASKED, str(error))
    try:
        with nullcontext() if log is None else log:
            if args.forget:
                assert log is not None
                return _forget(args, log)
            return _import(args, options, mapping, log)
    except RefusedByDatabaseError as error:
        return _fail(CommandExit.NOT_ASKED, str(error))


def _import(args: argparse.Namespace, options: Options, mapping: TableMapping | None, log: ImportLog | None) -> int:
    told = []
    if log is not None:
        _warn_of_a_new_endpoint(log, args.endpoint)
    for path in args.files:
        told.append(_one(path, args, options, mapping, log))
        if log is not None and not args.strict and not args.dry_run:
            log.commit()
    whole = all(each.is_whole for each in told)
    stored = not args.dry_run and (whole or not args.strict)
    if log is not None and args.strict and stored:
        log.commit()
    shown = args.problems or None
    if args.output == "json":
        document = {
            "endpoint": args.endpoint,
            "dryRun": args.dry_run,
            "stored": stored,
            "files": [as_json(each, shown) for each in told],
        }
        print(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False))
    else:
        for each in told:
            print("\n".join(text(each, shown)))
        if args.dry_run:
            print(
                "dry run: nothing was stored"
                + ("" if log else f"; {args.dsn_env} is not set, so the database was not asked what is new")
            )
        elif not stored:
            print("--strict: rows were refused, so nothing was stored")
    return CommandExit.DONE if whole else CommandExit.NO


def _one(
    path: Path, args: argparse.Namespace, options: Options, mapping: TableMapping | None, log: ImportLog | None
) -> Told:
    tally, opened = Tally(), None
    try:
        opened = open_file(path, Format(args.format) if args.format else None, mapping, args.encoding)
        records = read_records(opened, options, tally)
        if log is None:
            for _ in records:
                pass
            return Told(str(path), opened, tally)
        file = ImportedFile(opened.source, str(opened.format), path.name, opened.sha256, opened.size)
        stored = log.store(file, records, tally)
        return Told(str(path), opened, tally, stored.new, stored.orphans)
    except FileError as error:
        where = f"line {error.line}: " if error.line else ""
        return Told(str(path), opened, Tally(), error=f"{where}{error}")


def read_records(opened: Opened, options: Options, tally: Tally) -> Iterator[tuple[int, Record]]:
    """The records of a file that say something new in it; all else goes into the tally.

    Raises:
        FileError: nothing of the file may be taken.
    """
    for number, draft in opened.drafts:
        tally.read += 1
        if isinstance(draft, RowError):
            tally.refuse(draft.at(number))
            continue
        try:
            record = None if draft is None else build(draft, options)
        except RowError as error:
            tally.refuse(error.at(number))
            continue
        if draft is not None:
            tally.fields.update(draft.ignored)
        if record is None:
            tally.still_open += 1
        elif tally.take(number, record):
            yield number, record
    if not tally.read:
        raise FileError("holds no rows")


def _forget(args: argparse.Namespace, log: ImportLog) -> int:
    decisions, outcomes = log.forget(args.forget)
    if not args.dry_run:
        log.commit()
    if args.output == "json":
        print(json.dumps({"source": args.forget, "dryRun": args.dry_run, "decisions": decisions, "outcomes": outcomes}))
    else:
        said = "would be taken back" if args.dry_run else "were taken back"
        print(f"{decisions} decisions and {outcomes} outcomes of {args.forget} at {args.endpoint} {said}")
    if not decisions + outcomes:
        return _fail(CommandExit.NO, f"--forget: nothing was imported from {args.forget} at {args.endpoint}")
    return CommandExit.DONE


def _warn_of_a_new_endpoint(log: ImportLog, endpoint: str) -> None:
    known = log.endpoints()
    if endpoint not in known:
        others = f"; it knows {', '.join(known)}" if known else ""
        print(f"tradewind import: this database knows no Endpoint {endpoint} yet{others}. If that is a slip, stop and say "
              "--forget SOURCE", file=sys.stderr)  # fmt: skip


def _log(args: argparse.Namespace, place: Place) -> ImportLog | None:
    if args.dry_run and not args.forget and not os.environ.get(args.dsn_env):
        return None
    return ImportLog(dsn_of(args), place, args.by or getpass.getuser())


def _options(args: argparse.Namespace) -> Options:
    try:
        zone = ZoneInfo(args.time_zone) if args.time_zone else None
    except (ValueError, OSError, KeyError):  # ZoneInfo's own errors are all three
        raise ArgumentError(
            f"--time-zone: {args.time_zone!r} is none; give a name such as Asia/Shanghai or UTC"
        ) from None
    try:
        hold = parse_duration(args.assume_hold, "--assume-hold") if args.assume_hold else None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    options = Options(
        now=datetime.now(UTC),
        zone=zone,
        symbols=frozenset(_name("--symbols", part) for part in args.symbols.split(",")) if args.symbols else None,
        symbol_map=dict(_pair("--symbol-map", text, "BTC/USDT:USDT=BTC") for text in args.symbol_map),
        units=_units(args),
        assume_hold=hold,
        price_as_input=args.price_as_input,
    )
    for target in options.symbol_map.values():
        _name("--symbol-map", target)
    return replace(options, assume=dict(_assumed(text) for text in args.assume))


def _units(args: argparse.Namespace) -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for unit in Unit:
        for name in filter(None, getattr(args, unit).split(",")):
            if name not in FRACTIONS:
                raise ArgumentError(f"--{unit}: {name!r} has no unit; fields are {', '.join(FRACTIONS)}")
            if name in units:
                raise ArgumentError(f"--percent and --fraction: {name} is in both; say it once")
            units[name] = unit
    return units


def _name(flag: str, value: str) -> str:
    try:
        return _symbol.validate_python(value)
    except ValidationError as error:
        raise ArgumentError(f"{flag}: {value!r} {error.errors()[0]['msg']}") from None


def _pair(flag: str, value: str, example: str) -> tuple[str, str]:
    one, sign, other = value.partition("=")
    if not (one and sign and other):
        raise ArgumentError(f"{flag}: {value!r}; write {example}")
    return one, other


def _assumed(value: str) -> tuple[str, float]:
    name, given = _pair("--assume", value, "confidence=0.5")
    if name not in ASSUMABLE:
        raise ArgumentError(f"--assume: {name} must be in the file; only {', '.join(ASSUMABLE)} may be assumed")
    low, high = {"leverage": (1, 1000), "take_profit_pct": (0, 10)}.get(name, (0, 1))
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not low <= number <= high or (name == "leverage" and number != int(number)):
        raise ArgumentError(
            f"--assume: {name}={given}; give a {'whole number' if name == 'leverage' else 'fraction'} from {low} to {high}"
        )
    return name, number


class _Loader(yaml.SafeLoader):
    """YAML in which a key comes once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """The mapping of a node."""
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} comes twice", node.start_mark)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def _mapping(path: Path | None) -> TableMapping | None:
    if path is None:
        return None
    try:
        return read_mapping(yaml.load(path.read_text(encoding="utf-8-sig"), _Loader))  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ArgumentError(f"--mapping {path}: cannot be read: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ArgumentError(f"--mapping {path}: {' '.join(str(error).split())}") from None


def _fail(code: CommandExit, message: str) -> int:
    print(f"tradewind import: {message}", file=sys.stderr)
    return code
