"""Prices and papers that the trading system posts: what may be stored, once.

Belongs here: the two calls. Does not belong here: what follows from them, which is settled by the operator (shell/papers.py),
and reports of real trades (reports.py).
"""

from datetime import UTC, datetime

from psycopg.types.json import Jsonb

from tradewind.gateway import errors, paper_statements
from tradewind.gateway.database import Database
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.result import Body
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.prices import BarReports, PaperReport
from tradewind.trading.routing import Routing
from tradewind.trading.standing import Drawn, Missing, Shadow, drawn_standing, shadow_standing, trade_of


class Papers:
    """The calls of one endpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prices(self, reports: BarReports, routing: Routing) -> Body:
        """Stores bars, all or none; the same bars again are fine.

        Raises:
            ApiError: 409 a bar is stored with other prices, 422 it lies in the future or is of a symbol that is not the Endpoint's.
            DatabaseDownError: nothing is known about the write; the same call may be repeated.
        """
        latest = datetime.now(UTC) + as_timedelta(routing.reports.clock_skew)
        allowed = routing.limits.symbols
        for number, bar in enumerate(reports.prices):
            if allowed is not None and bar.symbol not in allowed:
                raise ApiError(
                    ErrorCode.SYMBOL_NOT_ALLOWED,
                    f"prices.{number}.symbol: {bar.symbol} is not among the Endpoint's symbols",
                    "correct the symbol, or add it to limits.symbols of the Endpoint",
                    field=f"prices.{number}.symbol",
                )
            if bar.ends_at > latest:
                raise ApiError(
                    ErrorCode.TIME_IN_FUTURE,
                    f"prices.{number}: the bar ends at {bar.ends_at.isoformat()}, ahead of the clock",
                    "post a bar once it is complete; give times in UTC, or with their own offset",
                    field=f"prices.{number}.{'seconds' if bar.end is None else 'end'}",
                )
        given = [
            {"symbol": bar.symbol, "starts_at": bar.start.isoformat(), "ends_at": bar.ends_at.isoformat()}
            | dict(zip(("open", "high", "low", "close"), bar.prices, strict=True))
            for bar in reports.prices
        ]
        parameters = {"bars": Jsonb(given), "replay": routing.clock == "replay"}
        await self._demand_same(parameters)
        stored = len(await self._database.rows(paper_statements.STORE_BARS, parameters))
        await self._demand_same(parameters)  # somebody may have stored another one in between
        return {"bars": len(given), "stored": stored}

    async def paper(self, decision_id: str, report: PaperReport, routing: Routing) -> Body:
        """Stores what an arm's answer earned on paper, once.

        Raises:
            ApiError: 404 unknown, 409 it is no pair's or was reported otherwise before, 422 out of bounds.
            DatabaseDownError: see `prices`.
        """
        least, most = -float(routing.reports.max_loss), float(routing.reports.max_gain)
        if not least <= report.ret <= most:
            raise ApiError(
                ErrorCode.OUT_OF_BOUNDS,
                f"ret: {report.ret:g}; a return on the notional may be {least:g} to {most:g}",
                "give a fraction of size times leverage (0.01 is 1 %), or raise spec.reports.maxLoss or maxGain of the Endpoint",
                field="ret",
            )
        await self._demand_standing(decision_id, report)
        parameters = {"decision_id": decision_id, **report.model_dump(), "replay": routing.clock == "replay"}
        stored = await self._database.rows(paper_statements.STORE_PAPER, parameters)
        if stored[0]["ret"] != report.ret:
            raise ApiError(
                ErrorCode.PAPER_DIFFERS,
                f"ret: {stored[0]['ret']!r} was reported of the {report.arm} before",
                "the first report stands, as what was known first decides; a paper is not corrected",
                field="ret",
            )
        return {"decision_id": decision_id, "arm": report.arm, "ret": report.ret}

    async def _demand_same(self, parameters: dict[str, object]) -> None:
        other = await self._database.rows(paper_statements.DIFFERING_BAR, parameters)
        if other:
            bar = other[0]
            raise ApiError(
                ErrorCode.PRICE_DIFFERS,
                f"prices: the bar of {bar['symbol']} from {bar['starts_at'].isoformat()} to {bar['ends_at'].isoformat()} is stored "
                f"with other prices (open {bar['open']!r}, high {bar['high']!r}, low {bar['low']!r}, close {bar['close']!r})",
                "post a bar once it is complete; the first stands, since papers may rest on it",
                field="prices",
            )

    async def _demand_standing(self, decision_id: str, report: PaperReport) -> None:
        """Refuses a paper of an answer that nobody gave, or that earns nothing by being a hold."""
        rows = await self._database.rows(paper_statements.STANDING, {"decision_id": decision_id})
        if not rows:
            raise errors.unknown_decision(decision_id)
        row = rows[0]
        if (
            row["experiment_uid"] is None
            or row["parent_decision_id"] is not None
            or row["bar_from_evidence"] is not None
        ):
            raise ApiError(
                ErrorCode.NO_PAIR,
                f"decision {decision_id} was not drawn by an experiment",
                "report papers of decisions whose answer names _experiment, and not of those that follow up a position",
                field="decision_id",
            )
        if row["state"] == "assigned":
            raise errors.being_asked(decision_id)
        drawn = Drawn(row["state"], row["error_kind"], row["answer"])
        shadow = None if row["shadow_state"] is None else Shadow(row["shadow_state"], row["shadow_answer"])
        is_drawn = report.arm == row["arm"]
        standing = drawn_standing(drawn) if is_drawn else shadow_standing(shadow)
        if isinstance(standing, Missing):
            if standing is Missing.PENDING:  # counts once its answer is stored
                return
            raise ApiError(
                ErrorCode.NO_PAIR,
                f"arm: the {report.arm} gave no answer to decision {decision_id} that could stand ({standing})",
                "report nothing: an arm that was late or not asked has no paper",
                field="arm",
            )
        if trade_of(standing) is None and report.ret != 0:
            raise ApiError(
                ErrorCode.HOLD,
                f"ret: the {report.arm} opened nothing, so its paper is 0",
                "report nothing of a hold or close; check that the report belongs to this arm and decision",
                field="ret",
            )
