"""kubectl and helm for the demo's driver: apply, look, wait, and say why something failed.

Belongs here: subprocesses, waiting with progress, the anatomy of a failure. Does not belong here: what the demo does.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Final

Json = dict[str, Any]

POLL_SECONDS: Final = 2.0
SAY_EVERY_SECONDS: Final = 10.0
MANIFESTS: Final = Path(__file__).parent / "manifests"


class DemoError(Exception):
    """A step failed: why, what was seen, and what to do."""

    def __init__(self, why: str, remedy: str, seen: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy
        self.seen = seen


@dataclass
class Progress:
    """Lines with elapsed time, and the seconds of each step for timings.json."""

    began: float = field(default_factory=time.monotonic)
    steps: list[dict[str, str | float]] = field(default_factory=list)
    current: str = "start"

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        print(f"[{time.monotonic() - self.began:6.0f} s] {text}", flush=True)

    def run(self, name: str, action: Callable[[], Any]) -> Any:
        """Run a step, announce it, and keep its seconds."""
        self.current = name
        self.say(f"== {name}")
        began = time.monotonic()
        result = action()
        self.steps.append({"step": name, "seconds": round(time.monotonic() - began, 1)})
        return result


@dataclass(frozen=True)
class Kubectl:
    """The cluster that KUBECONFIG names, and one namespace of it."""

    namespace: str
    env: Mapping[str, str]
    progress: Progress

    def run(self, *args: str, given: str | None = None, check: bool = True) -> str:
        """Standard output of a kubectl command in the namespace.

        Raises:
            DemoError: it failed and `check` is set.
        """
        return self.command("kubectl", "-n", self.namespace, *args, given=given, check=check)

    def command(self, *args: str, given: str | None = None, check: bool = True) -> str:
        """Standard output of any command with the cluster's environment."""
        done = subprocess.run(args, input=given, env=dict(self.env), capture_output=True, text=True, check=False)
        if done.returncode and check:
            raise DemoError(
                f"`{' '.join(args[:6])}` failed: {done.stderr.strip()[-800:]}",
                "see whether the cluster answers: `python3 cluster status` (or your own cluster's), then run again",
            )
        return done.stdout

    def apply(self, manifest: str, values: Mapping[str, str]) -> None:
        """Render one of demo/manifests and apply it."""
        self.run("apply", "-f", "-", given=render(manifest, values))

    def get(self, kind: str, name: str) -> Json | None:
        """An object, or None."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def wait(
        self, kind: str, name: str, done: Callable[[Json], str | None], minutes: float, tells: Callable[[Json], str]
    ) -> Json:
        """Poll an object until `done` names a result.

        Args:
            kind: as kubectl takes it.
            name: of the object.
            done: None: go on; empty: reached; any other text: why it will never be reached.
            minutes: longest wait.
            tells: what to say of it while waiting.
        """
        until = time.monotonic() + 60 * minutes
        said_at, said = time.monotonic(), ""
        while True:
            seen = self.get(kind, name)
            verdict = done(seen) if seen else None
            if seen and verdict == "":
                return seen
            if verdict or time.monotonic() > until:
                why = verdict or f"nothing came of it in {minutes:g} minutes"
                raise DemoError(
                    f"{kind} {name}: {why}",
                    f"kubectl -n {self.namespace} describe {kind} {name}; then run `make demo` again: it starts anew",
                    self.anatomy(kind, name),
                )
            line = tells(seen) if seen else f"{kind} {name} is not there yet"
            if line != said and time.monotonic() - said_at >= SAY_EVERY_SECONDS:
                said_at, said = time.monotonic(), line
                self.progress.say(f"   {line}")
            time.sleep(POLL_SECONDS)

    def wait_ready(self, kind: str, name: str, condition: str, minutes: float) -> Json:
        """Wait for a condition to be True; phases Failed, Skipped and Invalid end the wait."""

        def done(seen: Json) -> str | None:
            status = seen.get("status", {})
            if condition_of(seen, condition).get("status") == "True":
                return ""
            if status.get("phase") in ("Failed", "Skipped", "Invalid"):
                found = condition_of(seen, condition)
                return f"{status['phase']}: {found.get('reason', '')}: {found.get('message', '')}"
            return None

        return self.wait(kind, name, done, minutes, lambda seen: f"{name}: {state_of(seen, condition)}")

    def wait_job(self, name: str, minutes: float, also: Callable[[], str] = lambda: "") -> Json:
        """Wait for a Job and return its termination message; says the last line of its log while it runs."""

        def done(seen: Json) -> str | None:
            conditions = {c["type"]: c for c in seen.get("status", {}).get("conditions", [])}
            if "Failed" in conditions:
                return f"{conditions['Failed'].get('reason', 'failed')}: {self.termination(name)[:600]}"
            return "" if "Complete" in conditions else None

        def tells(_: Json) -> str:
            lines = self.run("logs", f"job/{name}", "--tail=1", check=False).strip()
            extra = also()
            return f"{lines or 'starting'}{f' | {extra}' if extra else ''}"

        self.wait("job", name, done, minutes, tells)
        message = self.termination(name)
        try:
            return dict(json.loads(message))
        except ValueError:
            return {"message": message}

    def termination(self, job: str) -> str:
        """Termination message of a Job's newest pod; empty where there is none."""
        text = self.run("get", "pods", "-l", f"job-name={job}", "-o", "json", check=False)
        pods = json.loads(text)["items"] if text.strip() else []
        pods.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        for pod in reversed(pods):
            for container in pod.get("status", {}).get("containerStatuses", []):
                if ended := container.get("state", {}).get("terminated"):
                    return str(ended.get("message", ended.get("reason", "")))
        return ""

    def anatomy(self, kind: str, name: str) -> str:
        """Conditions, Events and the ends of the logs around an object, for a failure."""
        parts = []
        seen = self.get(kind, name)
        for condition in (seen or {}).get("status", {}).get("conditions", []):
            found = {"reason": "", "message": ""} | condition
            parts.append(f"condition {found['type']}={found['status']} {found['reason']}: {found['message']}")
        events = self.run("get", "events", "--sort-by=.lastTimestamp", "--field-selector=type=Warning", check=False)
        if events.strip():
            parts.append("last warnings:\n" + "\n".join(events.splitlines()[-8:]))
        pods = [
            line.split()[0]
            for line in self.run("get", "pods", "--no-headers", check=False).splitlines()
            if name in line
        ]
        for pod in pods[-3:]:
            log = self.run("logs", pod, "--tail=12", "--all-containers", check=False).strip()
            parts.append(f"log of pod {pod}:\n{log}")
        return "\n".join(parts)


def render(manifest: str, values: Mapping[str, str]) -> str:
    """Text of one of demo/manifests with its values.

    Raises:
        KeyError: the manifest names a value that is not given.
    """
    return Template((MANIFESTS / manifest).read_text(encoding="utf-8")).substitute(values)


def condition_of(seen: Json, name: str) -> Json:
    """A condition of an object, empty where it has none of that name."""
    return next((c for c in seen.get("status", {}).get("conditions", []) if c["type"] == name), {})


def state_of(seen: Json, condition: str) -> str:
    """Phase, happy condition and progress in a few words."""
    status, found = seen.get("status", {}), condition_of(seen, condition)
    progress = status.get("progress") or {}
    parts = [str(status.get("phase", "no status yet")), str(found.get("reason", ""))]
    if progress.get("totalSteps"):
        parts.append(
            f"step {progress.get('step', 0)} of {progress['totalSteps']}, loss {progress.get('loss', 0):.3f}, "
            f"{progress.get('etaSeconds', 0)} s left"
        )
    if found.get("message"):
        parts.append(str(found["message"])[:160])
    return ", ".join(part for part in parts if part)
