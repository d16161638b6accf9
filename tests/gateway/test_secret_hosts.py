"""A key goes where its Secret and the installation let it, and nowhere else: told by what listeners received, which is nothing."""

import asyncio
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from gateway_rig import Rig, ask, until

from tradewind.gateway.answers import ArmError
from tradewind.gateway.outbound import NotSentError, StatusError, client_for
from tradewind.trading.arm_health import ArmHealth, ArmReason
from tradewind.trading.error_kinds import REMEDIES, ErrorCause, ErrorKind
from tradewind.trading.routing import ArmTarget

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
DSN = "postgresql://trader:password-of-the-database@db:5432/tradewind"


# --- the Secret says where its key may go -----------------------------------------------------------------------------


async def target(rig: Rig, **changes: Any) -> None:
    arms = rig.document["arms"]
    rig.publish(fallback="api", arms=arms | {"api": arms["api"] | {"maxRetries": 2} | changes})
    await rig.seen()


async def refused(rig: Rig, gateway: Any, cause: ErrorCause, decision: str = "d") -> str:
    """Asks once: the arm heard nothing, and the caller is told the cause with its remedy. The words of it."""
    answer = await gateway.post("/v1/decisions", json=ask(decision))
    row = await rig.row(decision)
    assert (answer.status_code, row["error_kind"], row["error_cause"]) == (503, "unavailable", str(cause))
    assert REMEDIES[cause] in answer.json()["error"]["remedy"]
    assert rig.arms["api"].seen == []
    assert "sk-very-secret" not in answer.text
    return str(row["error_detail"])


async def test_a_secret_that_was_never_meant_to_leave_stays(rig: Rig, gateway: Any) -> None:
    """A database's connection string, named as if it were an API key."""
    folder = rig.folder / "tradewind-database"
    folder.mkdir()
    (folder / "dsn").write_text(DSN)
    await target(rig, credentialFile=str(folder / "dsn"))
    told = await refused(rig, gateway, ErrorCause.SECRET_HOST)
    assert "does not name 127.0.0.1:" in told
    assert "password" not in json.dumps(await rig.rows(), default=str)


@pytest.mark.parametrize(
    "hosts", ["", "api.deepseek.com", "*", "127.0.0.0/8", "127.0.0.1", "127.0.0.1:1", "https://127.0.0.1"]
)
async def test_a_key_stays_where_its_secret_names_another_host(rig: Rig, gateway: Any, hosts: str) -> None:
    (rig.folder / "allowedHosts").write_text(hosts)  # the arm listens at a port of its own
    await target(rig)
    await refused(rig, gateway, ErrorCause.SECRET_HOST)


async def test_the_list_of_hosts_is_not_sent_as_a_key(rig: Rig, gateway: Any) -> None:
    host = rig.document["arms"]["api"]["baseURL"].split("/")[2]
    (rig.folder / "allowedHosts").write_text(host)  # one line, which could be a key
    await target(rig, credentialFile=str(rig.folder / "allowedHosts"))
    await refused(rig, gateway, ErrorCause.SECRET_HOST)


async def test_a_host_that_is_taken_back_is_not_asked_any_more(rig: Rig, gateway: Any) -> None:
    await target(rig)
    assert (await gateway.post("/v1/decisions", json=ask("before"))).status_code == 200
    rig.arms["api"].seen.clear()
    (rig.folder / "allowedHosts").write_text("api.deepseek.com")
    await refused(rig, gateway, ErrorCause.SECRET_HOST, "after")


async def test_a_key_does_not_go_over_http_unless_the_installation_lets_it(rig: Rig, gateway: Any) -> None:
    await target(rig, plainHttp=False)
    assert "over http" in await refused(rig, gateway, ErrorCause.PLAINTEXT)


async def test_an_arm_that_the_operator_refuses_is_not_asked(rig: Rig, gateway: Any) -> None:
    await target(rig, refusal={"cause": "host", "message": "169.254.169.254 is a link-local address"})
    assert "link-local" in await refused(rig, gateway, ErrorCause.HOST)


async def test_an_arm_that_a_newer_operator_refuses_is_not_asked_either(rig: Rig, gateway: Any) -> None:
    await target(rig, refusal={"cause": "a-word-of-tomorrow", "message": "no"})
    await refused(rig, gateway, ErrorCause.HOST)


async def test_conditions_say_it_and_the_secret_that_is_put_right_is_tried_at_once(rig: Rig, gateway: Any) -> None:
    hosts = rig.folder / "allowedHosts"
    text = hosts.read_text()
    hosts.unlink()
    await target(rig, probeSeconds=0)

    async def known() -> ArmHealth | None:
        rows = await rig.rows("SELECT arms FROM tradewind.gateway_replicas")
        found = [arm for row in rows for arm in row["arms"] or () if arm["version"] == "api"]
        return ArmHealth.model_validate(found[0]) if found else None

    async with asyncio.timeout(15):
        while (health := await known()) is None or health.healthy is None:  # noqa: ASYNC110 - a row of the database
            await asyncio.sleep(0.05)
    assert health.reason is ArmReason.SECRET_NOT_FOR_HOST
    assert "allowedHosts of the Secret" in health.message
    assert rig.arms["api"].seen == []
    hosts.write_text(text)
    await until(lambda: rig.arms["api"].seen)


# --- what a name resolves to ------------------------------------------------------------------------------------------


@dataclass
class Listener:
    """A server on loopback that counts connections and answers all alike."""

    answer: bytes = OK
    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(answer: bytes = OK) -> AsyncIterator[Listener]:
    listener = Listener(answer)
    async with await asyncio.start_server(listener.talk, "127.0.0.1", 0) as server:
        listener.port = server.sockets[0].getsockname()[1]
        yield listener


Resolves = Callable[..., list[str]]


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Resolves:
    """Names resolve to these addresses, in turn where there are several answers; the list grows by each look-up."""
    real = socket.getaddrinfo

    def resolve(name: str, *answers: Sequence[str]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
            if host != name:
                return real(host, port, *args, **more)
            asked.append(str(host))
            found = [ipaddress.ip_address(a) for a in answers[min(len(asked), len(answers)) - 1]]
            return [
                (socket.AF_INET if a.version == 4 else socket.AF_INET6, socket.SOCK_STREAM, 6, "", (str(a), port))
                for a in found
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return resolve


def api(url: str, *networks: str) -> ArmTarget:
    spec = {"protocol": "openai", "baseURL": url, "model": "m", "networks": networks, "timeoutSeconds": 2}
    return ArmTarget.model_validate(spec)


async def post(url: str, *networks: str) -> bytes:
    client = client_for(api(url, *networks))
    try:
        return await client.post(f"{url}/chat/completions", b"{}", {"Authorization": "Bearer k"})
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    "answer", [("127.0.0.1",), ("::ffff:127.0.0.1",), ("47.254.1.2", "127.0.0.1"), ("127.0.0.1", "47.254.1.2")]
)
async def test_a_name_that_leads_inside_is_not_connected_to(resolves: Resolves, answer: tuple[str, ...]) -> None:
    async with listening() as listener:
        resolves("api.evil.example", answer)
        with pytest.raises(ArmError) as caught:
            await post(f"http://api.evil.example:{listener.port}")
    assert listener.connections == 0
    assert (caught.value.kind, caught.value.cause) == (ErrorKind.UNAVAILABLE, ErrorCause.HOST)
    assert "resolves to a loopback address" in caught.value.detail
    assert "127.0.0.1" not in caught.value.detail, "whoever may write an arm must not read the cluster's names by it"


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("100.100.100.200", "metadata"),
        ("10.96.0.10", "private"),
        ("fd12::1", "private"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("0.0.0.0", "loopback"),
    ],
)
async def test_no_name_leads_to_machines_inside(resolves: Resolves, address: str, what: str) -> None:
    resolves("api.evil.example", (address,))
    with pytest.raises(ArmError, match=what):
        await post("https://api.evil.example")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
)
async def test_a_loopback_address_is_none_in_any_spelling(host: str) -> None:
    async with listening() as listener:
        with pytest.raises(ArmError) as caught:
            await post(f"http://{host}:{listener.port}")
    assert (listener.connections, caught.value.cause) == (0, ErrorCause.HOST)


async def test_the_api_server_is_refused_by_its_address(resolves: Resolves, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it has a public one, or its network is allowed."""
    for address in ("47.254.1.2", "10.96.0.1"):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", address)
        resolves("standin.demo.svc", (address,))
        with pytest.raises(ArmError, match="the API server"):
            await post("https://standin.demo.svc", "10.0.0.0/8")


async def test_what_is_judged_is_what_is_connected_to(resolves: Resolves) -> None:
    """A name server that answers otherwise the second time is not asked a second time."""
    async with listening() as listener:
        asked = resolves("api.allowed.example", ("127.0.0.1",), ("127.0.0.2",))
        assert await post(f"http://api.allowed.example:{listener.port}", "127.0.0.1/32") == b"{}"
    assert (listener.connections, len(asked)) == (1, 1)
    assert b"host: api.allowed.example:" in listener.heads[0].lower()


async def test_the_next_address_is_tried_where_one_does_not_answer(resolves: Resolves) -> None:
    async with listening() as listener:
        resolves("api.allowed.example", ("127.0.0.9", "127.0.0.1"))
        assert await post(f"http://api.allowed.example:{listener.port}", "127.0.0.0/8") == b"{}"
    assert listener.connections == 1


async def test_a_name_that_does_not_resolve_is_told_as_before() -> None:
    with pytest.raises(NotSentError) as caught:
        await post("http://no-such-host.invalid")
    assert caught.value.cause is ErrorCause.DNS


async def test_a_redirect_is_not_followed(resolves: Resolves) -> None:
    async with listening() as other:
        head = f"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{other.port}/v1\r\ncontent-length: 0\r\n\r\n"
        async with listening(head.encode()) as listener:
            with pytest.raises(StatusError) as caught:
                await post(f"http://127.0.0.1:{listener.port}", "127.0.0.0/8")
    assert (caught.value.status, listener.connections, other.connections) == (307, 1, 0)


async def test_an_own_predictor_is_asked_wherever_the_cluster_has_it() -> None:
    async with listening() as listener:
        inside = api(f"http://127.0.0.1:{listener.port}").model_copy(update={"outside": False})
        client = client_for(inside)
        assert await client.post(f"http://127.0.0.1:{listener.port}/", b"{}", {}) == b"{}"
        await client.aclose()
