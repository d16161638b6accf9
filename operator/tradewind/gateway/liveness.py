"""`/healthz` apart from the work: a thread with a port of its own says whether the event loop still turns.

Belongs here: the heartbeat and its listener. Does not belong here: whether decisions can be answered (`Gateway.ready`).

A gateway that has more to do than it can is alive: its answer must not stand in line behind the work, or the kubelet kills what is
busy, and the next pod has more to do. One whose event loop has not turned for long is stuck, and a new start is what helps.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

STUCK_SECONDS: Final = 30.0
"""No turn of the event loop takes that long, however busy it is."""
_CLIENT_SECONDS: Final = 2.0


class Heartbeat:
    """When the event loop was last seen to turn; a process that starts has as long until it does first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()

    def beat(self) -> None:
        """The event loop turns."""
        self._at = self._clock()

    @property
    def silent(self) -> float:
        """Seconds since then."""
        return self._clock() - self._at


@contextlib.contextmanager
def answering(heartbeat: Heartbeat, host: str, port: int) -> Iterator[int]:
    """Answers `GET /healthz` on that port, in threads; the port (that of 0 is a free one)."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS  # of a client that says nothing

        def do_GET(self) -> None:
            """200 while the event loop turns, else 503."""
            silent = heartbeat.silent
            if self.path != "/healthz":
                self._say(404, "only /healthz\n")
            elif silent < STUCK_SECONDS:
                self._say(200, "ok\n")
            else:
                self._say(503, f"the event loop has not turned for {silent:.0f} s\n")

        do_HEAD = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
            """A probe every few seconds is no news."""

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Server((host, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="liveness", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
