"""Export what an Endpoint has gathered: the seed's labelled data set, or the trade table of an experiment.

    TRADEWIND_DSN=postgresql://... python jobs/export.py training-data --namespace ns --endpoint trader -o data.jsonl
    TRADEWIND_DSN=postgresql://... python jobs/export.py evidence --namespace ns --endpoint trader --experiment UID -o T.csv

training-data: JSON Lines, newest first, labels excellent, good and bad, at most twice --min-samples. evidence: what the
operator judges, for `tradewind evaluate --trades T.csv`, so that anyone can recompute the verdict; rows with weight 0 are the
baseline's before the start, which set the default risk budget. `-o -` writes to stdout. The last line on
stderr (and --result FILE, by default /dev/termination-log where it is) is a JSON result. Exit codes: 0 done, 64 bad
configuration, 65 nothing to export or no database.
"""

import argparse
import contextlib
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from psycopg import Connection, Cursor, IsolationLevel

from tradewind import migrations
from tradewind.trading.evidence import JUDGED_COLUMNS
from tradewind.trading.exits import ExitCode

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("what", choices=("training-data", "evidence"))
FLAGS.add_argument("-o", "--output", required=True, help="file to write, - for stdout")
FLAGS.add_argument("--installation", default=os.environ.get("TRADEWIND_INSTALLATION") or "tradewind")
FLAGS.add_argument("--namespace", default=os.environ.get("TRADEWIND_NAMESPACE"))
FLAGS.add_argument("--endpoint", default=os.environ.get("TRADEWIND_ENDPOINT"))
FLAGS.add_argument("--experiment", metavar="UID", help="metadata.uid of the ABExperiment (evidence)")
FLAGS.add_argument(
    "--min-samples", type=int, default=1000, help="the newest 2N are exported (training-data; default: %(default)s)"
)
FLAGS.add_argument(
    "--dsn-env", default="TRADEWIND_DSN", help="variable that holds the database's DSN (default: %(default)s)"
)
FLAGS.add_argument("--result", type=Path, help="file for the result's JSON; default: /dev/termination-log if it exists")

KEY = "installation = %(installation)s AND namespace = %(namespace)s AND endpoint = %(endpoint)s"
TRAINING_DATA = f"""
SELECT data, label FROM tradewind.training_data
 WHERE {KEY} AND status = 'labeled' AND label IN ('excellent_decision', 'good_decision', 'bad_decision')
 ORDER BY created_at DESC, decision_id DESC LIMIT 2 * %(min_samples)s
"""
EVIDENCE = f"""
SELECT {", ".join(JUDGED_COLUMNS)} FROM tradewind.judged_rows
 WHERE {KEY} AND experiment_uid = %(experiment)s ORDER BY decided_at, decision_id
"""


class ExportError(Exception):
    def __init__(self, code: ExitCode, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.result = {"reason": reason or code.reason, "message": message}


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    code = ExitCode.DONE
    try:
        result = export(flags)
    except ExportError as error:
        code, result = error.code, error.result
    text = json.dumps(result, ensure_ascii=False)
    target = flags.result or Path("/dev/termination-log")
    if flags.result or target.exists():
        target.write_text(text, encoding="utf-8")
    print(text, file=sys.stderr)
    return code


def export(flags: argparse.Namespace) -> dict[str, Any]:
    # What is asked for.
    for name in ("namespace", "endpoint", *(("experiment",) if flags.what == "evidence" else ())):
        if not getattr(flags, name):
            raise ExportError(ExitCode.BAD_CONFIG, f"--{name} is missing; name the Endpoint's (or experiment's) {name}")
    if flags.min_samples < 1:
        raise ExportError(ExitCode.BAD_CONFIG, f"--min-samples is {flags.min_samples}; give 1 or more")
    dsn = os.environ.get(flags.dsn_env, "")
    if not dsn:
        raise ExportError(ExitCode.BAD_CONFIG, f"{flags.dsn_env} is not set; put the PostgreSQL DSN there")
    try:
        connection = migrations.connect(dsn)
    except migrations.InvalidDsnError as error:
        raise ExportError(ExitCode.BAD_CONFIG, f"{flags.dsn_env}: {error}") from None
    except migrations.UnreachableDatabaseError as error:
        raise ExportError(ExitCode.BAD_DATA, str(error), "DatabaseUnreachable") from None

    # One consistent view, streamed: a year of decisions need not fit into memory.
    parameters = {
        name: getattr(flags, name) for name in ("installation", "namespace", "endpoint", "experiment", "min_samples")
    }
    with connection:
        _require_schema(connection)
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.cursor("export") as rows, writing(flags.output) as file:
            if flags.what == "evidence":
                rows.execute(EVIDENCE, parameters)
                counts = write_csv(rows, file)
            else:
                rows.execute(TRAINING_DATA, parameters)
                counts = write_json_lines(rows, file)
            if flags.what == "evidence" and not counts:
                raise ExportError(
                    ExitCode.BAD_DATA, f"experiment {flags.experiment} has no evidence row at {flags.namespace}/{flags.endpoint}; "
                    "give metadata.uid of the ABExperiment, not its name", "NoEvidence"
                )  # fmt: skip
    total = sum(counts.values())
    if flags.what == "evidence":
        return {"output": flags.output, "rows": total, "perStatus": dict(sorted(counts.items()))}
    short = {name: counts[f"{name}_decision"] for name in ("excellent", "good", "bad")}
    return {"output": flags.output, "total_samples": total, **short}


def write_csv(rows: "Cursor[Any]", file: TextIO) -> Counter[str]:
    counts: Counter[str] = Counter()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(JUDGED_COLUMNS)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        counts[row[JUDGED_COLUMNS.index("status")]] += 1
    return counts


def write_json_lines(rows: "Cursor[Any]", file: TextIO) -> Counter[str]:
    counts: Counter[str] = Counter()
    for data, label in rows:
        file.write(json.dumps(data, ensure_ascii=False) + "\n")
        counts[label] += 1
    return counts


def cell(value: object) -> str:
    """Times in UTC, numbers so that they read back exactly, nothing for NULL."""
    if value is None:
        return ""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


@contextlib.contextmanager
def writing(output: str) -> Iterator[TextIO]:
    """The file, whole or not at all."""
    if output == "-":
        yield sys.stdout
        return
    scratch = Path(f"{output}.partial")
    try:
        with scratch.open("w", encoding="utf-8", newline="") as file:
            yield file
        scratch.replace(output)
    except OSError as error:
        raise ExportError(ExitCode.BAD_CONFIG, f"--output {output} cannot be written: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)


def _require_schema(connection: "Connection[Any]") -> None:
    found = connection.execute("SELECT to_regclass('tradewind.judged_rows') IS NOT NULL").fetchone()
    connection.rollback()
    if found != (True,):
        raise ExportError(
            ExitCode.BAD_DATA, "the database has no Tradewind schema; run `tradewind migrate`", "SchemaMissing"
        )


if __name__ == "__main__":
    sys.exit(main())
