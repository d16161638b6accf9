"""A TCP proxy in front of PostgreSQL: the network between one replica and its database, which may be partitioned."""

import asyncio
import contextlib
import random
from typing import Literal, Self

Mode = Literal["pass", "refuse", "hang", "cut"]


class Proxy:
    """One listener on loopback for one replica.

    Modes: `pass`; `refuse` (every connection is broken, new ones at once); `hang` (connections stay, and nothing comes through until
    it is over: what was sent arrives then, as after a partition of a network); `cut` (some answers break off half-way: the statement
    was carried out and nobody heard of it).
    """

    def __init__(self, port: int, seed: int) -> None:
        self._target = port
        self._random = random.Random(seed)
        self._mode: Mode = "pass"
        self._through = asyncio.Event()
        self._through.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.mode = "pass"
        self._server.close()
        self._break()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "hang":
            self._through.clear()
        else:
            self._through.set()
        if mode == "refuse":
            self._break()

    def _break(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if self._mode == "refuse":
                return
            await self._through.wait()
            away, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            pumps = [
                asyncio.create_task(self._pump(reader, there, cuts=False)),
                asyncio.create_task(self._pump(away, writer, cuts=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cuts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._through.wait()
                if cuts and self._mode == "cut" and self._random.random() < 0.25:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()
