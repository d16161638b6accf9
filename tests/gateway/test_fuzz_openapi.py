"""The doors of a gateway by its OpenAPI document, asked by schemathesis: what it thinks is right, and what it thinks is wrong.

The gateway serves no such document: it reads each body itself, to say what is wrong with it in its own words. So the paths are
FastAPI's, and the bodies those of the types that the routes read.
"""

import json
import warnings
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import schemathesis
from fuzz_bodies import Sent
from fuzz_world import World
from gateway_rig import Rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from schemathesis import GenerationMode

from tradewind.gateway.app import create_app
from tradewind.gateway.settings import Settings
from tradewind.trading.decision import DecisionRequest
from tradewind.trading.prices import BarReports, PaperReport
from tradewind.trading.reports import EventReport, ExecutionReport, OutcomeReport

ONE = "/v1/decisions/{decision_id}"
BODIES: dict[str, tuple[str, Any]] = {
    "/v1/decisions": ("decision", DecisionRequest),
    f"{ONE}/execution": ("execution", ExecutionReport),
    f"{ONE}/outcome": ("outcome", OutcomeReport),
    f"{ONE}/paper": ("paper", PaperReport),
    "/v1/prices": ("prices", BarReports),
    "/v1/reports": ("reports", EventReport | list[EventReport]),
}


def document() -> dict[str, Any]:
    """FastAPI's document of the routes, with the bodies that they read."""
    environment = {"TRADEWIND_DSN": "postgresql://u:p@127.0.0.1:1/x", "TRADEWIND_ROUTING": "file:/nowhere", "TRADEWIND_NAMESPACE": "ns",
                   "TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_REPLICA": "r", "TRADEWIND_AUTH": "disabled"}  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate Operation ID")  # of routes with GET and HEAD
        made: dict[str, Any] = create_app(Settings.from_environment(environment)).openapi()
    definitions = made.setdefault("components", {}).setdefault("schemas", {})
    for path, (_, model) in BODIES.items():
        schema = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}")
        definitions |= schema.pop("$defs", {})
        made["paths"][path]["post"]["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return made


SCHEMA = schemathesis.openapi.from_dict(document())


def requests() -> st.SearchStrategy[Sent]:
    """Requests that the document takes, and requests that it does not."""
    kinds = []
    for path, (door, _) in BODIES.items():
        for mode in GenerationMode:
            cases = SCHEMA[path]["POST"].as_strategy(generation_mode=mode)
            kinds.append(cases.map(partial(sent, door)))
    return st.one_of(kinds)


def sent(door: str, case: Any) -> Sent:
    body = (
        case.body
        if isinstance(case.body, bytes)
        else json.dumps(None if type(case.body).__name__ == "NotSet" else case.body).encode()
    )
    return Sent(door, case.formatted_path, body)


@pytest.fixture
async def world(rig: Rig) -> AsyncIterator[World]:
    made = World(rig, await rig.gateway(openai=True))
    await made.build()
    yield made
    made.close()


def test_every_door_that_is_posted_to_is_in_the_document() -> None:
    posted = {path for path, methods in document()["paths"].items() if "post" in methods}
    assert posted == {*BODIES, "/v1/chat/completions"}


@settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck])
@given(one=requests())
async def test_what_the_document_takes_and_what_it_does_not(world: World, one: Sent) -> None:
    await world.send(one)
