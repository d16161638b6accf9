"""`python3 cluster` runs before any virtual environment exists."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_clusters_driver_needs_the_standard_library_alone() -> None:
    # -S: without site-packages; -I: without the environment's paths.
    command = [sys.executable, "-I", "-S", str(ROOT / "cluster"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "local cluster" in done.stdout
