"""Why a Job waits, from Workloads as Kueue 0.15 writes them."""

from typing import Any

import pytest

from tradewind.core.pods import read_job
from tradewind.core.queue import JOB_LABEL, QUEUE_LABEL, of_workload
from tradewind.shell.cache import Cache
from tradewind.shell.cluster import ClusterError
from tradewind.shell.world import ClusterWorld
from tradewind.trading.signature import Signer

NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor a10, 30m more needed"
MADE_ROOM = "Preempted to accommodate a workload (UID: 7, JobUID: 8) due to prioritization in the ClusterQueue"


def workload(*conditions: tuple[str, str, str, str]) -> dict[str, Any]:
    names = ("type", "status", "reason", "message")
    return {"status": {"conditions": [dict(zip(names, one, strict=True)) for one in conditions]}}


@pytest.mark.parametrize(
    ("conditions", "message", "preempted"),
    [
        ((("QuotaReserved", "False", "Pending", NO_QUOTA),), NO_QUOTA, False),
        ((("QuotaReserved", "False", "Inadmissible", "LocalQueue gpu doesn't exist"),), "LocalQueue gpu doesn't exist", False),
        ((("QuotaReserved", "False", "Preempted", MADE_ROOM), ("Evicted", "True", "Preempted", MADE_ROOM)), MADE_ROOM, True),
        (
            (("QuotaReserved", "False", "Pending", NO_QUOTA), ("Evicted", "True", "Preempted", MADE_ROOM)),
            f"{MADE_ROOM}; {NO_QUOTA}",
            True,
        ),
        ((("QuotaReserved", "False", "Pending", NO_QUOTA), ("Evicted", "True", "ClusterQueueStopped", "stopped")), f"stopped; {NO_QUOTA}", False),
        ((("QuotaReserved", "True", "QuotaReserved", "Quota reserved"), ("Evicted", "False", "QuotaReserved", "")), "admission checks", False),
        ((), "", False),
    ],
)  # fmt: skip
def test_a_wait_has_kueues_words(conditions, message, preempted) -> None:
    wait = of_workload(workload(*conditions))
    assert wait.message == message or (message == "admission checks" and message in wait.message)
    assert wait.preempted is preempted


def test_a_job_without_a_workload_says_what_to_look_at() -> None:
    assert "see whether it is installed" in of_workload(None).message


class Cluster:
    """One that serves Kueue in these versions; what it is asked for is noted."""

    def __init__(self, *versions: str) -> None:
        self.versions = versions
        self.asked: list[tuple[str, str]] = []

    async def get(self, *_: str) -> dict[str, Any]:
        metadata = {"name": "r-train-1", "uid": "j", "labels": {QUEUE_LABEL: "gpu"}, "ownerReferences": [{"uid": "r"}]}
        return {"metadata": metadata, "spec": {"suspend": True}, "status": {}}

    async def select(self, api_version: str, kind: str, *_: str, label_selector: str = "") -> list[dict[str, Any]]:
        if kind == "Pod":
            return []
        self.asked.append((api_version, label_selector))
        if api_version not in self.versions:
            raise ClusterError(f"the cluster does not serve {api_version}: install it first", 404)
        return [workload(("QuotaReserved", "False", "Pending", NO_QUOTA))]


@pytest.mark.parametrize("served", [("v1beta2", "v1beta1"), ("v1beta1",), ()])
async def test_a_queued_job_is_asked_about_in_the_version_that_is_served(served) -> None:
    cluster = Cluster(*(f"kueue.x-k8s.io/{version}" for version in served))
    world = ClusterWorld(cluster, None, Cache(), Signer.generated())  # type: ignore[arg-type]
    facts = await read_job(world, "trading", "r-train-1", "r")
    assert facts is not None
    assert facts.suspended, "made suspended: Kueue has not looked at it, and no condition says so yet"
    assert facts.wait is not None
    assert facts.wait == of_workload(workload(("QuotaReserved", "False", "Pending", NO_QUOTA)) if served else None)
    assert all(selector == f"{JOB_LABEL}=j" for _, selector in cluster.asked)
