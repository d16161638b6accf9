"""The champion moves between two versions of our own under load, its predictor is replaced, and one that rested comes back.

Two predictors of the tiny base model on the real cluster, through KServe. What is asked for is that no decision fails or is answered by
the fallback, and that each is answered by a version that was champion while it was asked.
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from gateway_client import Callers, GatewayClient, question
from space import Space
from volumes import claim, make_base

from manifests import endpoint, external, resource
from tradewind.predictor.artifact import hash_files
from tradewind.trading.artifact import artifact_sha256
from workshop.client import Json, condition
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PREDICTOR = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
SERVING = {"resources": PREDICTOR, "timeout": "20s", "latencyObjective": {"p99": "20s"}, "retireAfter": "60s"}


@dataclass
class Asked:
    """One decision: from when to when it was asked, the status of it or of its report, and who answered."""

    begun: float
    ended: float
    status: int
    version: str
    told: str


@dataclass
class Steady(Callers):
    """Clients that ask a few times a second, each id once, over connections that they keep, and open nothing.

    Whose decision may be a position is asked about it: it would not rest.
    """

    gateway: GatewayClient
    prefix: str
    found: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self._ask, threads=2, patience=60)

    def more(self, count: int) -> None:
        wanted = len(self.found) + count
        wait_for(f"{wanted} decisions", lambda: len(self.found), lambda found: found >= wanted, seconds=180)

    def _ask(self, number: int) -> None:
        with httpx.Client(
            base_url=self.gateway.url, headers=self.gateway.http.headers, timeout=60, trust_env=False
        ) as http:
            for index in itertools.count():
                if self.stop.is_set():
                    return
                begun, name = time.time(), f"{self.prefix}-{number}-{index}"
                try:
                    answer = http.post("/v1/decisions", json=question(name))
                    ended, version = time.time(), ""
                    if answer.is_success:
                        version = str(answer.json()["_model_used"])
                        if answer.json()["action"].startswith("open"):
                            answer = http.post(f"/v1/decisions/{name}/execution", json={"status": "rejected"})
                    told = "" if answer.is_success else answer.text[:300]
                    self.found.append(Asked(begun, ended, answer.status_code, version, told))
                except httpx.TransportError as error:
                    self.found.append(Asked(begun, time.time(), 0, "", f"{type(error).__name__} {error}"))
                self.stop.wait(0.2)


@pytest.fixture(scope="module")
def trader(space: Space, images: dict[str, str], arms: str) -> Iterator[GatewayClient]:
    """Two versions of our own, of which the first is champion, and an API as the fallback."""
    with claim(space, "models") as folder:
        make_base(space, images)
        model = {"uri": "pvc://models/base", "sha256": artifact_sha256(hash_files(folder / "base"))}
        evaluation = {"requests": 5, "concurrency": [1]}
        space.apply(
            *(
                resource("ModelVersion", name, {"model": model, "serving": SERVING, "evaluation": evaluation})
                for name in ("one", "two")
            ),
            external("api", "steady"),
            endpoint("trader", "api"),
        )
        for name in ("one", "two"):
            space.wait_condition("ModelVersion", name, "Ready", seconds=420)
        with space.gateway("trader", seconds=180) as client:
            asks(space, "promote=one/r1")
            champion(space, "one")
            yield client


def asks(space: Space, request: str) -> None:
    me = space.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    told = f"tradewind.dev/{request}", "tradewind.dev/reason=a swap", f"tradewind.dev/by={me}"
    space.kubectl("annotate", "endpoints.tradewind.dev", "trader", "--overwrite", *told)


def champion(space: Space, name: str, seconds: float = 120) -> Json:
    """The Endpoint, once a version is champion and every gateway pod obeys it."""

    def is_so(seen: Json) -> bool:
        ref = seen["status"].get("championRef") or {}
        applied = condition(seen, "WeightsApplied")
        return bool(ref.get("name") == name and applied["status"] == "True" and not seen["status"].get("byHand"))

    return space.wait("Endpoint", "trader", f"champion {name}", is_so, seconds=seconds)


def none_failed(found: list[Asked]) -> None:
    assert not [one for one in found if one.status not in (200, 202)]
    assert {one.version for one in found} <= {"one", "two"}, "the fallback answered"


def test_the_champion_moves_there_and_back_without_an_error(space: Space, trader: GatewayClient) -> None:
    moves = [("promote=two/r2", "two"), ("rollback=r3", "one"), ("promote=two/r4", "two"), ("rollback=r5", "one")]
    reigns: list[tuple[float, float, str]] = []  # from when nobody else may answer, until when
    since, current = time.time(), "one"
    with Steady(trader, "moves") as load:
        load.more(20)
        for request, name in moves:
            reigns.append((since, time.time(), current))
            asks(space, request)
            champion(space, name)
            since, current = time.time(), name
            load.more(20)
        reigns.append((since, time.time(), current))
    none_failed(load.found)
    for begun, ended, name in reigns:
        mine = {one.version for one in load.found if begun <= one.begun and one.ended <= ended}
        assert mine == {name}
    print(f"{len(load.found)} decisions over {len(moves)} moves: {_rate(load.found)}")


def test_a_predictor_is_replaced_without_an_error(space: Space, trader: GatewayClient) -> None:
    def pods() -> set[str]:
        found = space.select("Pod", "serving.kserve.io/inferenceservice=one")
        return {pod["metadata"]["name"] for pod in found}

    before = pods()
    with Steady(trader, "rolls") as load:
        load.more(10)
        # As an upgrade or a drain does it: KServe rolls the Deployment.
        space.kubectl("annotate", "inferenceservice", "one", f"e2e.tradewind.dev/rolled={time.time()}")
        wait_for("another pod alone", pods, lambda now: len(now) == 1 and not now & before, seconds=240)
        load.more(20)
    none_failed(load.found)
    assert {one.version for one in load.found} == {"one"}
    print(f"{len(load.found)} decisions over a roll: {_rate(load.found)}")


def test_a_version_that_rested_comes_back_before_traffic_moves(space: Space, trader: GatewayClient) -> None:
    def deployment(name: str) -> Any:
        return space.get("Deployment", f"{name}-predictor")

    resting = space.wait(
        "ModelVersion", "two", "retired", lambda seen: condition(seen, "Served")["reason"] == "Retired", seconds=300
    )
    assert condition(resting, "Ready")["reason"] == "Retired"
    wait_for("its pods to go", lambda: deployment("two"), lambda found: found is None, seconds=60)
    assert deployment("one") is not None
    with Steady(trader, "wakes") as load:
        load.more(10)
        asks(space, "rollback=r6")  # the newest promotion is the rollback to one: taken back, it is two again
        waits = space.wait(
            "Endpoint",
            "trader",
            "waits for the version",
            lambda seen: condition(seen, "ChampionByHand")["reason"] == "VersionWaking",
            seconds=30,
        )
        assert waits["status"]["championRef"]["name"] == "one"
        champion(space, "two", seconds=300)
        moved = datetime.now(UTC)
        load.more(20)
    none_failed(load.found)
    assert load.found[0].version == "one"
    assert load.found[-1].version == "two"
    ready = condition(space.must_get("ModelVersion", "two"), "Ready")
    assert ready["status"] == "True"
    assert datetime.fromisoformat(ready["lastTransitionTime"]) <= moved
    print(f"{len(load.found)} decisions over a wake: {_rate(load.found)}")


def test_pods_by_their_load_are_refused_where_nobody_measures_it(space: Space, trader: GatewayClient) -> None:
    if space.cluster.attempt("kubectl", "get", "--raw", "/apis/metrics.k8s.io/v1beta1").returncode == 0:
        pytest.skip("this cluster has a metrics server")
    model = space.must_get("ModelVersion", "one")["spec"]["model"]
    space.apply(
        resource("ModelVersion", "scaled", {"model": model, "serving": {**SERVING, "autoscaling": {"maxReplicas": 2}}})
    )
    seen = space.wait_condition("ModelVersion", "scaled", "Ready", "False", reason="AutoscalerNotAvailable", seconds=60)
    assert "install a metrics server" in condition(seen, "Ready")["message"]
    assert space.get("InferenceService", "scaled") is None


def _rate(found: list[Asked]) -> str:
    seconds = max(one.ended for one in found) - min(one.begun for one in found)
    slowest = max(one.ended - one.begun for one in found)
    return f"{len(found) / seconds:.1f} a second, the slowest {slowest * 1000:.0f} ms"
