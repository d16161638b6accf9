"""What turns ask of the database about one Endpoint: each question once, and those of a turn in one statement.

Belongs here: their SQL, and how an answer is read. Each gives one column, a JSON array a row; a row of a question is never read
by another name. Does not belong here: looks (evidence.py), papers (papers.py), and what is asked seldom (database.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar

from tradewind.api.common import VersionStatusRef
from tradewind.core.endpoint import Conflicts, EpochRow, ProbeCosts, Promotion, ReplicaReport, StartedExperiment
from tradewind.shell.keys import OF_ENDPOINT as _KEY
from tradewind.trading.arm_health import ArmHealth

T = TypeVar("T")
Row = list[Any]


@dataclass(frozen=True)
class Question(Generic[T]):
    """A question and how its rows are read, in whatever order they come."""

    sql: str
    read: Callable[[Sequence[Row]], T]


def together(questions: Sequence[Question[Any]]) -> str:
    """One statement that answers all, a column each."""
    return "SELECT " + ", ".join(
        f"(SELECT coalesce(jsonb_agg(q.r), '[]') FROM ({each.sql}) q(r))" for each in questions
    )


def _promotion(rows: Sequence[Row]) -> Promotion | None:
    if not rows:
        return None
    version, sha256, spec_sha256, first, request, name, *hashes = rows[0]
    before = VersionStatusRef(name=name, sha256=hashes[0], spec_sha256=hashes[1]) if name is not None else None
    return Promotion(version, sha256, spec_sha256, first, request, before)


PROMOTION: Final = Question(
    f"""SELECT jsonb_build_array(p.version, p.sha256, p.spec_sha256, p.experiment_uid IS NULL AND p.request IS NULL, p.request,
                                 b.version, b.sha256, b.spec_sha256)
          FROM (SELECT * FROM tradewind.promotions WHERE {_KEY} ORDER BY id DESC LIMIT 1) p
          LEFT JOIN LATERAL (SELECT b.version, b.sha256, b.spec_sha256
                               FROM tradewind.promotions took
                               JOIN tradewind.promotions b USING (installation, namespace, endpoint)
                              WHERE {_KEY} AND took.version = p.version AND took.previous_version <> took.version
                                AND b.version = took.previous_version AND b.id < took.id
                              ORDER BY took.id DESC, b.id DESC LIMIT 1) b ON true""",
    _promotion,
)
"""The newest promotion, and whom it took the place from.

Where a version was promoted anew under its name, the one before it is that of another name, as in the status.
"""

USED: Final = Question(
    f"SELECT jsonb_build_array(request) FROM tradewind.promotions WHERE {_KEY} AND request = ANY(%(requests)s)",
    lambda rows: frozenset(str(row[0]) for row in rows),
)
"""Those of these requests by hand that led to a promotion."""

UNDECIDED: Final = Question(
    f"""SELECT jsonb_build_array(started_at, experiment_uid, name) FROM tradewind.experiments
         WHERE {_KEY} AND decision IS NULL""",
    lambda rows: tuple(
        StartedExperiment(uid=row[1], name=row[2])
        for row in sorted(rows, key=lambda row: (datetime.fromisoformat(row[0]), row[1]))
    ),
)
"""Experiments that were started and have no verdict, the oldest first."""


def _replicas(rows: Sequence[Row]) -> tuple[ReplicaReport, ...]:
    return tuple(
        ReplicaReport(
            replica=row[0],
            generation=row[1] or 0,
            epoch=row[2],
            arms=None if row[3] is None else tuple(ArmHealth.model_validate(arm) for arm in row[3]),
            published_at=None if row[4] is None else datetime.fromisoformat(row[4]),
            sha256=row[5],
        )
        for row in rows
    )


REPLICAS: Final = Question(
    f"""SELECT jsonb_build_array(replica, generation, epoch, arms, published_at, routing_sha256) FROM tradewind.gateway_replicas
         WHERE {_KEY} AND seen_at > now() - interval '1 minute'""",
    _replicas,
)
"""What the gateway pods of the last minute obey."""


def _probes(rows: Sequence[Row]) -> Mapping[str, ProbeCosts]:
    return {row[0]: ProbeCosts(int(row[1]), None if row[2] is None else Decimal(row[2])) for row in rows}


PROBES: Final = Question(
    f"""SELECT jsonb_build_array(version, count(*), sum(cost_cny)::text) FROM tradewind.probes
         WHERE {_KEY} AND asked_at > now() - interval '30 days' GROUP BY version""",
    _probes,
)
"""Questions of 30 days that no decision asked, by version."""


def _conflicts(rows: Sequence[Row]) -> Conflicts | None:
    decisions, unreported, newest = rows[0]
    return Conflicts(int(decisions), int(unreported), str(newest)) if decisions else None


CONFLICTS: Final = Question(
    f"""WITH known AS (
          SELECT decision_id, max(received_at) AS received_at FROM tradewind.conflicting_answers
           WHERE {_KEY} AND received_at > now() - interval '7 days' GROUP BY decision_id)
        SELECT jsonb_build_array(count(*), count(*) FILTER (WHERE d.reports = 0),
               (array_agg(k.decision_id ORDER BY k.received_at DESC, k.decision_id))[1])
          FROM known k JOIN tradewind.decisions d ON d.installation = %(installation)s AND d.namespace = %(namespace)s
           AND d.endpoint = %(endpoint)s AND d.decision_id = k.decision_id""",
    _conflicts,
)
"""Decisions of the last 7 days with answers that differ; None: there are none."""


def _epochs(rows: Sequence[Row]) -> tuple[EpochRow, ...]:
    return tuple(
        EpochRow(
            block=row[0],
            epoch=row[1],
            candidate_weight=Decimal(f"{row[2]:.6f}").normalize(),
            reason=row[3] or "",
            message=row[4] or "",
        )
        for row in sorted(rows, key=lambda row: int(row[0]))
    )


EPOCHS: Final = Question(
    f"""SELECT jsonb_build_array(block, epoch, candidate_weight, reason, evidence ->> 'weightMessage') FROM tradewind.epochs
         WHERE {_KEY} AND experiment_uid = %(uid)s""",
    _epochs,
)
"""Every stored weight of an experiment, by block."""

IN_POSITION: Final = Question(
    f"SELECT DISTINCT jsonb_build_array(drawn_version) FROM tradewind.decisions WHERE {_KEY} AND holding",
    lambda rows: frozenset(str(row[0]) for row in rows),
)
"""Versions whose decisions have open positions."""

RECORDED: Final = Question(
    f"SELECT jsonb_build_array(1) FROM tradewind.experiments WHERE {_KEY} AND experiment_uid = %(uid)s",
    bool,
)
"""Whether the start of an experiment is recorded."""

REPLAY_CLOCK: Final = Question(
    f"SELECT jsonb_build_array(as_of) FROM tradewind.replay_clock WHERE {_KEY}",
    lambda rows: datetime.fromisoformat(rows[0][0]) if rows else None,
)
"""The newest `as_of` that was asked for."""

TESTED_BEFORE: Final = Question(
    f"""SELECT jsonb_build_array(coalesce(sum(1 + coalesce(jsonb_array_length(evidence -> 'accepted'), 0)), 0))
          FROM tradewind.experiments e
         WHERE {_KEY} AND baseline = %(baseline)s AND candidate = %(candidate)s AND experiment_uid <> %(uid)s
           AND started_at < coalesce((SELECT started_at FROM tradewind.experiments
                                       WHERE installation = e.installation AND namespace = e.namespace
                                         AND endpoint = e.endpoint AND experiment_uid = %(uid)s), now())""",
    lambda rows: int(rows[0][0]),
)
"""How often this pair was compared before this one started: other experiments, and what was accepted in them."""
