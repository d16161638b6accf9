"""Verdicts found again from their tables alone, by the commands that a user types.

Belongs here: the rows that an experiment was judged on, and what `tradewind` says of them. Does not belong here: the phases
of the demo (run.py).
"""

import csv
import io
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tradewind.trading.evidence import JUDGED_COLUMNS
from workshop.charts import SYSTEM
from workshop.client import Json
from workshop.namespace import Namespace
from workshop.progress import StepError

ROOT: Final = Path(__file__).resolve().parents[1]
QUERY: Final = (
    f"SELECT {', '.join(JUDGED_COLUMNS)} FROM tradewind.judged_rows WHERE experiment_uid = '{{uid}}' "
    "ORDER BY decided_at, decision_id"
)


@dataclass(frozen=True)
class Judged:
    """An experiment, the rows that it was judged on, and the command that finds its verdict in them again."""

    experiment: Json
    rows: list[dict[str, str]]
    command: str


@dataclass(frozen=True)
class Verdicts:
    """Of the experiments in a namespace; tables and manifests go to `folder`."""

    space: Namespace
    folder: Path

    def found_again(self, name: str, prefix: str) -> Judged:
        """The experiment with its rows, as `<prefix>trades.csv` and `<prefix>experiment.json`.

        Raises:
            StepError: `tradewind evaluate` says something else than the status.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        experiment = self.space.must_get("ABExperiment", name)
        rows = self._judged_rows(experiment["metadata"]["uid"])
        trades, manifest = self.folder / f"{prefix}trades.csv", self.folder / f"{prefix}experiment.json"
        with trades.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["decision_id"])
            writer.writeheader()
            writer.writerows(rows)
        manifest.write_text(json.dumps(experiment), encoding="utf-8")
        command = ["evaluate", "--trades", str(trades), "--experiment", str(manifest)]
        found = json.loads(self.tradewind(*command))["operator_verdict"]
        verdict = experiment["status"]["verdict"]
        for told, status in (("verdict", "decision"), ("reason", "reason"), ("message", "message")):
            if found[told] != verdict[status]:
                raise StepError(
                    f"{name}: from the table the {told} is {found[told]!r}, in the status {verdict[status]!r}",
                    "this is a fault of the product: both read the same rows",
                )
        shown = " ".join(part.removeprefix(f"{ROOT}/") for part in command)
        return Judged(experiment, rows, f"tradewind {shown} -o text")

    def tradewind(self, *args: str) -> str:
        """Standard output of the product's command line."""
        return self.space.cluster.run(sys.executable, "-m", "tradewind.main", *args)

    def _judged_rows(self, uid: str) -> list[dict[str, str]]:
        copy = f"COPY ({QUERY.format(uid=uid)}) TO STDOUT WITH CSV HEADER"
        login = 'PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" psql -h 127.0.0.1 -U tradewind -d tradewind'
        system = Namespace(self.space.cluster, SYSTEM)
        (pod,) = system.select("Pod", "app.kubernetes.io/component=postgres")
        text = system.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", f"{login} -c {shlex.quote(copy)}")
        return list(csv.DictReader(io.StringIO(text)))
