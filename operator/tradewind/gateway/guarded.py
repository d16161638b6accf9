"""Connections that go only where they may: a name is resolved once, judged, and connected to by that very address.

Belongs here: resolving, judging and connecting in one step, so that no other answer of a name server can come in between. Does not
belong here: which addresses may be asked (trading/hosts.py), and what is sent (outbound.py).
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence

import httpcore
import httpx

from tradewind.gateway.answers import ArmError
from tradewind.trading.error_kinds import ErrorCause, ErrorKind
from tradewind.trading.hosts import Address, address_of, barred


class Guarded(httpx.AsyncBaseTransport):
    """httpx's transport over a pool whose connections are judged.

    Args:
        networks: that a host may lie in beside the public addresses.
        verify: certificates.
        limits: of the pool.
    """

    def __init__(self, networks: Sequence[str], verify: ssl.SSLContext, limits: httpx.Limits) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Judging(networks),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request; raises httpcore's errors, and ArmError for a host that may not be asked."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()


class _Judging(httpcore.AsyncNetworkBackend):
    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = networks
        self._plain = httpcore.AnyIOBackend()
        self._api_server = address_of(os.environ.get("KUBERNETES_SERVICE_HOST", ""))

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolves, judges every address of the answer, and connects to one of them after the other."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolved(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        except UnicodeError as error:  # no name that could be asked for
            raise httpcore.ConnectError(error) from socket.gaierror(socket.EAI_NONAME, "no name")
        for address in addresses:
            place = barred(address, self._networks, self._api_server)
            if place is not None:  # the address itself stays out: whoever may write an arm must not read names by it
                what = "is" if address_of(host) is not None else "resolves to"
                detail = f"{host} {what} {place}, and the installation does not allow that"
                raise ArmError(ErrorKind.UNAVAILABLE, detail, cause=ErrorCause.HOST)
        *others, last = addresses
        for count, address in enumerate(others):
            try:
                share = None if timeout is None else timeout / (len(addresses) - count)
                return await self._plain.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._plain.connect_tcp(str(last), port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _resolved(host: str, port: int) -> list[Address]:
    """Addresses of a host in the resolver's order, each once, at least one."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return addresses
