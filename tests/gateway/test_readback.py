"""What a bot that restarts reads back: one decision, the open positions, the unreported openings."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateway_rig import HOLD, OPEN, ask

from tradewind.shell.database import Database
from tradewind.trading.assignment import draw_arm
from tradewind.trading.paper import PaperBasis


async def read(gateway, path: str, **query: Any) -> dict[str, Any]:
    response = await gateway.get(f"/v1/decisions{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def names(gateway, state: str) -> list[str]:
    return [d["decision_id"] for d in (await read(gateway, "", state=state))["decisions"]]


async def asked(gateway, name: str, **extra: Any) -> dict[str, Any]:
    response = await gateway.post("/v1/decisions", json=ask(name, scope={"symbol": "BTC", "book": name}, **extra))
    assert response.status_code == 200, response.text
    return response.json()


async def report(gateway, name: str, kind: str, **fields: Any) -> None:
    body = {"decision_id": name, "event": kind, "at": datetime.now(UTC).isoformat(), **fields}
    response = await gateway.post("/v1/reports", json=body)
    assert response.status_code == 200, response.text


async def test_one_decision_from_question_to_outcome(rig, gateway) -> None:
    answer = await asked(gateway, "d1")
    told = await read(gateway, "/d1")
    assert {name: told["answer"][name] for name in OPEN} == {name: answer[name] for name in OPEN}
    assert (told["state"], told["_model_used"], told["scope"]) == ("answered", "api", {"symbol": "BTC", "book": "d1"})
    assert (told["position"], told["outcome"], told["events"], told["holds_scope"]) == (None, None, [], True)
    await report(gateway, "d1", "open", position_id=17, notional_usd="118.5")
    told = await read(gateway, "/d1")
    assert (told["position"]["position_id"], told["position"]["filled_notional_usd"]) == ("17", 118.5)
    assert told["events"][0]["body"] == {"position_id": "17", "notional_usd": "118.5"}
    await report(gateway, "d1", "close", total_pnl=-2.5, fees=0.1, exit_reason="stop_loss")
    told = await read(gateway, "/d1")
    assert {k: told["outcome"][k] for k in ("pnl", "fees", "exit_reason", "label", "corrections")} == {
        "pnl": -2.5, "fees": 0.1, "exit_reason": "stop_loss", "label": "bad_decision", "corrections": 0,
    }  # fmt: skip
    assert (told["holds_scope"], told["released_by"]) == (False, "closed")
    assert datetime.fromisoformat(told["released_at"]) == datetime.fromisoformat(told["outcome"]["closed_at"])
    await report(gateway, "d1", "void", target="outcome", by="me", why="still open")
    told = await read(gateway, "/d1")
    assert (told["outcome"], told["holds_scope"], told["released_by"]) == (None, True, None)


async def test_unknown_ids_and_odd_queries(gateway) -> None:
    for name in ("nobody", "a/b", "%20x"):
        missing = await gateway.get(f"/v1/decisions/{name}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_decision")
    for query, field in (
        ({"state": "closed"}, "state"),
        ({"after": "???"}, "after"),
        ({"after": "bm8gdGltZQ=="}, "after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
    ):
        wrong = await gateway.get("/v1/decisions", params=query)
        assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, field), query


async def test_lists_for_a_bot_that_restarts(rig, gateway) -> None:
    for name in ("silent", "open", "closed", "unpriced", "rejected", "voided", "ghost"):
        await asked(gateway, name)
    rig.arms["api"].answer = dict(HOLD)
    await asked(gateway, "hold")
    for name in ("open", "closed", "unpriced", "voided", "ghost"):
        await report(gateway, name, "open", position_id=f"p-{name}", notional_usd=100)
    await report(gateway, "closed", "close", total_pnl=1)
    await report(gateway, "unpriced", "close")
    await report(gateway, "rejected", "rejected")
    await report(gateway, "voided", "close", total_pnl=1)
    await report(gateway, "voided", "void", target="outcome", by="me", why="still open")
    flat = {"account_state": {"positions": [], "permission_level": "L2"}, "scope": {"symbol": "BTC", "book": "ghost"}}
    await gateway.post("/v1/decisions", json=ask("next", **flat))
    assert await names(gateway, "open") == ["open", "voided", "ghost"]  # a ghost's end was never told
    assert await names(gateway, "unreported") == ["silent"]
    assert (await read(gateway, ""))["state"] == "open"
    ghost = (await read(gateway, "", state="open"))["decisions"][2]
    assert (ghost["holds_scope"], ghost["released_by"]) == (False, "stated")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_join_to_the_whole_list(rig, gateway, limit) -> None:
    wanted = [f"d{n}" for n in range(7)]
    for name in wanted:
        await asked(gateway, name)
    await rig.rows("UPDATE tradewind.decisions SET decided_at = now()")  # at one time: the ids are the order
    found: list[str] = []
    after: dict[str, str] = {}
    pages = 0
    while True:
        page = await read(gateway, "", state="unreported", limit=limit, **after)
        found += [d["decision_id"] for d in page["decisions"]]
        pages += 1
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == wanted
    assert pages == -(-7 // limit)


async def test_a_follow_up_names_what_it_follows_and_a_flip_what_it_ended(rig, gateway) -> None:
    await asked(gateway, "d1")
    await report(gateway, "d1", "open", position_id="p1", notional_usd=100)
    scope = {"scope": {"symbol": "BTC", "book": "d1"}, "account_state": {"permission_level": "L2"}}
    rig.arms["api"].answer = dict(HOLD)
    await gateway.post("/v1/decisions", json=ask("d2", **scope, position_id="p1"))
    rig.arms["api"].answer = OPEN | {"action": "open_short"}
    await gateway.post("/v1/decisions", json=ask("d3", **scope))
    follow, flip, ended = [await read(gateway, f"/{name}") for name in ("d2", "d3", "d1")]
    assert (follow["follows"], follow["flipped"], follow["holds_scope"]) == ("d1", None, False)
    assert (flip["follows"], flip["flipped"], flip["holds_scope"]) == (None, "d1", True)
    assert ended["released_by"] == "flip"


async def test_reading_is_authorized_as_writing(rig, tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    gateway = await rig.gateway(replica="r9", auth_token_file=token)
    for path in ("/v1/decisions", "/v1/decisions/d1"):
        assert (await gateway.get(path)).status_code == 401
        allowed = await gateway.get(path, headers={"authorization": "Bearer secret"})
        assert allowed.status_code in (200, 404)


async def test_the_other_arms_answer_and_paper_are_told_once_the_experiment_has_ended(rig, gateway) -> None:
    rig.arms["v1"].answer = dict(HOLD)
    rig.publish(experiment=rig.experiment(shadow="candidate"))
    await rig.seen()
    name = next(f"d{n}" for n in range(99) if draw_arm("exp-1", f"d{n}", 0.5) == "baseline")
    await asked(gateway, name)
    async with asyncio.timeout(15):
        while not await rig.rows("SELECT * FROM tradewind.shadows"):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)
    body = {"arm": "baseline", "ret": 0.0031}
    assert (await gateway.post(f"/v1/decisions/{name}/paper", json=body)).status_code == 200
    t0 = datetime.now(UTC) - timedelta(hours=1)
    async with Database(rig.dsn, "tradewind") as database:
        later = datetime.now(UTC) + timedelta(hours=1)
        await database.settle_papers("ns", "trader", "exp-1", t0, PaperBasis(None, timedelta(hours=24)), later)
    during = await read(gateway, f"/{name}")
    assert (during["shadow"]["state"], during["shadow"]["answer"], during["shadow"]["withheld"]) == (
        "answered",
        None,
        True,
    )
    own, other = during["papers"]["baseline"], during["papers"]["candidate"]
    assert (own["reported"], own["settled"]["ret"], own["settled"]["source"]) == (0.0031, 0.0031, "reported")
    assert other == {"reported": None, "settled": None, "withheld": True}
    (listed,) = (await read(gateway, "", state="unreported"))["decisions"]
    assert (listed["shadow"], listed["papers"]) == (during["shadow"], during["papers"])
    await rig.rows(
        "INSERT INTO tradewind.experiments (installation, namespace, endpoint, experiment_uid, name, mode, baseline, candidate, t0,"
        " alpha, spec, decision, decided_at) VALUES ('tradewind', 'ns', 'trader', 'exp-1', 'e', 'Live', 'api', 'v1', now(), 0.05, '{}',"
        " 'rollback', now())"
    )
    ended = await read(gateway, f"/{name}")
    assert (ended["shadow"]["answer"]["action"], ended["shadow"]["withheld"]) == ("hold", False)
    told = ended["papers"]["candidate"]
    assert (told["settled"]["ret"], told["settled"]["source"], told["withheld"]) == (0.0, "answer", False)
    rig.publish(experiment=None)
    await rig.seen()
    await asked(gateway, "outside")
    told = await read(gateway, "/outside")
    assert (told["papers"], told["shadow"]) == (None, None)
