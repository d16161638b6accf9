"""Connections that are bounded: a client that does not finish what it began is closed, and there are only so many.

Belongs here: the times of a request's head and body, and the number of connections. Does not belong here: what a request says
(app.py), how many are worked on (admission.py). uvicorn has a time for idle connections alone: half a request is none of those.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def _said(status: str, code: str, message: str, more: str = "") -> bytes:
    body = f'{{"error":{{"code":"{code}","message":"{message}","remedy":"send the whole request again"}}}}'
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{more}connection: close\r\n"
    return f"{head}\r\n{body}".encode()


_LATE = _said("408 Request Timeout", "request_timeout", "the request did not come in time")
_FULL = _said("503 Service Unavailable", "overloaded", "too many connections", "retry-after: 1\r\n")


def bounded(seconds: float, most: int) -> type[HttpToolsProtocol]:
    """The HTTP protocol of a server.

    Args:
        seconds: for the head of a request, from its first byte (of a new connection: from the start), and again for its body.
        most: connections at a time; one more is answered 503 and closed.
    """

    class Bounded(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(_FULL)
                transport.close()
            else:
                self._expect_more()

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_no_more()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self._late is None and self.timeout_keep_alive_task is None:
                self._expect_more()  # bytes that begin no request: without this nobody would wait for its end

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect_more()

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self._expect_more()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._expect_no_more()

        def _expect_more(self) -> None:
            self._expect_no_more()
            self._late = self.loop.call_later(seconds, self._close_late)

        def _expect_no_more(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close_late(self) -> None:
            self._late = None
            if self.transport.is_closing():
                return
            if self.pipeline:  # it is we who do not read: the request before it is in work
                self._expect_more()
                return
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                self.transport.write(_LATE)
            self.transport.close()

    return Bounded
