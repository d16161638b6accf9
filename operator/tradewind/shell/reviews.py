"""Reviews of labels in SQL: which decisions are drawn, and what reviewers say of them.

A sample is drawn by hash, label by label in turn: the same decisions for whoever asks, of rare labels as many as of frequent ones while
there are some, and the same ones again when others came meanwhile, but for those that these displace.

Belongs here: the statements, and their errors in words. Does not belong here: what a reviewer sees (trading/reviews.py).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from psycopg.rows import dict_row

from tradewind.shell.endpoint_log import EndpointLog, in_words
from tradewind.trading.reviews import Review, Reviewable

_KEY: Final = "d.installation = %(installation)s AND d.namespace = %(namespace)s AND d.endpoint = %(endpoint)s"
# Openings that a training would judge: known how they ended, answered by the arm itself.
_MATURED: Final = f"""
  FROM tradewind.decisions d
  JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 WHERE {_KEY} AND d.state = 'answered' AND d.parent_decision_id IS NULL AND NOT d.fallback AND NOT o.voided
   AND (NOT d.replay OR %(replay)s) AND d.bar_from_evidence IS DISTINCT FROM 'conflicting_answers'
"""
_DRAWN: Final = f"""
WITH hashed AS (
    SELECT d.decision_id, o.label, sha256(convert_to(%(seed)s || d.decision_id, 'UTF8')) AS draw {_MATURED}
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY label ORDER BY draw) AS place FROM hashed
), drawn AS (
    SELECT decision_id, place, draw FROM ranked ORDER BY place, draw LIMIT %(sample)s
)
SELECT d.decision_id, d.decided_at, d.scope_symbol AS symbol, coalesce(d.answered_by, d.drawn_version) AS answered_by,
       coalesce(d.shown, jsonb_build_object('market_data', d.request -> 'market_data', 'account_state', d.request -> 'account_state',
                                            'recent_history', '[]'::jsonb)) AS shown,
       d.answer, o.closed_at, o.pnl_usd::double precision AS pnl_usd, o.exit_reason, o.label,
       (SELECT r.agrees FROM tradewind.reviews r
         WHERE (r.installation, r.namespace, r.endpoint, r.decision_id) = (d.installation, d.namespace, d.endpoint, d.decision_id)
           AND r.reviewer = %(by)s AND r.label = o.label) AS reviewed
  FROM drawn
  JOIN tradewind.decisions d USING (decision_id)
  JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 WHERE {_KEY}
 ORDER BY drawn.place, drawn.draw
"""
_LABEL: Final = f"SELECT o.label {_MATURED} AND d.decision_id = %(decision_id)s"
_STORE: Final = """
INSERT INTO tradewind.reviews (installation, namespace, endpoint, decision_id, reviewer, label, agrees, note)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(by)s, %(label)s, %(agrees)s, %(note)s)
ON CONFLICT (installation, namespace, endpoint, decision_id, reviewer) DO UPDATE
   SET label = excluded.label, agrees = excluded.agrees, note = excluded.note, created_at = now(), database_role = session_user
"""
_AGREEMENT: Final = f"""
SELECT count(*), avg(share) FROM (
    SELECT avg(r.agrees::int) AS share
      FROM tradewind.reviews r JOIN (SELECT d.decision_id, o.label {_MATURED}) m USING (decision_id, label)
     WHERE {_KEY.replace("d.", "r.")}
     GROUP BY r.decision_id) s
"""


@dataclass(frozen=True, slots=True)
class Draw:
    """Which sample: how many decisions, another one for another seed, and whether of recorded data, too."""

    sample: int
    seed: str = ""
    replay: bool = False


class NotReviewableError(ValueError):
    """A review of what cannot be reviewed; says why and what to do."""


class ReviewLog(EndpointLog):
    """A connection to the database, for one Endpoint and one reviewer."""

    def drawn(self, draw: Draw) -> list[Reviewable]:
        """The sample, in the order of the draw.

        Raises:
            RefusedByDatabaseError: it could not be read.
        """
        asked = {**self._key, "sample": draw.sample, "seed": draw.seed, "replay": draw.replay}
        with _in_words(), self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_DRAWN, asked).fetchall()
        self._connection.rollback()  # nothing is held while somebody thinks
        return [Reviewable(**row) for row in rows]

    def store(self, reviews: Iterable[Review], *, replay: bool = False) -> int:
        """Stores reviews, all or none; a reviewer's last one of a decision counts. How many there were.

        Args:
            reviews: of decisions that are there, with the label that they have now.
            replay: whether decisions on recorded data may be among them.

        Raises:
            NotReviewableError: nothing was stored: a decision is not there or not closed, or its label is another one by now.
            RefusedByDatabaseError: nothing was stored.
        """
        count = 0
        with _in_words(), self._connection.transaction():
            for review in reviews:
                self._check(review, replay=replay)
                said = {
                    "decision_id": review.decision_id,
                    "label": review.label,
                    "agrees": review.agrees,
                    "note": review.note,
                }
                self._connection.execute(_STORE, {**self._key, **said})
                count += 1
        return count

    def agreement(self, *, replay: bool = False) -> tuple[int, float | None]:
        """How many decisions have reviews of the label that they have, and the mean agreement, as the gate takes it.

        Raises:
            RefusedByDatabaseError: it could not be read.
        """
        with _in_words():
            row = self._connection.execute(_AGREEMENT, {**self._key, "replay": replay}).fetchone()
        assert row is not None
        return int(str(row[0])), None if row[1] is None else float(str(row[1]))

    def _check(self, review: Review, *, replay: bool) -> None:
        asked = {**self._key, "decision_id": review.decision_id, "replay": replay}
        row = self._connection.execute(_LABEL, asked).fetchone()
        if row is None:
            raise NotReviewableError(
                f"decision_id: {review.decision_id!r} is no closed decision of this Endpoint's own; mind --endpoint, --installation and "
                "--include-replay"
            )
        if row[0] != review.label:
            raise NotReviewableError(
                f"label: {review.decision_id!r} is {row[0]} by now, not {review.label}; its outcome was corrected: draw it anew"
            )


def _in_words() -> AbstractContextManager[None]:
    rights = "reviews are for the owner's role (the connection string of `tradewind migrate`): a tenant only reads them"
    return in_words("nothing", rights)
