"""What a report is made of, read from the cluster and its database."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from tradewind.api.common import API_VERSION
from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.cluster import Cluster
from tradewind.shell.database import Database


def fetch_bundle(namespace: str, name: str) -> Mapping[str, Any]:
    """The bundle of an experiment.

    Raises:
        ValueError: there is no such experiment, or no database to read its trades from; the message says what to do.
    """
    return asyncio.run(_fetch(namespace, name))


def fetch_object(kind: str, namespace: str, name: str) -> Mapping[str, Any]:
    """An object of one of our kinds as the cluster has it.

    Raises:
        ValueError: there is none of that name.
    """
    return asyncio.run(_fetch_object(kind, namespace, name))


async def _fetch_object(kind: str, namespace: str, name: str) -> Mapping[str, Any]:
    async with await Cluster.connect() as cluster:
        found = await cluster.get(API_VERSION, kind, namespace, name)
    if found is None:
        msg = f"{kind} {name!r} does not exist in namespace {namespace}"
        raise ValueError(msg)
    return found


async def _fetch(namespace: str, name: str) -> Mapping[str, Any]:
    dsn = os.environ.get("TRADEWIND_DSN")
    if not dsn:
        msg = "TRADEWIND_DSN is not set: the trades are in the database; export its DSN, or give --bundle FILE"
        raise ValueError(msg)
    async with await Cluster.connect() as cluster:
        experiment = await cluster.get(API_VERSION, "ABExperiment", namespace, name)
        if experiment is None:
            msg = f"ABExperiment {name!r} does not exist in namespace {namespace}"
            raise ValueError(msg)
        status, endpoint = experiment.get("status", {}), experiment["spec"]["endpointRef"]["name"]
        arms = [(status.get(ref) or {}).get("name") for ref in ("baselineRef", "candidateRef")]
        versions = [await cluster.get(API_VERSION, "ModelVersion", namespace, arm) for arm in arms if arm]
        runs = [((version or {}).get("spec", {}).get("adapter") or {}).get("trainingRun") for version in versions]
        run = next((r for r in reversed(runs) if r), None)
        bundle: dict[str, Any] = {
            "experiment": experiment,
            "endpoint": await cluster.get(API_VERSION, "Endpoint", namespace, endpoint),
            "modelVersions": [version for version in versions if version],
            "trainingRun": await cluster.get(API_VERSION, "TrainingRun", namespace, run) if run else None,
        }
    try:
        async with Database(dsn, os.environ.get("TRADEWIND_INSTALLATION") or "tradewind") as database:
            bundle["trades"] = await database.judged_rows(namespace, endpoint, experiment["metadata"]["uid"])
    except DatabaseUnavailableError as error:
        raise ValueError(str(error)) from error
    return bundle
