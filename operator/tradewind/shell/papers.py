"""Settling on paper: from what is stored to `tradewind.papers`, before each look. All of its SQL is here.

Belongs here: what is read, in which bites, and when a paper is final. Does not belong here: the rule (trading/paper.py) and
what stands for an arm (trading/standing.py).

A paper is a function of what is stored: whoever settles, whenever, finds the same, and the first that is written stays. In
Live a price counts from when it was received, and what is newer than a few seconds is left for the next look, since it may
not be committed by everybody yet. In Replay a price counts on the data's clock alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from tradewind.shell.keys import OF_ENDPOINT as _KEY
from tradewind.trading.assignment import has_shadow
from tradewind.trading.paper import (
    Paper,
    PaperBasis,
    PaperExit,
    PaperRule,
    Price,
    Prices,
    hold,
    market_move,
    settled,
)
from tradewind.trading.prices import LONGEST_BAR
from tradewind.trading.settings.paper import SYMBOL, pointer_parts
from tradewind.trading.standing import Drawn, Missing, Shadow, drawn_standing, shadow_standing, trade_of

ARMS: Final = ("baseline", "candidate")
PAGE: Final = 500
UNCOMMITTED: Final = timedelta(seconds=10)
"""In Live, what was received so lately may be followed by what was received before it."""
SLACK: Final = timedelta(seconds=15)
"""In Live, a paper counts as known so long after what it rests on came: every look from then on has read it."""
REPORT_WAIT: Final = timedelta(seconds=60)
"""In Live, a report that comes so long after the price that would settle a trade still wins."""
NOTED_EVERY: Final = timedelta(minutes=5)
"""In Live, progress is noted so often: until then a look passes over some more rows that are settled."""
_LAST: Final = datetime(9000, 1, 1, tzinfo=UTC)  # in any time zone of a session


# Planned as if the table were empty while it begins to fill: so it is a subselect and no join, and each index finds one row.
_REQUEST_PRICE: Final = """
    (SELECT {what} FROM tradewind.request_prices p
      WHERE p.installation = d.installation AND p.namespace = d.namespace AND p.endpoint = d.endpoint
        AND p.pointer = %(pointer)s AND p.decision_id = d.decision_id AND p.symbol = d.scope_symbol AND p.at = d.decided_at)
"""

# Most looks find that every request was read before: then nothing more is asked about requests.
_PROGRESS: Final = f"""
WITH progress AS (
    SELECT max(settled_until) AS settled_until FROM tradewind.paper_progress WHERE {_KEY} AND experiment_uid = %(uid)s
)
SELECT clock_timestamp() AS now, settled_until,
       EXISTS (SELECT FROM tradewind.decisions d
                WHERE {_KEY} AND d.decided_at >= greatest(settled_until, %(t0)s) AND d.state <> 'assigned'
                  AND %(pointer)s <> '' AND {_REQUEST_PRICE.format(what="true")} IS NULL) AS unread
  FROM progress
"""

_NEXT_PAGE: Final = f"""
SELECT coalesce((SELECT decided_at FROM tradewind.decisions WHERE {_KEY} AND decided_at > %(after)s
                  ORDER BY decided_at OFFSET %(page)s LIMIT 1), %(last)s) AS upto
"""

# A price is a number above 0, or one as text; words, exponents and numbers of a thousand digits are none.
_READ_REQUESTS: Final = f"""
WITH fresh AS (
    SELECT d.decision_id, d.scope_symbol, d.decided_at,
           CASE WHEN d.replay THEN d.decided_at ELSE greatest(d.received_at, d.answered_at, d.decided_at) END AS known_at,
           d.request #> ARRAY(SELECT replace(t.part, '{SYMBOL}', d.scope_symbol)
                                FROM unnest(%(parts)s::text[]) WITH ORDINALITY t(part, n) ORDER BY t.n) AS found
      FROM tradewind.decisions d
     WHERE {_KEY} AND d.decided_at > %(after)s AND d.decided_at <= %(upto)s
       AND d.state <> 'assigned' AND {_REQUEST_PRICE.format(what="true")} IS NULL
)
INSERT INTO tradewind.request_prices (installation, namespace, endpoint, pointer, decision_id, symbol, at, known_at, price)
SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(pointer)s, decision_id, scope_symbol, decided_at, known_at,
       CASE WHEN jsonb_typeof(found) IN ('number', 'string') AND found #>> '{{}}' ~ '^[0-9]{{1,15}}([.][0-9]{{1,40}})?$'
            THEN nullif((found #>> '{{}}')::double precision, 0) END
  FROM fresh
ON CONFLICT DO NOTHING
"""

# The page first, then what belongs to its rows: in one join, each page would pay for all that follow.
_OPEN: Final = f"""
WITH page AS MATERIALIZED (
    SELECT d.installation, d.namespace, d.endpoint, d.decision_id, d.decided_at, d.scope_symbol, d.arm, d.state, d.error_kind,
           d.answered_at, d.replay, d.answer - 'reasoning' AS answer
      FROM tradewind.decisions d
     WHERE d.installation = %(installation)s AND d.namespace = %(namespace)s AND d.endpoint = %(endpoint)s
       AND d.experiment_uid = %(uid)s AND d.parent_decision_id IS NULL AND d.bar_from_evidence IS NULL
       AND d.candidate_weight > 0 AND d.candidate_weight < 1
       AND d.decided_at >= %(after)s AND d.decided_at < %(until)s AND (d.decided_at, d.decision_id) > (%(after)s, %(after_id)s)
     ORDER BY d.decided_at, d.decision_id LIMIT %(page)s
)
SELECT d.*, s.state AS shadow_state, s.answer - 'reasoning' AS shadow_answer, s.answered_at AS shadow_at,
       {_REQUEST_PRICE.format(what="p.price")} AS price,
       ARRAY(SELECT k.arm FROM tradewind.papers k
              WHERE k.installation = d.installation AND k.namespace = d.namespace AND k.endpoint = d.endpoint
                AND k.decision_id = d.decision_id) AS done,
       (SELECT jsonb_object_agg(r.arm, jsonb_build_array(r.ret, extract(epoch FROM
                   CASE WHEN d.replay THEN greatest(r.clock, d.decided_at) ELSE greatest(r.received_at, d.decided_at) END
                   - d.decided_at)))
          FROM tradewind.reported_papers r
         WHERE r.installation = d.installation AND r.namespace = d.namespace AND r.endpoint = d.endpoint
           AND r.decision_id = d.decision_id) AS reported
  FROM page d
  LEFT JOIN LATERAL (
       SELECT w.state, w.answer, w.answered_at FROM tradewind.shadows w
        WHERE w.installation = d.installation AND w.namespace = d.namespace AND w.endpoint = d.endpoint
          AND w.decision_id = d.decision_id OFFSET 0) s ON true
 ORDER BY d.decided_at, d.decision_id
"""

_PRICES: Final = f"""
SELECT symbol, at AS starts_at, at AS ends_at, price AS open, price AS high, price AS low, price AS close, known_at
  FROM tradewind.request_prices
 WHERE {_KEY} AND pointer = %(pointer)s AND symbol = ANY(%(symbols)s) AND at > %(first)s AND at <= %(last)s
   AND price IS NOT NULL AND known_at < %(until)s
UNION ALL
SELECT symbol, starts_at, ends_at, open, high, low, close, known_at
  FROM (SELECT *, CASE WHEN %(replay)s THEN greatest(ends_at, clock) ELSE greatest(ends_at, received_at) END AS known_at
          FROM tradewind.bars
         WHERE {_KEY} AND symbol = ANY(%(symbols)s) AND starts_at > %(first)s::timestamptz - %(longest)s::interval
           AND starts_at <= %(last)s AND ends_at > %(first)s) b
 WHERE known_at < %(until)s
"""

_WRITE: Final = """
INSERT INTO tradewind.papers (installation, namespace, endpoint, decision_id, arm, ret, exit_reason, exit_at, known_at, source)
SELECT %(installation)s, %(namespace)s, %(endpoint)s, n.* FROM jsonb_to_recordset(%(papers)s) AS n(
       decision_id text, arm text, ret double precision, exit_reason text, exit_at timestamptz, known_at timestamptz, source text)
 WHERE EXISTS (SELECT FROM tradewind.decisions d
                WHERE d.installation = %(installation)s AND d.namespace = %(namespace)s AND d.endpoint = %(endpoint)s
                  AND d.decision_id = n.decision_id)
ON CONFLICT DO NOTHING
"""

_ADVANCE: Final = """
INSERT INTO tradewind.paper_progress AS p (installation, namespace, endpoint, experiment_uid, settled_until)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(uid)s, %(settled_until)s)
ON CONFLICT (installation, namespace, endpoint, experiment_uid)
    DO UPDATE SET settled_until = excluded.settled_until WHERE p.settled_until < excluded.settled_until
"""


@dataclass(frozen=True, slots=True)
class _Clock:
    """Up to when things are known, how long in Live they wait for what may still overtake them, and how often progress is noted."""

    until: datetime
    slack: timedelta
    wait: timedelta
    step: timedelta = timedelta(0)


async def settle_papers(
    connection: AsyncConnection[Any], key: Mapping[str, object], t0: datetime, basis: PaperBasis, until: datetime | None
) -> int:
    """Writes every paper of an experiment that is known by now; cheap where nothing is new.

    Args:
        connection: autocommits.
        key: installation, namespace, endpoint, uid (of the experiment).
        t0: start of the experiment; nothing before it is read.
        basis: the rule, and what it is fixed with.
        until: in Replay the look, on the data's clock; None: Live, now by the database's clock.

    Returns:
        How many papers were found; those that were there already are among them where two settle at once.
    """
    cursor = connection.cursor(row_factory=dict_row)
    settings, rule = basis.settings, basis.rule
    pointer = "" if settings is None else settings.price
    found = (await (await cursor.execute(_PROGRESS, {**key, "t0": t0, "pointer": pointer})).fetchall())[0]
    clock = (
        _Clock(found["now"] - UNCOMMITTED, SLACK, REPORT_WAIT, NOTED_EVERY)
        if until is None
        else _Clock(until, timedelta(0), timedelta(0))
    )
    since = max(found["settled_until"] or t0, t0)
    common = {
        **key,
        "since": since,
        "until": clock.until,
        "replay": until is not None,
        "pointer": pointer,
        "parts": [] if settings is None else list(pointer_parts(settings.price)),
        "longest": LONGEST_BAR,
        "page": PAGE,
    }
    if found["unread"]:
        await _read_requests(cursor, common, since)
    written, after, passed = 0, (since, ""), clock.until - basis.max_hold
    while True:
        page = {**common, "after": after[0], "after_id": after[1]}
        rows = await (await cursor.execute(_OPEN, page)).fetchall()
        if not rows:
            break
        unsettled = [row for row in rows if len(row["done"]) < len(ARMS) + (rule is not None)]
        prices = {} if rule is None or not unsettled else await _prices(cursor, common, unsettled, rule)
        uid = str(key["uid"])
        papers = [paper for row in unsettled for paper in _papers(row, prices, basis, rule, clock, uid)]
        if papers:
            await cursor.execute(_WRITE, {**key, "papers": Jsonb(papers)})
        written += len(papers)
        after = rows[-1]["decided_at"], rows[-1]["decision_id"]
        if len(rows) < PAGE:
            break
    if passed > since + clock.step:  # what was decided earlier has its papers, or they would be known too late
        await cursor.execute(_ADVANCE, {**key, "settled_until": passed})
    return written


async def _read_requests(cursor: Any, common: Mapping[str, object], since: datetime) -> None:
    """Takes the price out of each request that was answered and not read yet."""
    after = since - timedelta(microseconds=1)
    while after < _LAST:
        upto = (await (await cursor.execute(_NEXT_PAGE, {**common, "after": after, "last": _LAST})).fetchall())[0][
            "upto"
        ]
        await cursor.execute(_READ_REQUESTS, {**common, "after": after, "upto": upto})
        after = upto


async def _prices(
    cursor: Any, common: Mapping[str, object], rows: Sequence[DictRow], rule: PaperRule
) -> Mapping[str, Prices]:
    """The prices that may settle some of the rows, by symbol."""
    symbols = sorted({row["scope_symbol"] for row in rows})
    last = rows[-1]["decided_at"] + rule.horizon + rule.max_gap
    bounds = {**common, "symbols": symbols, "first": rows[0]["decided_at"], "last": last}
    by_symbol: dict[str, list[Price]] = {symbol: [] for symbol in symbols}
    for row in await (await cursor.execute(_PRICES, bounds)).fetchall():
        numbers = (row["open"], row["high"], row["low"], row["close"])
        by_symbol[row["symbol"]].append(Price(row["starts_at"], row["ends_at"], *numbers, row["known_at"]))
    return {symbol: Prices(prices) for symbol, prices in by_symbol.items()}


def _papers(
    row: DictRow, prices: Mapping[str, Prices], basis: PaperBasis, rule: PaperRule | None, clock: _Clock, uid: str
) -> Iterable[dict[str, object]]:
    """The papers of one decision that are new, known in time, and that nothing can overtake any more."""
    drawn = Drawn(row["state"], row["error_kind"], row["answer"])
    shadow = None if row["shadow_state"] is None else Shadow(row["shadow_state"], row["shadow_answer"])
    decided_at: datetime = row["decided_at"]
    latest = decided_at + basis.max_hold
    line = prices.get(row["scope_symbol"], Prices(()))

    def written(arm: str, paper: Paper, source: str) -> Iterable[dict[str, object]]:
        if paper.known_at <= latest:
            yield {
                "decision_id": row["decision_id"],
                "arm": arm,
                "ret": paper.ret,
                "exit_reason": paper.exit_reason.value,
                "exit_at": paper.exit_at.isoformat(),
                "known_at": paper.known_at.isoformat(),
                "source": source,
            }

    shared = has_shadow(uid, row["decision_id"], basis.shadow_share)
    for arm in ARMS:
        if arm in row["done"] or not shared:
            continue
        is_drawn = arm == row["arm"]
        answer = drawn_standing(drawn) if is_drawn else shadow_standing(shadow)
        if isinstance(answer, Missing):
            continue
        trade = trade_of(answer)
        if isinstance(trade, Missing):
            continue
        if trade is None:
            yield from written(arm, hold(decided_at), "answer")
            continue
        told = _reported(row, arm, clock)
        of_prices = None if rule is None else settled(trade, decided_at, row["price"], line, rule)
        if isinstance(of_prices, Paper):
            # A shadow may answer after the price that settles it.
            there = row["answered_at"] if is_drawn else row["shadow_at"]
            known = of_prices.known_at if clock.wait == timedelta(0) else max(of_prices.known_at, there)
            if told is not None and told.known_at <= known + clock.wait + clock.slack:
                yield from written(arm, told, "reported")
            elif known + clock.wait < clock.until:
                yield from written(arm, _known(of_prices, known + clock.wait + clock.slack), "prices")
        elif told is not None:
            yield from written(arm, told, "reported")
    if rule is not None and "market" not in row["done"]:
        move = market_move(decided_at, row["price"], line, rule)
        if isinstance(move, Paper):
            yield from written("market", _known(move, move.known_at + clock.slack), "prices")


def _reported(row: DictRow, arm: str, clock: _Clock) -> Paper | None:
    """What was reported for an arm, if it is known by now."""
    told = (row["reported"] or {}).get(arm)
    if told is None:
        return None
    known_at = row["decided_at"] + timedelta(seconds=float(told[1]))
    if known_at >= clock.until:
        return None
    return Paper(float(told[0]), PaperExit.REPORTED, known_at, known_at + clock.slack)


def _known(paper: Paper, known_at: datetime) -> Paper:
    return Paper(paper.ret, paper.exit_reason, paper.exit_at, known_at)
