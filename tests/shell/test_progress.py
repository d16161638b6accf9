"""Progress reports: only a run's own pods, only what can be read."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tradewind.api.training_run_status import ProgressStatus
from tradewind.shell.cluster import ClusterError
from tradewind.shell.progress import progress_app
from tradewind.shell.tokens import TokenReviews, TooManyReviewsError

URL = "/v1/trainingruns/trading/weekly/progress"
REPORT = {"attempt": 1, "step": 10, "totalSteps": 100, "percent": 10.0, "loss": 1.5}


class Reviews:
    """TokenReview alone: what the API server says of a token."""

    user: str | None = "system:serviceaccount:trading:default"
    down = False
    count = 0

    async def review_token(self, token: str, audience: str) -> str | None:
        assert audience == "tradewind-progress"
        self.count += 1
        if self.down:
            raise ClusterError("POST tokenreviews: no answer", 0)
        return self.user if token.endswith(".signed") else None


def token(pod: str, *, signature: str = "signed", header: Any = None, **changes: Any) -> str:
    """A pod's token; a change of None leaves the claim out."""
    claims = {
        "iss": "https://kubernetes.default.svc",
        "aud": ["tradewind-progress"],
        "sub": "system:serviceaccount:trading:default",
        "exp": time.time() + 3600,
        "kubernetes.io": {"namespace": "trading", "pod": {"name": pod}},
    } | changes
    parts = (header or {"alg": "RS256"}, {name: value for name, value in claims.items() if value is not None})
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), signature]
    )


def bearer(pod: str, **changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(pod, **changes)}"}


GOOD = "weekly-train-1-x7k2p"


class Rig:
    def __init__(
        self,
        client: TestClient[Any, Any],
        store: dict[tuple[str, str], ProgressStatus],
        told: list[Any],
        reviews: Reviews,
    ) -> None:
        self.client, self.store, self.told, self.reviews = client, store, told, reviews
        self.now = 0.0

    async def post(self, headers: dict[str, str], body: Any = REPORT, url: str = URL) -> int:
        data = body if isinstance(body, str) else json.dumps(body)
        async with self.client.post(url, data=data, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    store: dict[tuple[str, str], ProgressStatus] = {}
    told: list[tuple[str, str]] = []
    reviews = Reviews()
    app = progress_app(reviews, store, lambda *of: told.append(of), lambda: made.now)  # type: ignore[arg-type]
    async with TestClient(TestServer(app)) as client:
        made = Rig(client, store, told, reviews)
        yield made


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
    elsewhere = {
        "sub": "system:serviceaccount:elsewhere:default",
        "kubernetes.io": {"namespace": "elsewhere", "pod": {"name": GOOD}},
    }
    rig.reviews.user = elsewhere["sub"]  # type: ignore[assignment]
    assert await rig.post(bearer(GOOD, **elsewhere)) == 403


async def test_a_token_is_whose_the_api_server_says(rig: Rig) -> None:
    rig.reviews.user = "system:serviceaccount:elsewhere:default"
    assert await rig.post(bearer(GOOD)) == 401
    assert not rig.store


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
    assert await rig.post(bearer("weekly-train-1-x7k2p"), json.dumps({"x": "y" * 40_000})) == 413


async def test_an_api_server_that_does_not_answer_is_503(rig: Rig) -> None:
    rig.reviews.down = True
    assert await rig.post(bearer("weekly-train-1-x7k2p")) == 503


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other"]},
        {"aud": "other"},
        {"aud": None},
        {"iss": None},
        {"iss": ""},
        {"sub": "admin"},
        {"sub": "system:serviceaccount:elsewhere:default"},
        {"exp": 1.0},
        {"exp": "never"},
        {"exp": None},
        {"nbf": 1e12},
        {"kubernetes.io": None},
        {"kubernetes.io": {"namespace": "trading"}},
        {"header": {"alg": "none"}},
        {"header": ["RS256"]},
        {"signature": ""},
        {"signature": "a.b"},
    ],
    ids=str,
)
async def test_what_can_only_be_refused_is_not_reviewed(rig: Rig, changes: dict[str, Any]) -> None:
    assert await rig.post(bearer(GOOD, **changes)) == 401
    assert rig.reviews.count == 0


async def test_462_bogus_tokens_are_five_reviews(rig: Rig) -> None:
    """Each of another text and with all that a good one says; a second is not over meanwhile."""
    answers = [await rig.post(bearer(GOOD, signature=f"bogus{n}")) for n in range(462)]
    assert rig.reviews.count == 5
    assert answers == [401] * 5 + [429] * 457


async def test_the_same_bogus_token_is_one_review_a_minute(rig: Rig) -> None:
    for second in range(60):
        rig.now = float(second)
        assert await rig.post(bearer(GOOD, exp=4e9, signature="bogus")) == 401
    assert rig.reviews.count == 1
    rig.now = 61.0
    assert await rig.post(bearer(GOOD, exp=4e9, signature="bogus")) == 401
    assert rig.reviews.count == 2


async def test_a_trainer_that_reports_every_ten_seconds_is_reviewed_once_a_minute(rig: Rig) -> None:
    mine = bearer(GOOD, exp=4e9)
    for number in range(60):
        rig.now = 10.0 * number
        assert await rig.post(mine) == 200
    assert rig.reviews.count == 10
    rig.reviews.user = None  # its pod was deleted
    rig.now += 60.0
    assert await rig.post(mine) == 401


async def test_a_flood_drives_no_known_trainer_out_and_says_when_to_come_again(rig: Rig) -> None:
    mine = bearer(GOOD, exp=4e9)
    assert await rig.post(mine) == 200
    for number in range(20):
        await rig.post(bearer(GOOD, signature=f"bogus{number}"))
    assert await rig.post(mine) == 200
    async with rig.client.post(URL, headers=bearer(GOOD, signature="another")) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
    rig.now = 2.0
    assert await rig.post(bearer(GOOD, signature="another")) == 401


async def test_of_all_peers_together_ten_a_second_are_reviewed() -> None:
    async def never(_: str) -> None:
        return None

    now = 0.0
    held: list[float] = []
    reviews = TokenReviews(never, lambda: now)
    for number in range(100):
        try:
            await reviews.user(f"token-{number}", f"10.0.0.{number}")
        except TooManyReviewsError as error:
            held.append(error.seconds)
    assert held == [pytest.approx(0.1)] * 80
    now = 1.0
    assert await reviews.user("token-100", "10.0.1.0") is None


async def test_a_review_that_failed_is_not_kept(rig: Rig) -> None:
    rig.reviews.down = True
    mine = bearer(GOOD, exp=4e9)
    assert await rig.post(mine) == 503
    rig.reviews.down = False
    assert await rig.post(mine) == 200


async def test_a_runs_own_pods_are_held_to_a_rate_and_other_runs_are_not(rig: Rig) -> None:
    mine = bearer(GOOD, exp=4e9)
    assert [await rig.post(mine) for _ in range(8)] == [200] * 5 + [429] * 3
    assert len(rig.told) == 5
    async with rig.client.post(URL, data=json.dumps(REPORT), headers=mine) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
    other = bearer("other-train-1-x7k2p", exp=4e9)
    assert await rig.post(other, url="/v1/trainingruns/trading/other/progress") == 200
    rig.now = 5.0
    assert await rig.post(mine) == 200


async def test_the_curve_of_a_long_training_is_taken_and_a_longer_one_refused(rig: Rig) -> None:
    points = [{"step": 10 * n, "loss": 1.23456, "learningRate": 0.000123456, "evalLoss": 1.23456} for n in range(200)]
    assert await rig.post(bearer(GOOD), REPORT | {"curve": points}) == 200
    assert len(rig.store["trading", "weekly"].curve) == 200
    assert await rig.post(bearer(GOOD), REPORT | {"curve": [*points, points[0]]}) == 400
