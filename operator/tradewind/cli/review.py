"""`tradewind review`: people say whether labels are right, which the gate minReviewedAccuracy asks.

    tradewind review --endpoint trading/trader

Belongs here: arguments, the walk through a sample in the terminal, files for those who review elsewhere. Does not belong here: which
decisions are drawn (shell/reviews.py), what is shown of one (trading/reviews.py).

Exit codes, of trading/exits.py: 0 what was said is stored; 1 a file was refused, and nothing of it is stored; 2 nothing was asked: an
argument, the file or the database.
"""

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tradewind import migrations
from tradewind.cli.place import ArgumentError, add_dsn, add_place, dsn_of, place_of
from tradewind.shell.endpoint_log import RefusedByDatabaseError
from tradewind.shell.reviews import Draw, NotReviewableError, ReviewLog
from tradewind.trading.exits import CommandExit
from tradewind.trading.reviews import Review, Reviewable, ReviewError, checked_note, printable, read_review

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_KEYS: Final = {"a": True, "agree": True, "d": False, "disagree": False}
_ASK: Final = "[a]gree, [d]isagree, [s]kip or [q]uit; a note may follow: "


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `review` to the command line."""
    parser = subparsers.add_parser(
        "review",
        help="say whether labels of closed decisions are right, which a training's gate asks",
        description="Walk a sample of an Endpoint's closed decisions, drawn by label and by hash, and say whether each label is right.",
    )
    add_place(parser, "the Endpoint whose decisions are reviewed")
    parser.add_argument(
        "--sample", type=int, default=100, metavar="N", help="decisions at most, as many of each label as there are (default: %(default)s)"
    )  # fmt: skip
    parser.add_argument(
        "--seed", default="", metavar="TEXT", help="another text draws another sample; the same draws the same"
    )
    parser.add_argument("--include-replay", action="store_true", help="take decisions on recorded data, too")
    parser.add_argument(
        "--again", action="store_true", help="also those that you have reviewed; the last review counts"
    )
    parser.add_argument(
        "--format", choices=("text", "jsonl"), default="text", help="jsonl: print the sample to be filled in elsewhere"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="store the reviews of a filled-in file"
    )
    parser.add_argument("--by", metavar="NAME", help="who reviews (default: the user of this machine)")
    add_dsn(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Walks the sample, prints it, or stores a file; returns the exit code."""
    try:
        place = place_of(args)
        if not 1 <= args.sample <= 100_000:
            raise ArgumentError(f"--sample: {args.sample}; give 1 to 100000")
        if args.source is not None and args.format == "jsonl":
            raise ArgumentError("--from stores reviews and --format jsonl prints decisions: give one of them")
        by = args.by or getpass.getuser()
        if not by.strip() or len(by) > 200:
            raise ArgumentError("--by: give a name of 1 to 200 characters")
        reviews = None if args.source is None else _read(args.source)
        log = ReviewLog(dsn_of(args), place, by)
    except (ArgumentError, migrations.InvalidDsnError, migrations.UnreachableDatabaseError) as error:
        return _fail(CommandExit.NOT_ASKED, str(error))
    except ReviewError as error:
        return _fail(CommandExit.NO, f"{error}; nothing was stored")
    try:
        with log:
            if reviews is not None:
                return _store(args, log, reviews)
            sample = log.drawn(Draw(args.sample, args.seed, replay=args.include_replay))
            left = [each for each in sample if args.again or each.reviewed is None]
            if args.format == "jsonl":
                for each in left:
                    print(json.dumps(each.as_json(), ensure_ascii=False, allow_nan=False))
                return CommandExit.DONE
            print(
                f"{len(sample)} decisions drawn, {len(sample) - len(left)} of them reviewed by {printable(by)} before"
            )
            _walk(log, left, replay=args.include_replay)
            _told(args, log)
    except RefusedByDatabaseError as error:
        return _fail(CommandExit.NOT_ASKED, str(error))
    return CommandExit.DONE


def _walk(log: ReviewLog, left: list[Reviewable], *, replay: bool) -> None:
    """Each review is stored when it is said: whoever stops goes on where they were."""
    for number, each in enumerate(left, start=1):
        print(f"\n{number}/{len(left)}  " + printable("\n".join(each.lines()), keep="\n"))
        while True:
            try:
                said = input(_ASK).strip()
            except EOFError:
                print()
                return
            key, _, note = said.partition(" ")
            if key in ("q", "quit"):
                return
            if key in ("s", "skip"):
                break
            if key not in _KEYS:
                continue
            try:
                review = Review(each.decision_id, each.label, _KEYS[key], checked_note(note.strip()))
                log.store([review], replay=replay)
            except (NotReviewableError, ReviewError) as error:
                print(error, file=sys.stderr)
                if isinstance(error, ReviewError):
                    continue
            break


def _store(args: argparse.Namespace, log: ReviewLog, reviews: list[Review]) -> int:
    try:
        log.store(reviews, replay=args.include_replay)
    except NotReviewableError as error:
        return _fail(CommandExit.NO, f"{args.source}: {error}; nothing was stored")
    print(f"{len(reviews)} reviews of {args.source} are stored")
    _told(args, log)
    return CommandExit.DONE


def _told(args: argparse.Namespace, log: ReviewLog) -> None:
    count, share = log.agreement(replay=args.include_replay)
    agreed = "" if share is None else f", mean agreement {share:.3f}"
    print(f"{args.endpoint}: {count} decisions reviewed{agreed}")


def _read(file: Path) -> list[Review]:
    """The reviews of a file.

    Raises:
        ArgumentError: it cannot be read.
        ReviewError: a line is none.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # other ends of lines may be in texts
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"--from {file}: cannot be read as UTF-8 text: {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            review = read_review(line) if line.strip() else None
        except ReviewError as error:
            raise ReviewError(f"{file}:{number}: {error}") from None
        if review is not None:
            found.append(review)
    return found


def _fail(code: CommandExit, message: str) -> int:
    print(f"tradewind review: {message}", file=sys.stderr)
    return code
