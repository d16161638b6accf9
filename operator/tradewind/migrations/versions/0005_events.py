"""Positions by their events: what was reported, in order and for good; who holds a scope; what is no evidence and why."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A gateway of the version before may write until its pod is replaced: the triggers log what it does not.
SCOPES = """
ALTER TABLE tradewind.decisions
    ADD COLUMN retry_hash bytea,
    ADD COLUMN flipped_from text,
    ADD COLUMN holding boolean NOT NULL DEFAULT false,
    ADD COLUMN held_since timestamptz,
    ADD COLUMN released_at timestamptz,
    ADD COLUMN released_by text CHECK (released_by IN ('closed', 'unpriced', 'stated', 'max_hold', 'flip', 'not_opened')),
    ADD COLUMN reports int NOT NULL DEFAULT 0;
-- Who holds a scope: a decision that opened, until its position is closed, stated to be gone, flipped or too old.
CREATE INDEX decisions_holding ON tradewind.decisions (installation, namespace, endpoint, scope_symbol, scope_book)
    WHERE holding;

UPDATE tradewind.decisions d SET holding = true, held_since = e.opened_at
  FROM tradewind.executions e
 WHERE e.installation = d.installation AND e.namespace = d.namespace AND e.endpoint = d.endpoint
   AND e.decision_id = d.decision_id AND e.status = 'opened' AND NOT e.closed;
UPDATE tradewind.decisions d SET released_at = o.closed_at, released_by = 'closed'
  FROM tradewind.outcomes o
 WHERE o.installation = d.installation AND o.namespace = d.namespace AND o.endpoint = d.endpoint
   AND o.decision_id = d.decision_id;
"""

EVENTS = """
CREATE TABLE tradewind.events (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    event_id text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 128),
    number int NOT NULL,
    kind text NOT NULL CHECK (kind IN ('open', 'add', 'reduce', 'close', 'cash_flow', 'not_filled', 'rejected', 'correct',
                                       'void')),
    at timestamptz NOT NULL,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id, event_id),
    UNIQUE (installation, namespace, endpoint, decision_id, number),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);
CREATE FUNCTION tradewind.refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'tradewind.events is append-only: report a correction or a void';
END $$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE ON tradewind.events
    FOR EACH ROW EXECUTE FUNCTION tradewind.refuse_update();

ALTER TABLE tradewind.executions ADD COLUMN logged boolean NOT NULL DEFAULT false;
-- The first values are what was known in time: evidence goes by them, labels and accounts by the others.
ALTER TABLE tradewind.outcomes
    ADD COLUMN logged boolean NOT NULL DEFAULT false,
    ADD COLUMN corrections int NOT NULL DEFAULT 0,
    ADD COLUMN voided boolean NOT NULL DEFAULT false,
    ADD COLUMN first_closed_at timestamptz,
    ADD COLUMN first_pnl_usd numeric,
    ADD COLUMN first_notional_usd numeric,
    ADD COLUMN first_received_at timestamptz;
UPDATE tradewind.outcomes o
   SET first_closed_at = o.closed_at, first_pnl_usd = o.pnl_usd, first_received_at = o.received_at,
       first_notional_usd = e.filled_notional_usd
  FROM tradewind.executions e
 WHERE e.installation = o.installation AND e.namespace = o.namespace AND e.endpoint = o.endpoint
   AND e.decision_id = o.decision_id;

CREATE FUNCTION tradewind.execution_event(e tradewind.executions) RETURNS void LANGUAGE sql AS $$
    INSERT INTO tradewind.events (installation, namespace, endpoint, decision_id, event_id, number, kind, at, body, received_at)
    VALUES (e.installation, e.namespace, e.endpoint, e.decision_id, coalesce(encode(e.report_hash, 'hex'), 'execution'), 1,
            CASE e.status WHEN 'opened' THEN 'open' ELSE e.status END, coalesce(e.opened_at, e.received_at),
            jsonb_strip_nulls(jsonb_build_object('position_id', e.position_id, 'notional_usd', e.filled_notional_usd)),
            e.received_at)
    ON CONFLICT DO NOTHING
$$;
CREATE FUNCTION tradewind.outcome_event(o tradewind.outcomes) RETURNS void LANGUAGE sql AS $$
    INSERT INTO tradewind.events (installation, namespace, endpoint, decision_id, event_id, number, kind, at, body, received_at)
    VALUES (o.installation, o.namespace, o.endpoint, o.decision_id, coalesce(encode(o.report_hash, 'hex'), 'outcome'), 2,
            'close', o.closed_at,
            jsonb_strip_nulls(jsonb_build_object('total_pnl', o.pnl_usd, 'fees_usd', o.fees_usd, 'exit_reason', o.exit_reason,
                                                 'duration_hours', o.duration_hours)),
            o.received_at)
    ON CONFLICT DO NOTHING
$$;
SELECT tradewind.execution_event(e) FROM tradewind.executions e;
SELECT tradewind.outcome_event(o) FROM tradewind.outcomes o;
UPDATE tradewind.decisions d SET reports = n.reports
  FROM (SELECT installation, namespace, endpoint, decision_id, count(*) AS reports FROM tradewind.events
         GROUP BY installation, namespace, endpoint, decision_id) n
 WHERE n.installation = d.installation AND n.namespace = d.namespace AND n.endpoint = d.endpoint
   AND n.decision_id = d.decision_id;
UPDATE tradewind.executions SET logged = true;
UPDATE tradewind.outcomes SET logged = true;

CREATE FUNCTION tradewind.log_execution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tradewind.execution_event(NEW);
    UPDATE tradewind.decisions
       SET reports = 1, holding = NEW.status = 'opened', held_since = coalesce(NEW.opened_at, now())
     WHERE installation = NEW.installation AND namespace = NEW.namespace AND endpoint = NEW.endpoint
       AND decision_id = NEW.decision_id;
    RETURN NULL;
END $$;
CREATE TRIGGER execution_is_logged AFTER INSERT ON tradewind.executions
    FOR EACH ROW WHEN (NOT NEW.logged) EXECUTE FUNCTION tradewind.log_execution();

CREATE FUNCTION tradewind.log_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tradewind.outcome_event(NEW);
    UPDATE tradewind.decisions
       SET reports = 2, holding = false, released_at = NEW.closed_at, released_by = 'closed'
     WHERE installation = NEW.installation AND namespace = NEW.namespace AND endpoint = NEW.endpoint
       AND decision_id = NEW.decision_id;
    RETURN NULL;
END $$;
CREATE TRIGGER outcome_is_logged AFTER INSERT ON tradewind.outcomes
    FOR EACH ROW WHEN (NOT NEW.logged) EXECUTE FUNCTION tradewind.log_outcome();

CREATE FUNCTION tradewind.first_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.first_closed_at := coalesce(NEW.first_closed_at, NEW.closed_at);
    NEW.first_pnl_usd := coalesce(NEW.first_pnl_usd, NEW.pnl_usd);
    NEW.first_received_at := coalesce(NEW.first_received_at, NEW.received_at);
    RETURN NEW;
END $$;
CREATE TRIGGER outcome_is_first_known BEFORE INSERT ON tradewind.outcomes
    FOR EACH ROW EXECUTE FUNCTION tradewind.first_outcome();

-- Reports that were refused, one row a different text: what they said is not lost, and the sender's mistake can be seen.
CREATE TABLE tradewind.refused_reports (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    report_hash bytea NOT NULL,
    decision_id text,
    code text NOT NULL,
    field text,
    message text NOT NULL,
    body text NOT NULL,
    times int NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, report_hash)
);
CREATE INDEX refused_reports_decision ON tradewind.refused_reports (installation, namespace, endpoint, decision_id);
"""

ASSIGN = """
-- Draws or finds one decision under the lock of its scope, so that of two questions at once the second knows the first.
-- Each statement sees what was committed before it: that is why this is a function and not one statement.
CREATE FUNCTION tradewind.assign(
    p_installation text, p_namespace text, p_endpoint text, p_decision_id text, p_request_hash bytea, p_retry_hash bytea,
    p_request jsonb, p_symbol text, p_book text, p_position_id text, p_positions text[], p_flat boolean,
    p_stated_at timestamptz, p_max_hold double precision, p_replay boolean, p_decided_at timestamptz,
    p_arrived_at timestamptz, p_lease double precision, p_experiment_uid text, p_arm text, p_weight double precision,
    p_block int, p_epoch bigint, p_version text, p_sha256 text)
RETURNS TABLE (outcome text, clock_before timestamptz, d tradewind.decisions) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    held tradewind.decisions;
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
          JOIN tradewind.decisions h USING (installation, namespace, endpoint, decision_id)
         WHERE e.installation = p_installation AND e.namespace = p_namespace AND e.endpoint = p_endpoint
           AND e.position_id = p_position_id AND e.status = 'opened'
           AND h.scope_symbol = p_symbol AND h.scope_book = p_book
           AND coalesce(h.released_by, '') NOT IN ('closed', 'unpriced')
         ORDER BY e.opened_at DESC, h.decided_at DESC LIMIT 1;
        IF NOT FOUND THEN
            outcome := 'not_open'; RETURN NEXT; RETURN;
        END IF;
    ELSE
        WITH gone AS (
            SELECT h.decision_id, p_flat AND coalesce(e.opened_at, CASE WHEN p_replay THEN h.decided_at ELSE h.held_since END)
                       < p_stated_at AS stated,
                   least(h.decided_at, e.opened_at) + make_interval(secs => p_max_hold) <= p_decided_at AS over
              FROM tradewind.decisions h LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
             WHERE h.installation = p_installation AND h.namespace = p_namespace AND h.endpoint = p_endpoint
               AND h.scope_symbol = p_symbol AND h.scope_book = p_book AND h.holding
               AND (NOT p_replay OR h.decided_at <= p_decided_at)
        ), freed AS (
            UPDATE tradewind.decisions r
               SET holding = false,
                   -- What opened after the statement was not in it, however late it is reported.
                   released_at = CASE WHEN gone.stated THEN least(p_stated_at, p_decided_at) ELSE p_decided_at END,
                   released_by = CASE WHEN gone.stated THEN 'stated' ELSE 'max_hold' END
              FROM gone
             WHERE r.installation = p_installation AND r.namespace = p_namespace AND r.endpoint = p_endpoint
               AND r.decision_id = gone.decision_id AND (gone.stated OR gone.over)
            RETURNING r.decision_id
        )
        -- Its position_id is free again, too: a netting id comes back with the next position.
        UPDATE tradewind.executions x SET closed = true FROM freed
         WHERE x.installation = p_installation AND x.namespace = p_namespace AND x.endpoint = p_endpoint
           AND x.decision_id = freed.decision_id;
        SELECT h.* INTO held FROM tradewind.decisions h
          LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
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

VIEWS = """
CREATE OR REPLACE VIEW tradewind.training_data AS
SELECT d.decision_id,
       jsonb_build_object(
           'conversation_id', d.decision_id,
           'timestamp', to_char(d.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'input', coalesce(d.shown, jsonb_build_object('market_data', d.request -> 'market_data',
                    'account_state', d.request -> 'account_state', 'recent_history', '[]'::jsonb)),
           'output', d.answer,
           'result', CASE WHEN o.decision_id IS NULL THEN NULL ELSE jsonb_build_object(
               'profitable', o.pnl_usd > 0,
               'pnl', o.pnl_usd,
               'duration_hours', coalesce(o.duration_hours, round((extract(epoch FROM o.closed_at - e.opened_at) / 3600)::numeric, 6)::double precision),
               'exit_reason', o.exit_reason) END,
           'label', coalesce(o.label, 'pending')) AS data,
       CASE WHEN o.decision_id IS NULL THEN 'pending' ELSE 'labeled' END AS status,
       o.label,
       d.decided_at AS created_at,
       d.installation, d.namespace, d.endpoint,
       d.scope_symbol, d.scope_book, d.replay, d.parent_decision_id, d.experiment_uid, d.arm,
       d.drawn_version, d.answered_by, d.bar_from_evidence,
       e.filled_notional_usd AS notional_usd, o.closed_at, o.received_at AS labeled_at
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN (SELECT * FROM tradewind.outcomes WHERE NOT voided) o USING (installation, namespace, endpoint, decision_id)
 WHERE d.state = 'answered';

-- First decisions of positions with what became of them. A trading system whose clock is behind the gateway's closes
-- nothing before it was decided. No size is too large to be read: the product is bounded far above any account.
CREATE OR REPLACE VIEW tradewind.first_decisions AS
SELECT d.installation, d.namespace, d.endpoint, d.experiment_uid, d.decision_id, d.arm, d.candidate_weight, d.decided_at,
       d.drawn_version, d.latency_ms, d.error_kind, d.fallback, d.cost_cny, d.reported_model,
       CASE WHEN d.state = 'assigned' THEN NULL WHEN d.replay THEN d.decided_at
            ELSE greatest(d.answered_at, d.decided_at) END AS answered_at,
       s.status,
       CASE WHEN s.status = 'closed' THEN greatest(o.first_closed_at, d.decided_at) END AS closed_at,
       CASE WHEN s.status IN ('closed', 'open') THEN coalesce(o.first_notional_usd, e.filled_notional_usd,
            CASE WHEN s.exposure < 1e15 THEN s.exposure WHEN s.exposure IS NOT NULL THEN 1e15 END)
            END::double precision AS notional_usd,
       CASE WHEN s.status = 'closed' THEN o.first_pnl_usd END::double precision AS pnl_usd,
       -- On the data's clock an outcome is known when the position is flat; the wall clock says nothing there.
       CASE WHEN s.status = 'closed' THEN greatest(CASE WHEN d.replay THEN o.first_closed_at ELSE o.first_received_at END,
            d.decided_at) END AS received_at,
       s.status = 'closed' AND (o.corrections > 0 OR o.voided) AS corrected
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 -- OFFSET 0: else the planner works the CASE out anew for each column that depends on it.
 CROSS JOIN LATERAL (SELECT CASE
       WHEN d.state = 'failed' THEN 'rejected'
       WHEN d.answer ->> 'action' IN ('hold', 'close') THEN 'hold'
       WHEN o.decision_id IS NOT NULL THEN 'closed'
       WHEN e.status IN ('rejected', 'not_filled') THEN e.status
       ELSE 'open' END AS status,
       (d.answer ->> 'size_usd')::numeric * (d.answer ->> 'leverage')::numeric AS exposure OFFSET 0) s
 WHERE d.parent_decision_id IS NULL AND d.bar_from_evidence IS NULL;

CREATE OR REPLACE VIEW tradewind.judged_rows AS
SELECT installation, namespace, endpoint, experiment_uid, decision_id, arm, candidate_weight, decided_at, status, closed_at,
       notional_usd, pnl_usd, received_at, answered_at, latency_ms, error_kind, fallback, cost_cny, reported_model, corrected
  FROM tradewind.first_decisions
 WHERE experiment_uid IS NOT NULL AND candidate_weight > 0
UNION ALL
SELECT x.installation, x.namespace, x.endpoint, x.experiment_uid, p.decision_id, 'baseline', 0.0, p.decided_at, p.status,
       p.closed_at, p.notional_usd, p.pnl_usd, p.received_at, p.answered_at, p.latency_ms, p.error_kind, p.fallback,
       p.cost_cny, p.reported_model, p.corrected
  FROM tradewind.experiments x
 CROSS JOIN LATERAL (
       SELECT * FROM tradewind.first_decisions b
        WHERE b.installation = x.installation AND b.namespace = x.namespace AND b.endpoint = x.endpoint
          AND b.drawn_version = x.baseline AND b.experiment_uid IS NULL AND b.decided_at < x.t0
        ORDER BY b.decided_at DESC LIMIT 5000) p;

-- What is no evidence, or is known to become none, and why. The first reason that holds.
CREATE VIEW tradewind.lost_decisions AS
SELECT d.installation, d.namespace, d.endpoint, d.experiment_uid, d.decision_id, d.decided_at, d.replay,
       CASE WHEN d.replay THEN d.decided_at ELSE l.known_at END AS known_at, l.reason
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 CROSS JOIN LATERAL (
       SELECT 1 AS rank, 'outage' AS reason, d.received_at AS known_at WHERE d.bar_from_evidence IS NOT NULL
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


def upgrade() -> None:
    """Adds the log of events, fills it with what was reported before, and moves the views onto it."""
    connection = op.get_bind()
    for part in (SCOPES, EVENTS, ASSIGN, VIEWS):
        connection.exec_driver_sql(part)
