"""Rendering the charts with the real helm, wherever it is."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = Path.home() / ".cache" / "tradewind" / "cluster"
KUBE_VERSION = "1.34.3"

EXISTING = ("--set", "database.existingSecret.name=rds")
EMBEDDED = ("--set", "database.embedded.enabled=true")


def missing(message: str) -> NoReturn:
    """Skips, or fails under `make test`: what was not run has not passed."""
    if os.environ.get("E2E_REQUIRED"):
        pytest.fail(message)
    pytest.skip(message)


def binary(name: str) -> str:
    """Path of a cluster tool, or a skip."""
    found = shutil.which(name) or str(CLUSTER / "bin" / name)
    if not Path(found).exists():
        missing(f"{name} is not there: make cluster builds it")
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary("helm"), *arguments], capture_output=True, text=True, timeout=60, check=False)


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


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KUBECONFIG": os.environ.get("KUBECONFIG", str(CLUSTER / "kubeconfig"))}
    return subprocess.run(
        [binary("kubectl"), *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
