"""Two answers to one id: the second is kept, the decision is no evidence, and reports may be about either."""

from importlib import import_module

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# `answer_hash` is of the answer and who gave it: a record that is taken in twice is one answer. `answer` may have been acted on,
# as may the decision's own.
TABLE = """
CREATE TABLE tradewind.conflicting_answers (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    answer_hash bytea NOT NULL,
    answer jsonb NOT NULL,
    answered_by text NOT NULL,
    given_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id, answer_hash),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);
CREATE INDEX conflicting_answers_received ON tradewind.conflicting_answers (installation, namespace, endpoint, received_at);

-- How the position of a decision with several answers was opened, where it is known; NULL: as its own answer says.
ALTER TABLE tradewind.decisions ADD COLUMN position_action text CHECK (position_action IN ('open_long', 'open_short'));
"""

LOST = """
CREATE OR REPLACE VIEW tradewind.lost_decisions AS
SELECT d.installation, d.namespace, d.endpoint, d.experiment_uid, d.decision_id, d.decided_at, d.replay,
       CASE WHEN d.replay THEN d.decided_at ELSE l.known_at END AS known_at, l.reason
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 CROSS JOIN LATERAL (
       SELECT 0 AS rank, 'conflict' AS reason, min(c.received_at) AS known_at
         FROM tradewind.conflicting_answers c
        WHERE d.bar_from_evidence = 'conflicting_answers'
          AND c.installation = d.installation AND c.namespace = d.namespace AND c.endpoint = d.endpoint
          AND c.decision_id = d.decision_id
       HAVING count(*) > 0
        UNION ALL
       SELECT 1, 'outage', d.received_at WHERE d.bar_from_evidence IS NOT NULL
        UNION ALL
       SELECT 2, 'opened_inside', e.received_at WHERE d.parent_decision_id IS NOT NULL AND e.status = 'opened'
        UNION ALL
       SELECT 3, 'follow_up', d.received_at WHERE d.parent_decision_id IS NOT NULL
        UNION ALL
       SELECT 4, 'no_price', d.released_at WHERE d.released_by = 'unpriced' AND o.decision_id IS NULL
        UNION ALL
       SELECT 5, 'refused', min(f.received_at)
         FROM tradewind.refused_reports f
        WHERE f.installation = d.installation AND f.namespace = d.namespace AND f.endpoint = d.endpoint
          AND f.decision_id = d.decision_id AND o.decision_id IS NULL
          AND d.answer ->> 'action' IN ('open_long', 'open_short') AND coalesce(e.status, 'opened') = 'opened'
       HAVING count(*) > 0
        ORDER BY rank LIMIT 1) l
 WHERE d.experiment_uid IS NOT NULL OR d.bar_from_evidence IS NOT NULL;
"""

_OF_ONE = "d.decision_id <> p_decision_id\n          ORDER BY d.decided_at"
_OF_ONE_ANSWER = _OF_ONE.replace("\n", "\n            AND d.bar_from_evidence IS DISTINCT FROM 'conflicting_answers'\n")
_ANSWERED = "WHERE d.state = 'answered'\nUNION ALL"
_ONE_ANSWER = "WHERE d.state = 'answered' AND d.bar_from_evidence IS DISTINCT FROM 'conflicting_answers'\nUNION ALL"


def upgrade() -> None:
    """Adds the table and the reason, and keeps from trainings and arms an outcome that may be of another answer."""
    history: str = import_module("tradewind.migrations.versions.0006_shadows").HISTORY
    history = history.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    assert history.count(_OF_ONE) == 1
    views: str = import_module("tradewind.migrations.versions.0013_imported").VIEWS
    training = views[views.index("CREATE OR REPLACE VIEW tradewind.training_data") :]
    assert training.count(_ANSWERED) == 1
    connection = op.get_bind()
    for part in (TABLE, LOST, history.replace(_OF_ONE, _OF_ONE_ANSWER), training.replace(_ANSWERED, _ONE_ANSWER)):
        connection.exec_driver_sql(part)
