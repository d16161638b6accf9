"""Which proxy of the environment leads to an address: the variables as curl and Go read them, with IPv6 and networks in NO_PROXY.

Belongs here: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either spelling. Does not belong here: clients (outbound.py).
httpx reads them too, and refuses to make any client where NO_PROXY names an IPv6 network, as container runtimes inject it.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the variable that names it."""

    variable: str
    url: str


def proxy_of(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL; None: it is asked directly.

    Args:
        url: http or https.
        environment: of the process. Where both spellings are set the lower-case one counts.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if _is_excluded(host, port, _value("no_proxy", environment)[1]):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable, value = _value(name, environment)
        if value:
            return Proxy(variable, value if "://" in value else f"http://{value}")
    return None


def _value(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    spelled = next((spelling for spelling in (name, name.upper()) if environment.get(spelling, "").strip()), name)
    return spelled, environment.get(spelled, "").strip()


def _is_excluded(host: str, port: int, no_proxy: str) -> bool:
    return any(_covers(entry.strip().lower(), host.lower().rstrip("."), port) for entry in no_proxy.split(","))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry is about a host: `*`, an address, a network, or a name and all below it, each with or without a port.

    An entry that is none of these is about no host.
    """
    if entry in ("", "*"):
        return entry == "*"
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(
                entry.replace("[", "").replace("]", ""), strict=False
            )
        except ValueError:
            return False
    name, wanted = _split(entry)
    if wanted not in ("", str(port)):
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    return name != "" and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, str]:
    """Host and port of an entry; an IPv6 address has a port only in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
