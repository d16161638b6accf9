"""Programs that are watched while they run: their processor time and memory, and of the operator its queue and metrics.

Belongs here: starting the operator as the chart does, and looking at a process. Does not belong here: what is made of it
(benchmarks/scale.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from workshop.apiserver import ApiServer, free_ports
from workshop.fleet import INSTALLATION
from workshop.progress import say

ROOT = Path(__file__).resolve().parents[1]
OPERATOR = "operator"
"""As whom it asks the API server."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PROFILED = """
import cProfile, sys, time
from tradewind.main import cli
profile = cProfile.Profile(time.thread_time)
profile.enable()
try:
    cli(sys.argv[2:])
finally:
    profile.dump_stats(sys.argv[1])
"""


@dataclass
class Sample:
    """What is seen of a process at one moment: seconds of processor time, MiB of memory."""

    at: float
    cpu: float
    memory: float
    depth: int = 0


@dataclass
class Process:
    """A program that is watched."""

    popen: subprocess.Popen[bytes]
    samples: list[Sample] = field(default_factory=list)

    def look(self, depth: int = 0) -> Sample:
        """Takes a sample. Errors: SystemExit if the program has ended."""
        if self.popen.poll() is not None:
            raise SystemExit(f"{self.popen.args!r} ended with {self.popen.returncode}: see its log")
        stat = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        memory = int(status.partition("VmRSS:")[2].split()[0]) / 1024
        self.samples.append(Sample(time.monotonic(), (int(stat[11]) + int(stat[12])) / _TICKS, memory, depth))
        return self.samples[-1]

    def end(self) -> None:
        """In order."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(10)


class Operator(Process):
    """The operator's process with its ports."""

    health: int = 0
    metrics: int = 0
    session: aiohttp.ClientSession

    async def depth(self) -> int | None:
        """Keys in line; None: it does not say, or has not listed everything yet."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.health}/healthz") as answer:
                told = await answer.json()
        except (OSError, aiohttp.ClientError, TimeoutError):
            return None
        return int(told["depth"]) if told["listed"] else None

    async def numbers(self) -> dict[str, float]:
        """Its metrics, summed over labels; of a result and of a bucket also apart, as `name:label`."""
        async with self.session.get(f"http://127.0.0.1:{self.metrics}/metrics") as answer:
            text = await answer.text()
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] += sample.value  # type: ignore[assignment]
                for label in ("result", "le"):
                    if label in sample.labels:
                        found[f"{sample.name}:{sample.labels[label]}"] += sample.value  # type: ignore[assignment]
        return dict(found)

    async def drained(self, seconds: float) -> float:
        """Seconds until nothing is in line. Errors: SystemExit."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            depth = await self.depth()
            self.look(depth or 0)
            if depth == 0:
                return time.monotonic() - began
            await asyncio.sleep(0.2)
        raise SystemExit(f"the queue was not empty within {seconds:g} s")


@asynccontextmanager
async def operator(
    api: ApiServer, dsn: str, folder: Path, profile: Path | None, log: Path | None
) -> AsyncIterator[Operator]:
    """The operator as the chart starts it."""
    health, metrics, progress = free_ports(3)
    key = folder / "routing.pem"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")},
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "operator"), os.environ.get("PYTHONPATH")])),
        "PYTHONMALLOC": "malloc",  # as its image has it
        "KUBECONFIG": str(api.kubeconfig(OPERATOR)),
        "TRADEWIND_NAMESPACE": "tradewind",
        "TRADEWIND_INSTALLATION": INSTALLATION,
        "TRADEWIND_DSN": dsn,
        "TRADEWIND_ROUTING_KEY_FILE": str(key),
        "TRADEWIND_HEALTH_PORT": str(health),
        "TRADEWIND_METRICS_PORT": str(metrics),
        "TRADEWIND_PROGRESS_PORT": str(progress),
        "TRADEWIND_LOG_LEVEL": "warning",
        **{f"TRADEWIND_IMAGE_{name}": f"{name.lower()}:1" for name in ("GATEWAY", "PREDICTOR", "TRAINER")},
    }
    how = ["-m", "tradewind.main"] if profile is None else ["-c", _PROFILED, str(profile)]
    kept = log or folder / "operator.log"
    command = [sys.executable, *how, "operator"]
    process = await asyncio.to_thread(_started, command, kept, environment, folder)
    process.health, process.metrics = health, metrics
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        process.session = session
        try:
            began = time.monotonic()
            while await process.depth() is None:
                process.look()
                if time.monotonic() - began > 180:
                    raise SystemExit(f"the operator does not start: {kept.read_text()[-2000:]}")
                await asyncio.sleep(0.1)
            yield process
        except BaseException:
            say(kept.read_text()[-3000:])
            raise
        finally:
            process.end()


def _started(command: list[str], log: Path, environment: dict[str, str], folder: Path) -> Operator:
    key = Path(environment["TRADEWIND_ROUTING_KEY_FILE"])
    if not key.exists():
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True
        )
    with log.open("ab") as output:
        return Operator(subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder))
