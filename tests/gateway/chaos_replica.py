"""One real gateway process with all that may befall it: its network to the database, its disk, its clock, its life."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
from chaos_proxy import Proxy
from psycopg import conninfo

HERE = Path(__file__).parent
SETTINGS = {
    "TRADEWIND_NAMESPACE": "ns", "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1",
    "TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_DECISION_TIMEOUT_SECONDS": "2", "TRADEWIND_DATABASE_TIMEOUT_SECONDS": "2",
    "TRADEWIND_ABANDONED_AFTER_SECONDS": "5", "TRADEWIND_POOL_SIZE": "8", "TRADEWIND_BREAKER_OPEN_SECONDS": "1",
}  # fmt: skip
SPOOL_MEGABYTES = 8
LEASE_SECONDS = 7.0
"""A decision's time and 5 s: so long a gateway that asks is trusted to live."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def arms(port: int, seed: int, slow: float = 0) -> subprocess.Popen[bytes]:
    """The arms as a process on a port."""
    return subprocess.Popen([sys.executable, str(HERE / "chaos_arms.py"), str(port), str(seed), str(slow)])


def mount(folder: Path, megabytes: int) -> bool:
    """Makes the folder a disk of that size; False where this process may not."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tradewind-chaos", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def fill(folder: Path) -> Path:
    """Takes all the room of a disk; delete the file to give it back."""
    filler = folder / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):  # no space left: others write meanwhile, too
        while room := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize:
            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)
    return filler


class Replica:
    """`python -m tradewind.gateway` on a database behind `proxy`; `dsn` is a tenant's."""

    def __init__(self, name: str, folder: Path, dsn: str, proxy: Proxy, **settings: str) -> None:
        self.name, self.folder, self.proxy = name, folder, proxy
        self.spool, self.routing, self.clock = folder / "spool", folder / "routing.json", folder / "clock"
        self.log = folder / "log"
        self.down = False
        """It was taken away on purpose and is not to be asked."""
        folder.mkdir(parents=True)
        self.has_disk = mount(self.spool, SPOOL_MEGABYTES)
        dsn = conninfo.make_conninfo(dsn, port=proxy.port)
        self._settings = SETTINGS | {
            "TRADEWIND_DSN": dsn, "TRADEWIND_ROUTING": f"file:{self.routing}", "TRADEWIND_REPLICA": name,
            "TRADEWIND_SPOOL_DIR": str(self.spool),
        } | settings  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        port = free_port()
        with self.log.open("ab") as log:
            command = [sys.executable, str(HERE / "moved_clock.py"), str(self.clock)]
            environment = {**os.environ, **self._settings, "TRADEWIND_PORT": str(port)}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{port}"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self, *, thaw: bool = False) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT if thaw else signal.SIGSTOP)

    async def metric(self, session: aiohttp.ClientSession, name: str) -> float | None:
        """A number of its `/metrics`; None: it does not say."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{self.url}/metrics") as response:
                for line in (await response.text()).splitlines():
                    if line.startswith(f"{name} "):
                        return float(line.rpartition(" ")[2])
        return None

    async def ready(self, session: aiohttp.ClientSession, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while await self.metric(session, "tradewind_database_up") != 1 or not await self._obeys(session):
                assert self.process is not None
                assert self.process.poll() is None, self.log.read_text()[-4000:]
                await asyncio.sleep(0.1)

    async def _obeys(self, session: aiohttp.ClientSession) -> bool:
        return bool(await self.metric(session, "tradewind_routing_generation"))

    def spooled(self) -> frozenset[str]:
        """Ids of the decisions that lie in its spool; half a line is no decision, since nobody was told of it."""
        found: set[str] = set()
        for file in self.spool.glob("decisions*.jsonl"):
            for line in file.read_bytes().splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    found.add(json.loads(line)["decision_id"])
        return frozenset(found)

    def empty_spool(self) -> None:
        for file in self.spool.iterdir():
            file.unlink()

    def remove(self) -> None:
        self.kill()
        if self.has_disk:
            unmount(self.spool)
        shutil.rmtree(self.folder, ignore_errors=True)
