"""What a decision looks up is found by key, whatever the planner believes of the tables.

A connection keeps its plans. One that was made while a table was small, or never analyzed, joined the whole Endpoint for each
decision; with row-level security its estimate was high enough for the server to compile it anew each time. So: one lookup a row
(LIMIT) in place of joins, and functions of one row say so. No result changes.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ASSIGN = """
CREATE OR REPLACE FUNCTION tradewind.assign(
    p_installation text, p_namespace text, p_endpoint text, p_decision_id text, p_request_hash bytea, p_retry_hash bytea,
    p_request jsonb, p_symbol text, p_book text, p_position_id text, p_positions text[], p_flat boolean,
    p_stated_at timestamptz, p_max_hold double precision, p_replay boolean, p_decided_at timestamptz,
    p_arrived_at timestamptz, p_lease double precision, p_experiment_uid text, p_arm text, p_weight double precision,
    p_block int, p_epoch bigint, p_version text, p_sha256 text)
RETURNS TABLE (outcome text, clock_before timestamptz, d tradewind.decisions) LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
DECLARE
    held tradewind.decisions;
    gone record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(
        concat_ws(chr(31), p_installation, p_namespace, p_endpoint, p_symbol, p_book), 0));
    clock_before := (SELECT c.as_of FROM tradewind.replay_clock c
                      WHERE c.installation = p_installation AND c.namespace = p_namespace AND c.endpoint = p_endpoint);
    SELECT * INTO d FROM tradewind.decisions k
     WHERE k.installation = p_installation AND k.namespace = p_namespace AND k.endpoint = p_endpoint
       AND k.decision_id = p_decision_id;
    IF FOUND THEN
        outcome := 'known'; RETURN NEXT; RETURN;
    END IF;
    IF EXISTS (SELECT FROM tradewind.decisions a
                WHERE a.installation = p_installation AND a.namespace = p_namespace AND a.endpoint = p_endpoint
                  AND a.state = 'assigned' AND a.asking_until > clock_timestamp()
                  AND a.scope_symbol = p_symbol AND a.scope_book = p_book) THEN
        outcome := 'busy'; RETURN NEXT; RETURN;
    END IF;

    IF p_position_id IS NOT NULL THEN
        SELECT h.* INTO held FROM tradewind.executions e
         CROSS JOIN LATERAL (SELECT * FROM tradewind.decisions k
                              WHERE k.installation = p_installation AND k.namespace = p_namespace AND k.endpoint = p_endpoint
                                AND k.decision_id = e.decision_id LIMIT 1) h
         WHERE e.installation = p_installation AND e.namespace = p_namespace AND e.endpoint = p_endpoint
           AND e.position_id = p_position_id AND e.status = 'opened'
           AND h.scope_symbol = p_symbol AND h.scope_book = p_book
           AND coalesce(h.released_by, '') NOT IN ('closed', 'unpriced')
         ORDER BY e.opened_at DESC, h.decided_at DESC LIMIT 1;
        IF NOT FOUND THEN
            outcome := 'not_open'; RETURN NEXT; RETURN;
        END IF;
    ELSE
        FOR gone IN
            SELECT h.decision_id, p_flat AND coalesce(e.opened_at, CASE WHEN p_replay THEN h.decided_at ELSE h.held_since END)
                       < p_stated_at AS stated,
                   least(h.decided_at, e.opened_at) + make_interval(secs => p_max_hold) <= p_decided_at AS over
              FROM tradewind.decisions h
              LEFT JOIN LATERAL (SELECT x.opened_at FROM tradewind.executions x
                                  WHERE x.installation = p_installation AND x.namespace = p_namespace AND x.endpoint = p_endpoint
                                    AND x.decision_id = h.decision_id LIMIT 1) e ON true
             WHERE h.installation = p_installation AND h.namespace = p_namespace AND h.endpoint = p_endpoint
               AND h.scope_symbol = p_symbol AND h.scope_book = p_book AND h.holding
               AND (NOT p_replay OR h.decided_at <= p_decided_at)
        LOOP
            CONTINUE WHEN (gone.stated OR gone.over) IS NOT true;
            UPDATE tradewind.decisions r
               SET holding = false,
                   -- What opened after the statement was not in it, however late it is reported.
                   released_at = CASE WHEN gone.stated THEN least(p_stated_at, p_decided_at) ELSE p_decided_at END,
                   released_by = CASE WHEN gone.stated THEN 'stated' ELSE 'max_hold' END
             WHERE r.installation = p_installation AND r.namespace = p_namespace AND r.endpoint = p_endpoint
               AND r.decision_id = gone.decision_id;
            -- Its position_id is free again, too: a netting id comes back with the next position.
            UPDATE tradewind.executions x SET closed = true
             WHERE x.installation = p_installation AND x.namespace = p_namespace AND x.endpoint = p_endpoint
               AND x.decision_id = gone.decision_id;
        END LOOP;
        SELECT h.* INTO held FROM tradewind.decisions h
          LEFT JOIN LATERAL (SELECT x.position_id FROM tradewind.executions x
                              WHERE x.installation = p_installation AND x.namespace = p_namespace AND x.endpoint = p_endpoint
                                AND x.decision_id = h.decision_id LIMIT 1) e ON true
         WHERE h.installation = p_installation AND h.namespace = p_namespace AND h.endpoint = p_endpoint
           AND h.scope_symbol = p_symbol AND h.scope_book = p_book AND h.holding
           AND (NOT p_replay OR h.decided_at <= p_decided_at)
         ORDER BY coalesce(e.position_id = ANY(p_positions), false) DESC, h.decided_at DESC, h.decision_id DESC LIMIT 1;
        IF NOT p_replay AND held.held_since > p_arrived_at THEN
            outcome := 'overlap'; d := held; RETURN NEXT; RETURN;
        END IF;
    END IF;

    IF held.decision_id IS NULL THEN
        held.experiment_uid := p_experiment_uid; held.arm := p_arm; held.candidate_weight := p_weight; held.block := p_block;
        held.epoch := p_epoch; held.drawn_version := p_version; held.drawn_sha256 := p_sha256;
        held.assignment_key := p_decision_id;
    END IF;
    INSERT INTO tradewind.decisions (
        installation, namespace, endpoint, decision_id, request_hash, retry_hash, request, scope_symbol, scope_book, position_id,
        replay, decided_at, asking_until, parent_decision_id, experiment_uid, arm, candidate_weight, block, epoch, drawn_version,
        drawn_sha256, assignment_key)
    VALUES (p_installation, p_namespace, p_endpoint, p_decision_id, p_request_hash, p_retry_hash, p_request, p_symbol, p_book,
        p_position_id, p_replay, p_decided_at, clock_timestamp() + make_interval(secs => p_lease), held.decision_id,
        held.experiment_uid, held.arm, held.candidate_weight, held.block, held.epoch, held.drawn_version, held.drawn_sha256,
        held.assignment_key)
    ON CONFLICT DO NOTHING RETURNING * INTO d;
    IF NOT FOUND THEN  -- the same id was asked in another scope at this moment
        SELECT * INTO d FROM tradewind.decisions k
         WHERE k.installation = p_installation AND k.namespace = p_namespace AND k.endpoint = p_endpoint
           AND k.decision_id = p_decision_id;
        outcome := 'known'; RETURN NEXT; RETURN;
    END IF;
    IF p_replay THEN
        INSERT INTO tradewind.replay_clock AS c (installation, namespace, endpoint, as_of)
        VALUES (p_installation, p_namespace, p_endpoint, p_decided_at)
        ON CONFLICT (installation, namespace, endpoint) DO UPDATE SET as_of = excluded.as_of WHERE c.as_of < excluded.as_of;
    END IF;
    outcome := 'drawn'; RETURN NEXT;
END $$;
"""

HISTORY = """
CREATE OR REPLACE FUNCTION tradewind.history(
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
           FROM tradewind.decisions d
           LEFT JOIN LATERAL (SELECT * FROM tradewind.outcomes u
                               WHERE u.installation = p_installation AND u.namespace = p_namespace AND u.endpoint = p_endpoint
                                 AND u.decision_id = d.decision_id LIMIT 1) o ON true
          WHERE d.installation = p_installation AND d.namespace = p_namespace AND d.endpoint = p_endpoint
            AND d.scope_symbol = p_symbol AND d.scope_book = p_book AND d.state = 'answered' AND d.drawn_version = p_version
            AND d.replay = p_replay AND d.decided_at <= p_at AND d.decision_id <> p_decision_id
          ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT p_limit)
        UNION ALL
        (SELECT s.decided_at, s.decision_id, s.answer,
                CASE WHEN p.known_at <= p_at AND e.pnl IS NOT NULL AND s.answer ->> 'action' IN ('open_long', 'open_short')
                     THEN jsonb_build_object('profitable', e.pnl > 0, 'pnl', e.pnl, 'exit_reason', p.exit_reason) END
           FROM tradewind.shadows s
           LEFT JOIN LATERAL (SELECT * FROM tradewind.papers u
                               WHERE u.installation = p_installation AND u.namespace = p_namespace AND u.endpoint = p_endpoint
                                 AND u.decision_id = s.decision_id AND u.arm = s.arm LIMIT 1) p ON true
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
    """Replaces two functions by ones that return the same."""
    for statement in (ASSIGN, HISTORY):
        op.get_bind().exec_driver_sql(statement)
