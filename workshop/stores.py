"""A real S3 server (versitygw) for tests, started on a loopback port over a folder.

with running(tmp_path) as server:
    server.make_bucket("models")

The program is compiled once from `cluster/store`, whose go.sum says what it is made of, and lies in the cache beside the cluster's.
"""

import fcntl
import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cluster.build import environment, source_hash
from cluster.layout import cache_root
from workshop.progress import StepError
from workshop.waiting import wait_for

ACCESS_KEY, SECRET_KEY = "AKIDTESTS", "s3cret-of-the-store"  # of a server that ends with its test
REGION = "us-east-1"
_SOURCE = Path(__file__).resolve().parent.parent / "cluster" / "store"
_PACKAGE = "github.com/versity/versitygw/cmd/versitygw"


def program() -> Path:
    """The server's program, compiled where that was not done for these sums. Errors: StepError."""
    cache = cache_root()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"versitygw-{source_hash(_SOURCE)}"
    with (cache / "versitygw.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            draft = target.with_name(f"{target.name}.new")
            command = ["go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", str(draft), _PACKAGE]
            try:
                built = subprocess.run(
                    command, cwd=_SOURCE, env=environment(), capture_output=True, text=True, check=False
                )
            except FileNotFoundError:
                raise StepError("go is not on PATH", "install Go: the cluster's programs need it, too") from None
            if built.returncode:
                raise StepError(built.stderr[-2000:], "check that `go mod download` works in cluster/store (GOPROXY)")
            draft.replace(target)
    return target


@dataclass
class StoreServer:
    """A server over `folder`: a bucket is a folder in it, an object a file."""

    folder: Path
    port: int
    log: Path
    region: str = REGION
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> Path:
        """A bucket, as the folder that its objects lie in."""
        made = self.folder / name
        made.mkdir()
        return made

    def start(self) -> None:
        """Serve, and wait until it answers. Errors: StepError."""
        arguments = ["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port", f"127.0.0.1:{self.port}"]
        arguments += ["--region", self.region, "--health", "/health", *self.options, "posix"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(program()), *arguments, str(self.folder)], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}
            )
        wait_for("the store", lambda: self._answers() or None, seconds=60, every=0.05, log=self.log)

    def stop(self) -> None:
        """End it; what is stored stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False


@contextmanager
def running(folder: Path, *, region: str = REGION, options: tuple[str, ...] = ()) -> Iterator[StoreServer]:
    """A server of the block's own, over `folder/objects`."""
    objects = folder / "objects"
    objects.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = StoreServer(objects, port, folder / "store.log", region, options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    print(program())
