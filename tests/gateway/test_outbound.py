"""Both HTTP clients of an arm, inside and outside of the cluster, against a server that misbehaves on its sockets."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tradewind.gateway.answers import ArmError
from tradewind.gateway.outbound import MAX_ANSWER_BYTES, BrokenOffError, Client, NotSentError, StatusError, client_for
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.routing import ArmTarget

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[str]:
    """A server whose connections are handled so; its address."""

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(handled, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def question(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


def answers(text: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(text)
        await writer.drain()

    return talk


@pytest.fixture(params=[False, True], ids=["inside", "outside"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    made = client_for(ArmTarget.model_validate({"protocol": "kserve", "baseURL": "http://arm", "model": "m", "outside": request.param, "networks": ["127.0.0.0/8"]}))  # fmt: skip
    yield made
    await made.aclose()


async def test_what_is_sent_is_what_was_given(client: Client) -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await question(reader))
        writer.write(OK)
        await writer.drain()

    async with serving(talk) as url:
        assert (
            await client.post(f"{url}/v1/models/m:predict", '{"ü": 1}'.encode(), {"Authorization": "Bearer k"}) == b"{}"
        )
    head, _, body = heard[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /v1/models/m:predict http/1.1"
    assert b"authorization: bearer k" in lines
    assert b"content-type: application/json" in lines
    assert body == '{"ü": 1}'.encode()


async def test_a_refused_connection_has_sent_nothing(client: Client) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotSentError):
        await client.post(f"http://127.0.0.1:{port}/", b"{}", {})


@pytest.mark.parametrize(
    "text",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", b"SSH-2.0\r\n\r\n"],
    ids=["nothing", "half a body", "half a chunked body", "no HTTP"],
)  # fmt: skip
async def test_an_answer_that_is_not_whole_was_broken_off(client: Client, text: bytes) -> None:
    async with serving(answers(text)) as url:
        with pytest.raises(BrokenOffError):
            await client.post(url, b"{}", {})


@pytest.mark.parametrize("status", [b"302 Found\r\nlocation: http://127.0.0.1:1/", b"500 No", b"429 Wait"])
async def test_any_other_status_is_told_with_headers_and_words(client: Client, status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nRetry-After: 7\r\n"
    async with serving(answers(head + b"content-length: 6\r\n\r\nreason")) as url:
        with pytest.raises(StatusError) as caught:
            await client.post(url, b"{}", {})
    told = caught.value
    assert (told.status, told.body, told.headers["retry-after"]) == (int(status[:3]), b"reason", "7")


async def test_the_words_of_another_status_are_bounded(client: Client) -> None:
    body = b"x" * 3_000_000
    async with serving(answers(b"HTTP/1.1 500 No\r\ncontent-length: %d\r\n\r\n" % len(body) + body)) as url:
        with pytest.raises(StatusError) as caught:
            await client.post(url, b"{}", {})
    assert len(caught.value.body) < MAX_ANSWER_BYTES


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_that_is_too_large_is_not_read_to_its_end(client: Client, packed: bool) -> None:
    body = b" " * (MAX_ANSWER_BYTES + 1)
    coding, body = (b"content-encoding: gzip\r\n", gzip.compress(body)) if packed else (b"", body)
    async with serving(
        answers(b"HTTP/1.1 200 OK\r\n" + coding + b"content-length: %d\r\n\r\n" % len(body) + body)
    ) as url:
        with pytest.raises(ArmError) as caught:
            await client.post(url, b"{}", {})
    assert caught.value.kind is ErrorKind.INVALID_JSON


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(client: Client) -> None:
    async with serving(answers(OK)) as url:
        for _ in range(3):
            assert await client.post(url, b"{}", {}) == b"{}"
            await asyncio.sleep(0.05)


async def test_one_that_it_keeps_is_used_again(client: Client) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            await question(reader)
            writer.write(OK)
            await writer.drain()

    async with serving(talk) as url:
        for _ in range(3):
            await client.post(url, b"{}", {})
    assert connections == 1
