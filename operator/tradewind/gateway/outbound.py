"""The HTTP client of one arm: pool, proxies, certificates.

Belongs here: making a client, and naming the variable of the environment that prevents it. Does not belong here: what is
sent through it (arms.py).
"""

import os
import ssl

import httpx

from tradewind.gateway.answers import ArmError
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.routing import ArmTarget

_POOL = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def client_for(target: ArmTarget) -> httpx.AsyncClient:
    """A pooled client for an arm.

    Proxies of the environment lead out of the cluster: right for what lies outside, wrong for our own predictor.

    Raises:
        ArmError: unavailable; the environment's settings cannot be read, and the detail names the variable.
    """
    # Plain HTTP inside the cluster needs no certificates, so that no variable about them can stop the fallback.
    tls = target.outside or target.base_url.startswith("https:")
    try:
        return httpx.AsyncClient(limits=_POOL, timeout=target.timeout_seconds, trust_env=target.outside, verify=tls)
    except Exception as error:  # InvalidURL, ValueError, ImportError, OSError: whatever the value provokes
        detail = (
            f"{_culprit()} of the gateway's environment cannot be used ({type(error).__name__}); correct or unset it"
        )
        raise ArmError(ErrorKind.UNAVAILABLE, detail) from None


def _culprit() -> str:
    """The variable that a client cannot be made with. Its value stays out: it may hold a password."""
    for name, trust_env in (("SSLKEYLOGFILE", False), ("SSL_CERT_FILE", True), ("SSL_CERT_DIR", True)):
        if os.environ.get(name):
            try:
                httpx.create_ssl_context(trust_env=trust_env)
            except (OSError, ValueError):
                return name
    for name in _spelled(*_PROXIES):
        url = os.environ[name]
        try:
            httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), proxy=_with_scheme(url))
        except Exception:  # as above; here it only says which variable it is
            return name
    return next(iter(_spelled("no_proxy")), "a proxy setting")


def _spelled(*names: str) -> list[str]:
    """The spellings of these variables that are set; the lower-case one counts where both are."""
    both = [(name, name.upper()) for name in names]
    return [next(s for s in pair if os.environ.get(s)) for pair in both if any(map(os.environ.get, pair))]


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"
