"""Callers of a gateway that take little of the processor themselves, for benchmarks on a machine that both share."""

import asyncio
import json
import statistics
import time

_IDLE_SECONDS = 2.0


async def message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one HTTP message."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
    return head, await reader.readexactly(int(length.partition(b":")[2]))


class Caller:
    """Asks one gateway over connections that are kept open, with less of the processor than an HTTP library takes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: dict[str, object]) -> float:
        """Milliseconds until the answer."""
        started = time.perf_counter()
        reader, writer = await self._connection(started)
        text = json.dumps(body).encode()
        head = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(text) + text)
        status, answer = await message(reader)
        took = (time.perf_counter() - started) * 1000
        if not status.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        self._idle.append((time.perf_counter(), reader, writer))
        return took

    async def _connection(self, now: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that was used lately, or a new one: a gateway closes what is idle for five seconds."""
        while self._idle:
            used_at, reader, writer = self._idle.pop()
            if now - used_at < _IDLE_SECONDS:
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


async def paced(caller: Caller, body: dict[str, object], prefix: str, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each answer, asked at a fixed rate, kept up or not. Each question has a scope of its own: in one they wait in turn.

    Args:
        body: of each question, beside its id and its scope.
        rate: questions a second.
    """
    times: list[float] = []

    async def one(number: int) -> None:
        scope = {"symbol": "BTC", "book": str(number % 500)}
        times.append(await caller.ask(body | {"decision_id": f"{prefix}-{number}", "scope": scope}))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(one(number))
    return times


def p99(times: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(times, n=100)[98]
