"""Rendering the charts with the real helm, wherever it is."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from cluster import current
from cluster.layout import Layout
from workshop.client import Cluster

ROOT = Path(__file__).parents[2]
KUBE_VERSION = "1.34.3"

EXISTING = ("--set", "database.existingSecret.name=rds")
EMBEDDED = ("--set", "database.embedded.enabled=true")
CLUSTER_WIDE = ("--set", "clusterWide=true")


def missing(message: str) -> NoReturn:
    """Skips, or fails under `make test`: what was not run has not passed."""
    if os.environ.get("E2E_REQUIRED"):
        pytest.fail(message)
    pytest.skip(message)


def _program(name: str) -> Cluster:
    """The cluster's client, where the program is there."""
    client = Cluster(current.environment(Layout.default()))
    if shutil.which(name, path=client.env["PATH"]) is None:
        missing(f"{name} is not there: make cluster builds it")
    return client


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _program("helm").attempt("helm", *arguments)


def template(chart: str, *arguments: str, namespace: str = "desk") -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(_rendered(chart, namespace, *arguments)) if document]


@cache
def _rendered(chart: str, namespace: str, *arguments: str) -> str:
    made = helm(
        "template",
        "tradewind",
        str(ROOT / "charts" / chart),
        "-n",
        namespace,
        "--kube-version",
        KUBE_VERSION,
        *arguments,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def refusal(*arguments: str) -> str:
    """What helm says where it does not render the chart with these values; it must not."""
    chart = str(ROOT / "charts" / "tradewind")
    made = helm("template", "tradewind", chart, "--kube-version", KUBE_VERSION, *arguments)
    assert made.returncode != 0, "rendered"
    return made.stderr


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return _program("kubectl").attempt("kubectl", *arguments, given=stdin)
