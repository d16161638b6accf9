"""`helm upgrade` from the last release and `helm rollback`, on the real cluster, under a running experiment and traffic.

Both charts, images and kinds of the last release, built from its own sources; a database of its own on a volume. What is asked for is
that no decision fails, no arm changes and the experiment is the same one. The kinds are the cluster's: nobody else may work on it
meanwhile, so this runs with the soaks.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from database import Database
from gateway_client import Callers, GatewayClient
from installation import SYSTEM
from space import Space

from cluster.layout import Layout
from manifests import arms_server, endpoint, experiment, external, secrets
from tradewind.trading.assignment import draw_arm
from workshop import charts
from workshop.client import Cluster, Json, condition
from workshop.release import ROOT, earlier, unpack
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]  # it builds the images of two releases

OPERATORS, TRADING, RELEASE = f"{SYSTEM}-upgrade", f"{SYSTEM}-upgrade-trading", "up"
ARMS = f"arms.{TRADING}.svc"
VOLUME = Path("/var/lib") / OPERATORS
POSTGRES_USER = 65532
"""Of the image, as which it writes its files."""


@dataclass(frozen=True)
class Source:
    """A release as a checkout, with the images that were built from it."""

    folder: Path
    images: Mapping[str, str]

    @classmethod
    def built(cls, folder: Path, env: Mapping[str, str]) -> "Source":
        subprocess.run(["python3", "cluster", "images"], cwd=folder, env={**os.environ, **env}, check=True)
        return cls(folder, json.loads((Layout.default().cache / "images.json").read_text(encoding="utf-8")))

    def install_kinds(self, cluster: Cluster) -> None:
        """The kinds alone, which docs/install.md has first."""
        kinds = str(self.folder / "charts" / "tradewind-crds")
        cluster.run(*charts.UPGRADE, "--take-ownership", "-n", charts.SYSTEM, "tradewind-crds", kinds, seconds=300)

    def install(self, cluster: Cluster, **more: Any) -> None:
        """The operator."""
        values = {
            "installation": "upgrade",
            "watchNamespaces": [TRADING],
            "image": charts.image_values(self.images),
            "database": {
                "embedded": {
                    "enabled": True,
                    "shareWith": [TRADING],
                    "persistence": {"enabled": True, "size": "1Gi", "storageClassName": "-"},
                }
            },
            **more,
        }
        chart = str(self.folder / "charts" / "tradewind")
        cluster.run(*charts.UPGRADE, "-n", OPERATORS, RELEASE, chart, "-f", "-", given=json.dumps(values), seconds=600)


class Traffic(Callers):
    """Trading systems that ask and report all the while, each id until there is an answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.given: dict[str, Json] = {}
        self.faults: list[str] = []
        self.waits: dict[str, int] = {}
        super().__init__(self._trade, threads=2, patience=200)

    def more(self, count: int = 40) -> None:
        wanted = len(self.given) + count
        wait_for(f"{wanted} decisions", lambda: len(self.given), lambda found: found >= wanted or self.faults)
        assert not self.faults

    def _trade(self, number: int) -> None:
        with GatewayClient(self.url) as client:
            for index in range(1_000_000):
                if self.stop.is_set():
                    break
                try:
                    self.given[f"d{number}-{index}"] = client.decide(f"d{number}-{index}")
                except Exception as error:
                    self.faults.append(f"d{number}-{index}: {type(error).__name__}: {error}")
                self.stop.wait(0.1)
            for why, times in client.waits.items():
                self.waits[why] = self.waits.get(why, 0) + times


@pytest.fixture(scope="module")
def upgraded(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Source, Source]]:
    # Each build forgets all but the newest few images, by when they were built: the old ones, from a cache, are brought in last.
    Source.built(ROOT, cluster.env)
    old = Source.built(unpack(earlier(), tmp_path_factory.mktemp("earlier")), cluster.env)
    new = Source.built(ROOT, cluster.env)
    _remove(cluster)
    VOLUME.mkdir(mode=0o700)
    os.chown(VOLUME, POSTGRES_USER, POSTGRES_USER)
    cluster.apply(_volume())
    for name in (OPERATORS, TRADING):
        cluster.kubectl("create", "namespace", name)
    yield old, new
    if not os.environ.get("E2E_KEEP"):
        _remove(cluster)
    charts.install_kinds(cluster)


def test_up_and_down_again(upgraded: tuple[Source, Source], cluster: Cluster) -> None:
    old, new = upgraded
    space, database = Space(cluster, TRADING), Database(cluster, OPERATORS, RELEASE)
    old.install_kinds(cluster)
    old.install(cluster)
    (before,) = [s for s in secrets() if s["metadata"]["name"] == "arm-key"]
    before["stringData"].pop("allowedHosts")  # unknown to the last release
    space.apply(before, *[s for s in secrets() if s is not before], *arms_server(new.images["demo"]))
    space.apply(external("api", "steady", host=ARMS), external("next", "against", host=ARMS))
    trader = endpoint("trader", "api", replicas=2)
    trader["spec"].pop("allowAutoPromote")  # unknown to it, too
    trader["spec"]["limits"]["permissionLevels"]["L1"].pop("allowNoStop")
    space.apply(
        trader,
        experiment("first", "trader", None, "next", traffic={"policy": "fixed", "weight": "0.5", "shadow": "none"}),
    )
    gateway = space.gateway("trader", seconds=240)
    first = space.wait_active("trader", "first", 120)
    wait_for("the candidate's weight", lambda: _weight(space), lambda weight: float(weight or 0) == 0.5, seconds=120)

    with Traffic(gateway.url) as traffic:
        traffic.more()
        # What the notes of the release ask for before the upgrade: hosts beside the key, and which of them lie inside.
        space.apply(next(s for s in secrets() if s["metadata"]["name"] == "arm-key"))
        space.kubectl(
            "patch", "secret", "arm-key", "--type=merge", "-p", json.dumps({"stringData": {"allowedHosts": ARMS}})
        )
        new.install_kinds(cluster)
        _no_stop(space, True)
        new.install(cluster, egress={"allowedInternalHosts": [f"http://{ARMS}"]})
        traffic.more()
        _settled(space, new)
        assert space.must_get("ABExperiment", "first")["metadata"]["uid"] == first["metadata"]["uid"]
        assert space.must_get("ABExperiment", "first")["status"]["t0"] == first["status"]["t0"]
        traffic.more()
        cluster.run("helm", "rollback", RELEASE, "--namespace", OPERATORS, "--wait", seconds=600)
        _no_stop(space, None)
        _settled(space, old)
        traffic.more()
    print(f"{len(traffic.given)} decisions; asked again: {traffic.waits or 'none'}")
    assert not traffic.faults
    assert _phase(space) == "Running"

    rows = database.sql(
        "SELECT decision_id, arm, candidate_weight, drawn_version FROM tradewind.decisions WHERE namespace = %s",
        TRADING,
    )
    assert {row[0] for row in rows} == traffic.given.keys()
    drawn = [row for row in rows if row[1] is not None and row[2] == 0.5]
    assert len(drawn) > 100
    for name, arm, weight, version in drawn:
        assert arm == draw_arm(first["metadata"]["uid"], name, float(weight))
        assert version == {"baseline": "api", "candidate": "next"}[arm]
        assert traffic.given[name]["_model_used"] == version
    for name, arm, _, version in rows:
        if arm is None:
            assert version == traffic.given[name]["_model_used"] == "api"  # nobody's draw: the champion answered


def _no_stop(space: Space, allowed: bool | None) -> None:
    """The arms open without a stop. None: the field is taken away, as it must be for an operator that does not know it."""
    spec = {"limits": {"permissionLevels": {"L1": {"allowNoStop": allowed}}}}
    space.kubectl("patch", "endpoint.tradewind.dev", "trader", "--type=merge", "-p", json.dumps({"spec": spec}))


def _weight(space: Space) -> str | None:
    return (space.must_get("ABExperiment", "first")["status"].get("weight") or {}).get("applied")


def _phase(space: Space) -> str:
    return str(space.must_get("ABExperiment", "first")["status"]["phase"])


def _settled(space: Space, release: Source) -> None:
    """Every gateway pod is of this release and obeys the experiment's weight."""

    def images() -> set[str]:
        pods = space.select("Pod", "app.kubernetes.io/component=gateway")
        return {container["image"].rpartition(":")[2] for pod in pods for container in pod["spec"]["containers"]}

    tag = release.images["gateway"].rpartition(":")[2]
    wait_for("gateways of the release", images, lambda found: found == {tag}, seconds=240)
    point = space.wait_condition("Endpoint", "trader", "WeightsApplied", seconds=240)
    assert condition(point, "Ready")["status"] == "True"
    wait_for("the candidate's weight", lambda: _weight(space), lambda weight: float(weight or 0) == 0.5, seconds=120)


def _volume() -> Json:
    claim = {"namespace": OPERATORS, "name": f"data-{RELEASE}-postgres-0"}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": str(VOLUME)},
        "claimRef": claim,
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": OPERATORS}, "spec": spec}


def _remove(cluster: Cluster) -> None:
    Space(cluster, TRADING).delete()
    cluster.run("helm", "uninstall", "-n", OPERATORS, RELEASE, "--ignore-not-found", "--wait", check=False, seconds=180)
    for name in (OPERATORS, TRADING):
        cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", check=False, seconds=150)
    cluster.kubectl("delete", "persistentvolume", OPERATORS, "--ignore-not-found", "--timeout=30s", check=False)
    subprocess.run(["rm", "-rf", str(VOLUME)], check=True)
