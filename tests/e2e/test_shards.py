"""Two operators of one installation on the real cluster: each has its namespace, none needs the other, and one follows two and back.

An installation of its own: how many operators there are is its value, which other modules hold to be one.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from database import Database
from gateway_client import Callers
from installation import SYSTEM
from space import Space

from manifests import API_KEY, api_key, arms_server, endpoint, experiment, external, secrets
from workshop import charts
from workshop.client import Cluster, Json
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

OPERATORS, RELEASE, INSTALLATION = f"{SYSTEM}-shards", "sh", "shards"
HOMES = FIRST, SECOND = f"{OPERATORS}-a", f"{OPERATORS}-b"
DEPLOYMENTS = [f"{RELEASE}-operator", f"{RELEASE}-operator-1"]
ARMS = f"arms.{OPERATORS}.svc"
VALID_SECONDS = 30
"""For so long gateways obey a weight that nobody renews."""
LEASES = """
SELECT i.holder, (SELECT coalesce(jsonb_object_agg(s.shard, s.holder), '{}') FROM tradewind.operator_shards s
                   WHERE s.installation = i.installation AND s.held_until > clock_timestamp())
  FROM tradewind.installations i WHERE i.installation = %s AND i.held_until > clock_timestamp()
"""
"""Who has the installation and who which shard, at one moment by the database's clock."""


@dataclass(frozen=True)
class Operators:
    """The release, and what its operators say of themselves."""

    cluster: Cluster
    images: Mapping[str, str]

    @property
    def database(self) -> Database:
        return Database(self.cluster, OPERATORS, RELEASE)

    def install(self, shards: int) -> None:
        small = {"requests": {"cpu": "20m", "memory": "128Mi"}}
        embedded = {"enabled": True, "shareWith": list(HOMES), "persistence": {"enabled": False}, "resources": small}
        values = {
            "installation": INSTALLATION,
            "watchNamespaces": list(HOMES),
            "image": charts.image_values(self.images),
            "database": {"embedded": embedded},
            "egress": {"allowedInternalHosts": [f"http://{ARMS}"]},
            "operator": {"shards": shards, "resyncSeconds": 5, "resources": small},
        }
        charts.install(self.cluster, OPERATORS, RELEASE, values)

    def pods(self) -> dict[str, str]:
        """Name of each running operator's pod, by the name of its Deployment."""
        found = self.cluster.select("Pod", OPERATORS, "app.kubernetes.io/component in (operator,operator-shard)")
        names = [pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")]
        return {name.rsplit("-", 2)[0]: name for name in names}

    def leases(self) -> tuple[str, dict[str, str]]:
        ((holder, shards),) = self.database.sql(LEASES, INSTALLATION)
        return holder, shards

    def started(self, pod: str) -> Json:
        """What an operator logs at its start."""
        lines = (
            json.loads(line) for line in self.cluster.log(OPERATORS, pod, lines=5000).splitlines() if line[:1] == "{"
        )
        found: Json = next(line for line in lines if line["event"] == "started")
        return found

    def metrics(self, deployment: str) -> str:
        address = self.cluster.must_get("Service", deployment, OPERATORS)["spec"]["clusterIP"]
        return httpx.get(f"http://{address}:9090/metrics", timeout=10, trust_env=False).text

    def scale_second(self, replicas: int) -> None:
        self.cluster.kubectl("-n", OPERATORS, "scale", "deployment/sh-operator-1", f"--replicas={replicas}")
        self.wait_pods(*DEPLOYMENTS[: 1 + replicas])

    def wait_pods(self, *deployments: str) -> None:
        wait_for("the operators' pods", lambda: sorted(self.pods()) == sorted(deployments), seconds=90)


class Watch(Callers):
    """Looks several times a second how long the weight in each namespace is still valid, and who holds what.

    Attributes:
        least: the shortest time for which a weight was still valid, in seconds, by namespace.
        published: when each routing document was, in the order in which they were seen.
        held: whom the leases were, each time that it changed: the holder of the installation, and which shards.
    """

    def __init__(self, operators: Operators) -> None:
        self.least: dict[str, float] = {}
        self.published: dict[str, list[datetime]] = {home: [] for home in HOMES}
        self.held: list[tuple[str, tuple[str, ...]]] = []
        self.faults: list[str] = []
        self._operators = operators
        super().__init__(self._look, threads=1, patience=30)

    def wait_renewed(self) -> None:
        """Until each weight was published twice more."""
        since = {home: len(known) for home, known in self.published.items()}
        wait_for(
            "each weight to be renewed",
            lambda: all(len(known) >= since[home] + 2 for home, known in self.published.items()),
            seconds=90,
        )

    def _look(self, _: int) -> None:
        try:
            with (
                Cluster(self._operators.cluster.env) as cluster,
                psycopg.connect(self._operators.database.dsn, autocommit=True) as connection,
            ):
                while not self.stop.wait(0.3):
                    for home in HOMES:
                        self._take(home, Space(cluster, home).routing("trader"))
                    for holder, shards in connection.execute(LEASES, [INSTALLATION]).fetchall():
                        if not self.held or self.held[-1] != (holder, tuple(shards)):
                            self.held.append((holder, tuple(shards)))
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def _take(self, home: str, document: Json) -> None:
        now = datetime.now(UTC)
        left = (datetime.fromisoformat(document["expiresAt"]) - now).total_seconds()
        self.least[home] = min(left, self.least.get(home, left))
        known = self.published[home]
        at = datetime.fromisoformat(document["publishedAt"])
        if known[-1:] != [at]:
            known.append(at)
        if _weight(document) != 0.5:
            self.faults.append(f"{home} at {now:%H:%M:%S}: another weight in {document}")


@pytest.fixture(scope="module")
def operators(cluster: Cluster, images: dict[str, str]) -> Iterator[Operators]:
    if not os.environ.get("E2E_KEEP"):
        _remove(cluster)
    for name in (OPERATORS, *HOMES):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    charts.install_kinds(cluster)
    Space(cluster, OPERATORS).apply(*arms_server(images["demo"]))
    made = Operators(cluster, images)
    made.install(2)
    for home in HOMES:
        space = Space(cluster, home)
        space.apply(*secrets()[:1], api_key("arm-key", API_KEY, ARMS))
        space.apply(
            external("api", "steady", host=ARMS),
            external("next", "follow", host=ARMS),
            endpoint("trader", "api"),
            experiment("ab", "trader", None, "next", traffic={"policy": "fixed", "weight": "0.5"}),
        )
    for home in HOMES:
        Space(cluster, home).wait_condition("Endpoint", "trader", "Ready", seconds=240)
        Space(cluster, home).wait_active("trader", "ab")
        _wait_weight(Space(cluster, home))
    yield made
    if not os.environ.get("E2E_KEEP"):
        _remove(cluster)


def _remove(cluster: Cluster) -> None:
    for home in HOMES:
        Space(cluster, home).delete()
    if cluster.get("Namespace", OPERATORS) is not None:
        cluster.run("helm", "uninstall", "-n", OPERATORS, RELEASE, "--ignore-not-found", "--wait", check=False)
    for name in (OPERATORS, *HOMES):
        cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", check=False, seconds=150)


def _weight(document: Json) -> float:
    return float((document.get("experiment") or {}).get("candidateWeight") or 0)


def _left(space: Space) -> float:
    """Seconds for which gateways obey the published weight, unless it is renewed."""
    return (datetime.fromisoformat(space.routing("trader")["expiresAt"]) - datetime.now(UTC)).total_seconds()


def _wait_weight(space: Space) -> None:
    wait_for("a weight that holds", lambda: _weight(space.routing("trader")) == 0.5 and _left(space) > 0, seconds=90)


def _experiments(cluster: Cluster) -> list[tuple[Any, ...]]:
    """What another decision would change: which experiments run, and since when."""
    found = [Space(cluster, home).must_get("ABExperiment", "ab") for home in HOMES]
    return [(one["metadata"]["uid"], one["status"]["phase"], one["status"]["t0"]) for one in found]


def test_each_operator_has_its_namespace_its_lease_and_its_service(operators: Operators) -> None:
    pods = operators.pods()
    assert sorted(pods) == DEPLOYMENTS
    holder, shards = operators.leases()
    assert holder.startswith(f"{OPERATORS}/2-shards-of-")
    assert shards == {"0": f"{OPERATORS}/{pods['sh-operator']}", "1": f"{OPERATORS}/{pods['sh-operator-1']}"}
    for index, (deployment, home) in enumerate(zip(sorted(pods), HOMES, strict=True)):
        told = operators.started(pods[deployment])
        assert (told["shard"], told["namespaces"]) == (f"{index}/2", [home])
        text = operators.metrics(deployment)
        assert f'tradewind_operator_shard{{shard="{index}",shards="2"}} 1.0' in text
        assert "tradewind_operator_holds_installation 1.0" in text


def test_where_one_is_away_the_other_goes_on_and_nobody_decides_in_its_place(
    operators: Operators, cluster: Cluster
) -> None:
    operators.scale_second(0)
    # A pod that is being ended decides until it lets go.
    wait_for("its lease to be let go", lambda: set(operators.leases()[1]), lambda held: held == {"0"}, seconds=40)
    ours, theirs = (Space(cluster, home) for home in HOMES)
    for space in (ours, theirs):
        space.apply(external("late", "steady", host=ARMS))
    ours.wait("ModelVersion", "late", "is looked at", lambda seen: seen.get("status"), seconds=30)
    until = time.monotonic() + VALID_SECONDS + 2
    while time.monotonic() < until:
        assert _left(ours) > 0, "the weight of the shard that is there ran out"
        time.sleep(1)
    assert _left(theirs) < 0
    assert not theirs.must_get("ModelVersion", "late").get("status")
    assert set(operators.leases()[1]) == {"0"}

    operators.scale_second(1)
    theirs.wait("ModelVersion", "late", "is looked at", lambda seen: seen.get("status"), seconds=90)
    _wait_weight(theirs)
    assert set(operators.leases()[1]) == {"0", "1"}


def test_a_pod_that_is_lost_is_followed_by_one_that_has_its_index(operators: Operators) -> None:
    lost = operators.pods()["sh-operator-1"]
    now = ("--force", "--grace-period=0", "--wait=false")
    operators.cluster.kubectl("-n", OPERATORS, "delete", "pod", lost, *now)
    wait_for(
        "its successor to have the lease",
        lambda: operators.leases()[1].get("1"),
        lambda holder: holder not in (None, f"{OPERATORS}/{lost}"),
        seconds=90,
    )
    assert operators.leases()[1]["1"] == f"{OPERATORS}/{operators.pods()['sh-operator-1']}"


def test_from_two_to_one_and_back_no_weight_expires_and_nobody_decides_twice(
    operators: Operators, cluster: Cluster
) -> None:
    before = _experiments(cluster)
    for home in HOMES:
        _wait_weight(Space(cluster, home))
    with Watch(operators) as watch:
        for count in (1, 2):
            operators.install(count)
            operators.wait_pods(*DEPLOYMENTS[:count])
            watch.wait_renewed()
    print(f"least validity in seconds: {watch.least}; who held what: {watch.held}")
    assert watch.faults == []
    assert min(watch.least.values()) > 0
    assert all(known == sorted(set(known)) for known in watch.published.values()), "no document came after a newer one"
    one = [shards for holder, shards in watch.held if "-shards-of-" not in holder]
    several = [shards for holder, shards in watch.held if "-shards-of-" in holder]
    assert one
    assert all(shards == () for shards in one), "no shard has a lease while one operator has the installation"
    assert several[0] == several[-1] == ("0", "1")
    assert _experiments(cluster) == before
    assert {phase for _, phase, _ in before} == {"Running"}
