"""Every benchmark runs alone, from a checkout, with its smallest sizes. Its ratios say nothing then; that they are there does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workshop import apiserver

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_last_line_holds_ratios_with_their_goals(script: Path, tmp_path: Path) -> None:
    if script.stem == "scale" and apiserver.missing() is not None:
        pytest.skip(f"{apiserver.missing()} is not there: {apiserver.REMEDY}")
    environment = os.environ | {"BENCH_SMALL": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ratios = json.loads(done.stdout.splitlines()[-1])["ratios"]
    assert ratios
    for name, ratio in ratios.items():
        assert set(ratio) == {"value", "goal"}, name
        assert ratio["value"] > 0, name
        assert ratio["goal"] > 0, name
    assert done.stderr, "progress goes to stderr"
