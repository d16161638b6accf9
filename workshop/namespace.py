"""One namespace of a cluster: what is applied there, what is waited for, and how it looks when something failed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from workshop.client import OURS, Cluster, Json, condition, is_true, state
from workshop.progress import StepError
from workshop.waiting import wait_for

WARNINGS = 12
LOG_LINES = 25


@dataclass
class Namespace:
    """A namespace by its name. `say` is told what long waits see."""

    cluster: Cluster
    name: str
    say: Callable[[str], None] | None = None

    def apply(self, *manifests: str | Mapping[str, Any]) -> None:
        self.cluster.apply(*manifests, namespace=self.name)

    def kubectl(self, *args: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        return self.cluster.kubectl("-n", self.name, *args, given=given, check=check, seconds=seconds)

    def attempt(self, *args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """A kubectl command that may fail."""
        return self.cluster.attempt("kubectl", "-n", self.name, *args, given=given)

    def refused(self, *args: str, given: str | None = None) -> str:
        return self.cluster.refused("-n", self.name, *args, given=given)

    def get(self, kind: str, name: str) -> Json | None:
        return self.cluster.get(kind, name, self.name)

    def must_get(self, kind: str, name: str) -> Json:
        return self.cluster.must_get(kind, name, self.name)

    def select(self, kind: str, labels: str = "") -> list[Json]:
        return self.cluster.select(kind, self.name, labels)

    def wait(
        self,
        kind: str,
        name: str,
        what: str,
        until: Callable[[Json], object],
        *,
        seconds: float,
        show: Callable[[Json | None], str] = state,
    ) -> Json:
        """The object, once it is there and `until` accepts it; `show` says what is seen of it meanwhile."""
        found = wait_for(
            f"{kind} {name}: {what}",
            lambda: self.get(kind, name),
            lambda seen: seen is not None and until(seen),
            seconds=seconds,
            every=0.3 if seconds <= 120 else 1,
            show=show,
            say=self.say,
            remedy=f"kubectl -n {self.name} describe {kind} {name}",
        )
        assert found is not None
        return found

    def wait_condition(
        self,
        kind: str,
        name: str,
        of: str,
        status: str = "True",
        *,
        reason: str | None = None,
        seconds: float = 90,
        final: Collection[str] = (),
    ) -> Json:
        """The object, once a condition of it has this status (and reason).

        Raises:
            StepError: not in time, or the object is in a phase of `final`, which it will not leave.
        """

        def until(seen: Json) -> bool:
            found = condition(seen, of)
            if found.get("status") == status and reason in (None, found.get("reason")):
                return True
            if (seen.get("status") or {}).get("phase") in final:
                raise StepError(f"{kind} {name}: {state(seen)}", f"kubectl -n {self.name} describe {kind} {name}")
            return False

        return self.wait(kind, name, f"{of}={status} {reason or ''}".strip(), until, seconds=seconds)

    def wait_phase(self, kind: str, name: str, *phases: str, seconds: float = 90) -> Json:
        """The object, once it is in one of the phases."""

        def until(seen: Json) -> bool:
            return (seen.get("status") or {}).get("phase") in phases

        return self.wait(kind, name, f"phase {' or '.join(phases)}", until, seconds=seconds)

    def wait_available(self, deployment: str, *, seconds: float) -> Json:
        """The Deployment, once it is Available in its present generation."""
        return self.wait(
            "Deployment", deployment, "Available", lambda seen: is_true(seen, "Available"), seconds=seconds
        )

    def wait_job(self, name: str, *, seconds: float, also: Callable[[], str] = lambda: "") -> Json:
        """The termination message of a Job once it is complete; the last line of its log is shown while it runs.

        Raises:
            StepError: not in time, or it failed.
        """

        def until(seen: Json) -> bool:
            if failed := condition(seen, "Failed"):
                why = f"{failed.get('reason', 'failed')}: {self.termination(name)[:600]}"
                raise StepError(f"Job {name}: {why}", f"kubectl -n {self.name} logs job/{name}")
            return bool(condition(seen, "Complete"))

        def show(_: Json | None) -> str:
            line = self.kubectl("logs", f"job/{name}", "--tail=1", check=False).strip()
            return " | ".join(part for part in (line or "starting", also()) if part)

        self.wait("Job", name, "complete", until, seconds=seconds, show=show)
        message = self.termination(name)
        try:
            return dict(json.loads(message))
        except ValueError:
            return {"message": message}

    def termination(self, job: str) -> str:
        """Termination message of a Job's newest pod; empty where there is none."""
        pods = self.select("Pod", f"job-name={job}")
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True):
            for container in pod.get("status", {}).get("containerStatuses", []):
                if ended := container.get("state", {}).get("terminated"):
                    return str(ended.get("message", ended.get("reason", "")))
        return ""

    def anatomy(self) -> str:
        """Our objects, the last warnings, pods and the ends of their logs, for a failure."""
        parts = [f"=== namespace {self.name}"]
        parts += [f"{kind} {item['metadata']['name']}: {state(item)}" for kind in OURS for item in self.select(kind)]
        warnings = [event for event in self.select("Event") if event.get("type") == "Warning"]
        warnings.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        parts += [
            f"warning {event['involvedObject'].get('name')}: {event.get('reason')}: {event.get('message')}"
            for event in warnings[-WARNINGS:]
        ]
        for pod in self.select("Pod"):
            name = pod["metadata"]["name"]
            parts.append(f"--- pod {name}: {pod['status'].get('phase')}")
            for container in pod["spec"]["containers"]:
                text = self.cluster.log(self.name, name, container=container["name"], lines=LOG_LINES).rstrip()
                parts += [text] if text else []
        return "\n".join(parts)
