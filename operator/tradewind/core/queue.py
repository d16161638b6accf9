"""Why a queue holds a Job back, in Kueue's words.

Belongs here: reading Kueue's Workload of a Job. Does not belong here: asking for it, and what follows for a run. The operator creates a
Job suspended, names its queue and leaves `spec.suspend` to Kueue: it never writes a Job again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
JOB_LABEL = "kueue.x-k8s.io/job-uid"
"""Kueue's, on a Workload: the Job that it stands for."""
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a Job waits in its queue.

    Attributes:
        message: Kueue's words, or what to do where it has none.
        preempted: it ran, and had to make room for another.
    """

    message: str
    preempted: bool = False


def of_workload(workload: Json | None) -> Wait:
    """Why a suspended Job waits.

    Args:
        workload: as the API server has it; None: Kueue has made none.
    """
    if workload is None:
        return Wait("Kueue has made no Workload of the Job: see whether it is installed and looks after this namespace")
    conditions = {c["type"]: c for c in workload.get("status", {}).get("conditions", [])}
    reserved, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    was_evicted = evicted.get("status") == "True"
    preempted = was_evicted and evicted.get("reason") == "Preempted"
    if reserved.get("status") == "True" and not was_evicted:
        return Wait("its quota is reserved, and it starts once its admission checks are ready")
    told = [str(evicted.get("message") or "")] if was_evicted else []
    if reserved.get("status") == "False" and reserved.get("message") not in told:
        told.append(str(reserved.get("message") or ""))
    return Wait("; ".join(filter(None, told))[:_LONGEST], preempted)
