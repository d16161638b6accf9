"""Progress reports: only a run's own pods, only what can be read."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tradewind.api.training_run_status import ProgressStatus
from tradewind.shell.cluster import ClusterError
from tradewind.shell.progress import progress_app

URL = "/v1/trainingruns/trading/weekly/progress"
REPORT = {"attempt": 1, "step": 10, "totalSteps": 100, "percent": 10.0, "loss": 1.5}


class Reviews:
    """TokenReview alone: what the API server says of a token."""

    user: str | None = "system:serviceaccount:trading:default"
    down = False

    async def review_token(self, token: str, audience: str) -> str | None:
        assert audience == "tradewind-progress"
        if self.down:
            raise ClusterError("POST tokenreviews: no answer", 0)
        return self.user if token.count(".") == 2 else None


def token(pod: str) -> str:
    claims = json.dumps({"kubernetes.io": {"pod": {"name": pod}}}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.signature"


def bearer(pod: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(pod)}"}


class Rig:
    def __init__(
        self,
        client: TestClient[Any, Any],
        store: dict[tuple[str, str], ProgressStatus],
        told: list[Any],
        reviews: Reviews,
    ) -> None:
        self.client, self.store, self.told, self.reviews = client, store, told, reviews

    async def post(self, headers: dict[str, str], body: Any = REPORT, url: str = URL) -> int:
        data = body if isinstance(body, str) else json.dumps(body)
        async with self.client.post(url, data=data, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    store: dict[tuple[str, str], ProgressStatus] = {}
    told: list[tuple[str, str]] = []
    reviews = Reviews()
    app = progress_app(reviews, store, lambda namespace, run: told.append((namespace, run)))  # type: ignore[arg-type]
    async with TestClient(TestServer(app)) as client:
        yield Rig(client, store, told, reviews)


async def test_a_report_is_stored_and_told(rig: Rig) -> None:
    assert await rig.post(bearer("weekly-train-1-x7k2p")) == 200
    stored = rig.store["trading", "weekly"]
    assert (stored.step, stored.loss) == (10, 1.5)
    assert stored.last_updated_time is not None
    assert rig.told == [("trading", "weekly")]


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer nonsense"}]
)
async def test_without_a_good_token_401(rig: Rig, headers: dict[str, str]) -> None:
    assert await rig.post(headers) == 401
    assert not rig.store


@pytest.mark.parametrize(
    "pod",
    [
        "other-train-1-x7k2p",
        "weekly-snapshot-x7k2p",
        "weekly-train-2-train-1-x7k2p",
        "weekly-train-",
        "weekly-train-1",
        "",
    ],
)
async def test_a_pod_of_another_run_is_refused(rig: Rig, pod: str) -> None:
    assert await rig.post(bearer(pod)) == 403
    assert not rig.store


async def test_a_pod_of_another_namespace_is_refused(rig: Rig) -> None:
    rig.reviews.user = "system:serviceaccount:elsewhere:default"
    assert await rig.post(bearer("weekly-train-1-x7k2p")) == 403


async def test_a_name_that_was_cut_is_known(rig: Rig) -> None:
    run = "n" * 50
    pod = f"{run}-train-12-"[:58] + "x7k2p"
    assert await rig.post(bearer(pod), url=f"/v1/trainingruns/trading/{run}/progress") == 200


@pytest.mark.parametrize("body", ["", "not json", "[]", '"text"', '{"step": "ten"}', '{"step": -1}'])
async def test_what_cannot_be_read_is_400(rig: Rig, body: str) -> None:
    assert await rig.post(bearer("weekly-train-1-x7k2p"), body) == 400
    assert not rig.told


async def test_a_loss_that_is_no_number_is_left_out(rig: Rig) -> None:
    assert await rig.post(bearer("weekly-train-1-x7k2p"), '{"step": 3, "loss": NaN}') == 200
    assert rig.store["trading", "weekly"].loss is None


async def test_a_body_that_is_too_long_is_refused(rig: Rig) -> None:
    assert await rig.post(bearer("weekly-train-1-x7k2p"), json.dumps({"x": "y" * 5000})) == 413


async def test_an_api_server_that_does_not_answer_is_503(rig: Rig) -> None:
    rig.reviews.down = True
    assert await rig.post(bearer("weekly-train-1-x7k2p")) == 503
