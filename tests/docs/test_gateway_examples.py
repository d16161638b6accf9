"""The examples of docs/gateway.md, sent in their order to a real gateway: a reader's copy must work."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_rig import Arm, arms_app, ask, build_rig, serving
from pages import ROOT

PAGE = (ROOT / "docs/gateway.md").read_text(encoding="utf-8")
CURL = re.compile(r"^curl [^\n]*?(/v1/\S+)[^\n]*? -d '(.*?)'", re.DOTALL | re.MULTILINE)
JSON_BLOCK = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TIME = re.compile(r'(?<=")2026-01-01T\d\d:\d\d:\d\dZ(?=")')
TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def now_for_then(text: str) -> str:
    """The page's hours as seconds from now, within the skew of clocks."""
    now = datetime.now(UTC)

    def moved(match: re.Match[str]) -> str:
        hours = (datetime.fromisoformat(match[0]) - TEN) / timedelta(hours=1)
        return (now + timedelta(seconds=3 * hours)).isoformat()

    return TIME.sub(moved, text)


@pytest.fixture
async def client(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    arms: dict[str, Arm] = {}
    with serving(arms_app(arms)) as url:
        rig = await build_rig(postgres_dsn, tmp_path, arms, url)
        yield await rig.gateway()
        await rig._stack.aclose()


async def test_the_examples_work(client: httpx.AsyncClient) -> None:
    (asked, question), *reports = CURL.findall(PAGE)
    answer_shown, account = map(json.loads, JSON_BLOCK.findall(PAGE))
    answer = await client.post(asked, content=question)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == set(answer_shown)
    assert answer.json()["action"] == answer_shown["action"]
    decision_id = answer.json()["decision_id"]

    stating = ask("stating", account_state={**account, "permission_level": "L2"})
    assert (await client.post("/v1/decisions", json=stating)).status_code == 200

    results: list[dict[str, Any]] = []
    for path, body in reports:
        if path == "/v1/reports":
            flat = ask("btc-1")
            assert (await client.post("/v1/decisions", json=flat)).status_code == 200
        told = await client.post(path.replace("$ID", decision_id), content=now_for_then(body))
        assert told.status_code == 200, told.text
        results.append(told.json())
    assert [set(r) >= {"decision_id"} for r in results[:2]] == [True, True]
    assert (results[2]["accepted"], results[2]["refused"]) == (5, 0)

    read = (await client.get("/v1/decisions/btc-1")).json()
    assert (read["outcome"]["pnl"], read["outcome"]["corrections"]) == (0.7, 1)
    assert len(read["events"]) == 5
    for state in ("open", "unreported"):
        assert (await client.get("/v1/decisions", params={"state": state})).status_code == 200


async def test_the_openai_client_of_the_page_gets_a_decision(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = PYTHON_BLOCK.findall(PAGE)
    address = "http://trader-gateway.trading/"
    assert code.count(address) == 1
    token = tmp_path / "token"
    token.write_text("Abc-123\n")
    monkeypatch.setenv("TOKEN", "Abc-123")
    arms: dict[str, Arm] = {}
    with serving(arms_app(arms)) as arms_url:
        rig = await build_rig(postgres_dsn, tmp_path, arms, arms_url)
        url = await rig.served(openai=True, auth_token_file=token)
        found: dict[str, Any] = {}
        try:
            exec(code.replace(address, f"{url}/"), found)
            found["client"].close()
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": "Bearer Abc-123"}) as http:
                read = await http.get(f"/v1/decisions/{found['decision_id']}")
        finally:
            await rig._stack.aclose()
    assert found["decision_id"] == found["question"]["decision_id"]
    assert found["decision"] == read.json()["answer"] == arms["api"].answer
