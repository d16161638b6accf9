"""The real process, as the container runs it, and how it is asked."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tiny_llama import Served

QUESTION = {
    "market_data": {"symbol": "BTC", "price": 65000.5, "note": "跌破"},
    "account_state": {"balance": 1000},
    "recent_history": [{"action": "hold"}],
    "symbols": ["BTC"],
    "limits": {"max_leverage": 2, "max_size_usd": 100},
}
MODULE = ("-m", "tradewind.predictor")


def command(
    served: Served,
    tmp: Path,
    *extra: str,
    sha256: str | None = None,
    adapter: Path | None = None,
    program: Sequence[str] = MODULE,
) -> list[str]:
    return [
        sys.executable, *program, "--model-name", "v1", "--base", str(served.base), "--adapter",
        str(adapter or served.adapter), "--sha256", sha256 or served.sha256, "--termination-log", str(tmp / "log"), *extra,
    ]  # fmt: skip


@dataclass(frozen=True)
class Running:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def read(self, path: str, body: Any = None) -> tuple[int, bytes, Message]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def call(self, path: str, body: Any = None) -> tuple[int, Any, Message]:
        status, content, headers = self.read(path, body)
        return status, json.loads(content), headers

    def predict(self, *instances: Any) -> tuple[int, Any, Message]:
        return self.call("/v1/models/v1:predict", {"instances": list(instances)})

    def metric(self, line: str) -> float:
        """A sample of /metrics by its name and labels as they are written; 0 where there is none."""
        for each in self.read("/metrics")[1].decode().splitlines():
            if each.startswith(f"{line} "):
                return float(each.rsplit(" ", 1)[1])
        return 0.0


@contextmanager
def started(served: Served, tmp: Path, *extra: str, **changed: Any) -> Iterator[Running]:
    """A server that is ready; killed at the end where it still runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = (tmp / "output").open("wb")
    process = subprocess.Popen(
        command(served, tmp, "--port", str(port), *extra, **changed), stdout=output, stderr=output, cwd=tmp,
        env=os.environ | {"TRADEWIND_THREADS": "1"},
    )  # fmt: skip
    server = Running(f"http://127.0.0.1:{port}", process, tmp / "log")
    try:
        deadline = time.monotonic() + 150
        while True:
            try:
                if server.call("/v2/health/ready")[0] == 200:
                    break
            except OSError:
                pass
            assert process.poll() is None, (tmp / "output").read_text()
            assert time.monotonic() < deadline, (tmp / "output").read_text()
            time.sleep(0.1)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(20)
        output.close()
