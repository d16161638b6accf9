"""How many threads a pod may run: its CPU limit, not the cores of its node."""

import os
from math import ceil
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")


def cpu_threads(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use, rounded up: the least of the pod's limit and what it may be scheduled on."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _limit(cgroup)
    return available if limit is None else max(1, min(available, ceil(limit)))


def _limit(cgroup: Path) -> float | None:
    """CPUs of the limit of version 2 or 1 of control groups; None where there is none."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
