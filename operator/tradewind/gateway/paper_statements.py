"""The gateway's SQL about prices and reported papers. Every statement is one round trip and safe to repeat.

Belongs here: text. Does not belong here: what may be stored (papers.py), and settling, which is the operator's.
"""

from typing import Final

from tradewind.gateway.statements import KEY, one_line

_GIVEN: Final = """
    jsonb_to_recordset(%(bars)s) AS n(symbol text, starts_at timestamptz, ends_at timestamptz, open double precision,
                                      high double precision, low double precision, close double precision)
"""

# The first bar that is stored with other prices.
DIFFERING_BAR: Final = one_line(f"""
SELECT b.symbol, b.starts_at, b.ends_at, b.open, b.high, b.low, b.close
  FROM {_GIVEN} JOIN tradewind.bars b USING (symbol, starts_at, ends_at)
 WHERE b.installation = %(installation)s AND b.namespace = %(namespace)s AND b.endpoint = %(endpoint)s
   AND (b.open, b.high, b.low, b.close) IS DISTINCT FROM (n.open, n.high, n.low, n.close)
 ORDER BY b.symbol, b.starts_at, b.ends_at LIMIT 1
""")

# In one order, or two lists of the same bars would wait for each other.
STORE_BARS: Final = one_line(f"""
INSERT INTO tradewind.bars (installation, namespace, endpoint, symbol, starts_at, ends_at, open, high, low, close, clock)
SELECT %(installation)s, %(namespace)s, %(endpoint)s, n.symbol, n.starts_at, n.ends_at, n.open, n.high, n.low, n.close,
       (SELECT as_of FROM tradewind.replay_clock WHERE {KEY} AND %(replay)s)
  FROM {_GIVEN} ORDER BY n.symbol, n.starts_at, n.ends_at
ON CONFLICT DO NOTHING RETURNING 1
""")

STANDING: Final = one_line(f"""
SELECT d.arm, d.state, d.error_kind, d.answer, d.experiment_uid, d.parent_decision_id, d.bar_from_evidence,
       s.state AS shadow_state, s.answer AS shadow_answer
  FROM tradewind.decisions d LEFT JOIN tradewind.shadows s USING (installation, namespace, endpoint, decision_id)
 WHERE {KEY} AND decision_id = %(decision_id)s
""")

# The first stays; the one that is stored comes back.
STORE_PAPER: Final = one_line(f"""
WITH stored AS (
    INSERT INTO tradewind.reported_papers AS p (installation, namespace, endpoint, decision_id, arm, ret, clock)
    VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(arm)s, %(ret)s,
            (SELECT as_of FROM tradewind.replay_clock WHERE {KEY} AND %(replay)s))
    ON CONFLICT (installation, namespace, endpoint, decision_id, arm) DO UPDATE SET ret = p.ret
    RETURNING ret
)
SELECT ret FROM stored
""")

# An experiment without a verdict may still need them.
PURGE_PRICES: Final = tuple(
    one_line(f"""
DELETE FROM tradewind.{table}
 WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM tradewind.{table}
     WHERE {KEY} AND received_at < clock_timestamp() - make_interval(secs => %(retention)s)
       AND NOT EXISTS (SELECT FROM tradewind.experiments WHERE {KEY} AND decision IS NULL
                          AND started_at > clock_timestamp() - interval '366 days')
     ORDER BY received_at LIMIT 5000))
""")
    for table in ("bars", "request_prices")
)
