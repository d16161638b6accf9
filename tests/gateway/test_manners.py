"""Habits of HTTP clients that mean one thing: another case of `bearer`, a trailing slash, HEAD where GET is offered."""

import pytest
from gateway_rig import Rig, ask


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_has_no_case_and_the_token_has(rig: Rig, tmp_path, scheme: str) -> None:
    token = tmp_path / "token"
    token.write_text("Abc-123\n")
    gateway = await rig.gateway(auth_token_file=token)
    right = await gateway.post("/v1/decisions", json=ask("d"), headers={"Authorization": f"{scheme} Abc-123"})
    assert right.status_code == 200, right.text
    for wrong in (f"{scheme} abc-123", f"{scheme}Abc-123", "Abc-123", f"Basic {scheme} Abc-123", f"{scheme} ", scheme):
        assert (await gateway.post("/v1/decisions", json=ask("e"), headers={"Authorization": wrong})).status_code == 401


async def test_a_trailing_slash_changes_nothing(gateway) -> None:
    answer = await gateway.post("/v1/decisions/", json=ask("d"))
    assert (answer.status_code, answer.json()["decision_id"]) == (200, "d")
    report = {"status": "not_filled"}
    assert (await gateway.post("/v1/decisions/d/execution/", json=report)).status_code == 200
    assert (await gateway.get("/healthz/")).status_code == 200
    assert (await gateway.get("/v1/decisions/d")).status_code == 200
    assert (await gateway.get("/v1/decisions/d/")).status_code == 404  # another id


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_head_is_answered_where_get_is(gateway, path: str) -> None:
    assert (await gateway.head(path)).status_code == 200
