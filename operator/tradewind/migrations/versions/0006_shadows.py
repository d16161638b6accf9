"""The arm that was not drawn: what it was asked beside the drawn one, what came of it, and what each arm earned on paper."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SHADOWS = """
-- One row for each decision that was drawn for an experiment with shadows, written when the shadow has ended; a decision
-- without one was cut off. `absent`: the arm did not get its chance (late, shed, not asked, cut off), which says nothing of
-- what it would have decided. `failed`: it was wrong in itself; `answer` is then the fallback's (`answered_by`) that would have
-- stood, or NULL where nobody would have answered: nothing would have been opened.
CREATE TABLE tradewind.shadows (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    arm text NOT NULL CHECK (arm IN ('baseline', 'candidate')),
    version text NOT NULL,
    sha256 text,
    scope_symbol text NOT NULL,
    scope_book text NOT NULL,
    replay boolean NOT NULL,
    decided_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('answered', 'failed', 'absent')),
    answer jsonb,
    answered_by text,
    probabilities jsonb,
    latency_ms double precision,
    error_kind text,
    error_detail text,
    cost_cny numeric,
    reported_model text,
    shown jsonb,
    asked_at timestamptz NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE,
    CHECK (answer IS NOT NULL OR state <> 'answered'),
    CHECK (answer IS NULL OR state <> 'absent'),
    CHECK ((answer IS NULL) = (answered_by IS NULL))
);
CREATE INDEX shadows_history ON tradewind.shadows
    (installation, namespace, endpoint, version, scope_symbol, scope_book, decided_at DESC, decision_id DESC)
    WHERE answer IS NOT NULL;
"""

PAPERS = """
-- What an arm's answer would have earned by one rule, or the market's move over the same time. `ret`: on notional, net of the
-- trading cost; `known_at`: on the clock of the prices.
CREATE TABLE tradewind.papers (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    arm text NOT NULL CHECK (arm IN ('baseline', 'candidate', 'market')),
    ret double precision NOT NULL,
    exit_reason text NOT NULL,
    exit_at timestamptz NOT NULL,
    known_at timestamptz NOT NULL,
    source text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id, arm),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);
"""

HISTORY = """
-- A version's last answers in a scope, drawn and shadow alike, oldest first, each with what was known of its outcome at that
-- time: the real one where it was drawn, the paper one where it was the shadow.
CREATE FUNCTION tradewind.history(
    p_installation text, p_namespace text, p_endpoint text, p_version text, p_symbol text, p_book text, p_replay boolean,
    p_at timestamptz, p_decision_id text, p_limit int)
RETURNS jsonb STABLE LANGUAGE plpgsql AS $$
BEGIN
    IF p_version IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'timestamp', to_char(h.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                       'action', h.answer -> 'action', 'symbol', h.answer -> 'symbol', 'size_usd', h.answer -> 'size_usd',
                       'leverage', h.answer -> 'leverage', 'confidence', h.answer -> 'confidence', 'result', h.result)
                       ORDER BY h.decided_at, h.decision_id), '[]'::jsonb)
      FROM (
        (SELECT d.decided_at, d.decision_id, d.answer,
                CASE WHEN o.closed_at <= p_at AND NOT o.voided THEN jsonb_build_object(
                    'profitable', o.pnl_usd > 0, 'pnl', o.pnl_usd, 'exit_reason', o.exit_reason) END AS result
           FROM tradewind.decisions d LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
          WHERE d.installation = p_installation AND d.namespace = p_namespace AND d.endpoint = p_endpoint
            AND d.scope_symbol = p_symbol AND d.scope_book = p_book AND d.state = 'answered' AND d.drawn_version = p_version
            AND d.replay = p_replay AND d.decided_at <= p_at AND d.decision_id <> p_decision_id
          ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT p_limit)
        UNION ALL
        (SELECT s.decided_at, s.decision_id, s.answer,
                CASE WHEN p.known_at <= p_at AND e.pnl IS NOT NULL AND s.answer ->> 'action' IN ('open_long', 'open_short')
                     THEN jsonb_build_object('profitable', e.pnl > 0, 'pnl', e.pnl, 'exit_reason', p.exit_reason) END
           FROM tradewind.shadows s
           LEFT JOIN tradewind.papers p USING (installation, namespace, endpoint, decision_id, arm)
          CROSS JOIN LATERAL (SELECT CASE WHEN p.ret > '-Infinity' AND p.ret < 'Infinity' THEN trim_scale(round(
                p.ret::numeric * (s.answer ->> 'size_usd')::numeric * (s.answer ->> 'leverage')::numeric, 6)) END AS pnl) e
          WHERE s.installation = p_installation AND s.namespace = p_namespace AND s.endpoint = p_endpoint
            AND s.scope_symbol = p_symbol AND s.scope_book = p_book AND s.answer IS NOT NULL AND s.version = p_version
            AND s.replay = p_replay AND s.decided_at <= p_at AND s.decision_id <> p_decision_id
          ORDER BY s.decided_at DESC, s.decision_id DESC LIMIT p_limit)
        ORDER BY decided_at DESC, decision_id DESC LIMIT p_limit) h);
END $$;
"""


def upgrade() -> None:
    """Adds the tables of shadows and papers, and an arm's history of both."""
    for statements in (SHADOWS, PAPERS, HISTORY):
        op.get_bind().exec_driver_sql(statements)
