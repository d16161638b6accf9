"""The HTTP client of one arm: pool, proxies, certificates, and what can go wrong on the way, in one vocabulary.

Belongs here: making a client, sending, and naming the variable of the environment that prevents it. Does not belong here: what
is sent and when it is sent again (arms.py).

Two libraries, each for what it does best. An arm inside the cluster, our own predictor, is asked by aiohttp over plain HTTP: a
call takes a fraction of the processor time, which callers and shadows share. What lies outside is asked by httpx, which knows the
proxies and certificates of an environment; beside the seconds of such an API its own time is nothing. Without a proxy every address
that it connects to is judged first (guarded.py); a proxy resolves names by itself.
"""

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Protocol

import aiohttp
import httpcore
import httpx

from tradewind.gateway.answers import ArmError
from tradewind.gateway.guarded import Guarded
from tradewind.gateway.proxies import proxy_of
from tradewind.trading.error_kinds import ErrorCause, ErrorKind
from tradewind.trading.routing import ArmTarget

MAX_ANSWER_BYTES = 1024 * 1024
_CONNECTIONS, _IDLE_CONNECTIONS, _IDLE_SECONDS = 100, 20, 30
_OK = 200
_MAX_WORDS_BYTES = 16 * 1024
_BROKEN_OFF = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, httpcore.ProxyError)


class NotSentError(Exception):
    """There was no connection, so that nothing was sent. The text is the library's name of the error."""

    def __init__(self, name: str, cause: ErrorCause) -> None:
        super().__init__(name)
        self.cause = cause


class BrokenOffError(Exception):
    """Something may have been sent, and no whole answer came. The text is the library's name of the error."""


class StatusError(Exception):
    """Another status than 200."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.headers = headers
        """By lower-case names."""
        self.body = body
        """As much of it as says why; it may repeat the key that the API refuses."""


class Client(Protocol):
    """A pool of connections to one arm."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The body of an answer with status 200; it does not end by itself: the caller has a deadline.

        Args:
            url: where to.
            body: JSON in UTF-8.
            headers: beside those of the body.

        Raises:
            StatusError: another status.
            ArmError: a body that is too large, or a host that may not be asked.
            NotSentError: no connection.
            BrokenOffError: the connection broke, or what came is no HTTP.
            TimeoutError: one of the library's own.
        """

    async def aclose(self) -> None:
        """Closes all connections."""


def client_for(target: ArmTarget) -> Client:
    """A pooled client for an arm.

    Proxies of the environment lead out of the cluster: right for what lies outside, wrong for our own predictor.

    Raises:
        ArmError: unavailable; the environment's settings cannot be read, and the detail names the variable.
    """
    # Plain HTTP inside the cluster needs no certificates, so that no variable about them can stop the fallback.
    if not target.outside and not target.base_url.startswith("https:"):
        return _Inside()
    try:
        return _Outside(target)
    except Exception as error:  # InvalidURL, ValueError, ImportError, OSError: whatever the value provokes
        detail = f"{_culprit(target)} of the gateway's environment cannot be used ({type(error).__name__}); correct or unset it"
        raise ArmError(ErrorKind.UNAVAILABLE, detail, cause=ErrorCause.ENVIRONMENT) from None


class _Inside:
    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """As `Client` has it."""
        sent = {"Content-Type": "application/json", **headers}
        try:
            async with self._session.post(url, data=body, headers=sent, allow_redirects=False) as response:
                answer = bytearray()
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if response.status != _OK and len(answer) > _MAX_WORDS_BYTES:
                        break
                    _demand_size(len(answer))
                _demand_ok(response.status, response.headers, answer)
        except TimeoutError:
            raise
        except aiohttp.ClientConnectorError as error:
            raise NotSentError(type(error).__name__, _cause_of(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenOffError(type(error).__name__) from None
        return bytes(answer)

    async def aclose(self) -> None:
        """As `Client` has it."""
        await self._session.close()


class _Outside:
    def __init__(self, target: ArmTarget) -> None:
        limits = httpx.Limits(
            max_connections=_CONNECTIONS, max_keepalive_connections=_IDLE_CONNECTIONS, keepalive_expiry=_IDLE_SECONDS
        )
        # Proxies and certificates are of the environment where it lies outside; an own arm behind TLS has the system's, and none.
        proxy = proxy_of(target.base_url, os.environ) if target.outside else None
        verify = httpx.create_ssl_context(trust_env=target.outside)
        self._client = httpx.AsyncClient(
            limits=limits,
            timeout=target.timeout_seconds,
            trust_env=False,
            verify=verify,
            proxy=None if proxy is None else proxy.url,
            transport=Guarded(target.networks, verify, limits) if target.outside and proxy is None else None,
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """As `Client` has it."""
        sent = {"Content-Type": "application/json", **headers}
        try:
            async with self._client.stream("POST", url, content=body, headers=sent) as response:
                answer = bytearray()
                async for chunk in response.aiter_bytes():
                    answer += chunk
                    if response.status_code != _OK and len(answer) > _MAX_WORDS_BYTES:
                        break
                    _demand_size(len(answer))
                _demand_ok(response.status_code, response.headers, answer)
        except (httpx.TimeoutException, httpcore.TimeoutException):
            raise TimeoutError from None
        except (httpx.ConnectError, httpcore.ConnectError) as error:
            raise NotSentError(type(error).__name__, _cause_of(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, *_BROKEN_OFF) as error:
            raise BrokenOffError(type(error).__name__) from None
        return bytes(answer)

    async def aclose(self) -> None:
        """As `Client` has it."""
        await self._client.aclose()


def _demand_ok(status: int, headers: Mapping[str, str], body: bytearray) -> None:
    if status != _OK:
        raise StatusError(status, {name.lower(): value for name, value in headers.items()}, bytes(body))


def _demand_size(size: int) -> None:
    if size > MAX_ANSWER_BYTES:
        raise ArmError(ErrorKind.INVALID_JSON, f"the answer is over {MAX_ANSWER_BYTES} bytes")


def _cause_of(error: BaseException) -> ErrorCause:
    """Why there was no connection, from what the library's error was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, socket.gaierror | aiohttp.ClientConnectorDNSError):
            return ErrorCause.DNS
        if isinstance(seen, ssl.SSLError | ssl.CertificateError | aiohttp.ClientSSLError):
            return ErrorCause.TLS
        seen = seen.__cause__ or seen.__context__
    text = str(error)
    return ErrorCause.TLS if "CERTIFICATE" in text or "SSL" in text else ErrorCause.CONNECT


def _culprit(target: ArmTarget) -> str:
    """The variable that a client cannot be made with. Its value stays out: it may hold a password."""
    for name, trust_env in (("SSLKEYLOGFILE", False), ("SSL_CERT_FILE", True), ("SSL_CERT_DIR", True)):
        if os.environ.get(name):
            try:
                httpx.create_ssl_context(trust_env=trust_env)
            except (OSError, ValueError):
                return name
    proxy = proxy_of(target.base_url, os.environ)
    return "a setting" if proxy is None else proxy.variable
