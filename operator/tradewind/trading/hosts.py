"""Which hosts may be asked: what a host is, the lists of an installation, and the list that a Secret carries with its key.

Belongs here: reading hosts and addresses as resolvers read them, and judging them by lists; the operator judges what is written,
the gateway what it resolves to. Does not belong here: resolving and connecting (gateway/guarded.py), conditions (core/policy.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from tradewind.schema.rules import StrictModel
from tradewind.trading.error_kinds import ErrorCause

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SECRET_HOSTS_KEY: Final = "allowedHosts"  # noqa: S105 - a name
"""Key of a Secret beside an API key: the hosts that the key is for."""
_PORTS: Final = {"http": 80, "https": 443}
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_METADATA: Final = frozenset(
    {IPv4Address("100.100.100.200"), IPv4Address("168.63.129.16"), IPv6Address("fd00:ec2::254")}
)
"""Services of a cloud to its machines at addresses that are not link-local (Alibaba Cloud, Azure, AWS)."""
_INSIDE: Final = frozenset(
    {"svc", "local", "localhost", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "arpa"}
)
"""Last labels of names that no public name server answers for."""
_API_SERVER: Final = frozenset(
    {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
)


class Place(StrEnum):
    """Where a host lies, in words for a message."""

    PUBLIC = "public"
    LOOPBACK = "a loopback address"
    LINK_LOCAL = "a link-local address, such as a cloud's metadata service"
    METADATA = "a cloud's metadata service"
    PRIVATE = "a private address"
    API_SERVER = "the API server of the cluster"
    CLUSTER = "a name inside of the cluster or network"
    UNCLEAR = "neither a name nor an address"


def address_of(host: str) -> Address | None:
    """The address that a host is, in any spelling that resolvers take: `2130706433`, `0177.0.0.1`, `0x7f.1`, `[::ffff:7f00:1]`.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, NAT64) is that one. None: it is a name.
    """
    text = host.strip().strip("[]").partition("%")[0].lower()
    if ":" not in text:
        return _ipv4(text)
    try:
        return unwrapped(IPv6Address(text))
    except ValueError:
        return None


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def place_of_address(address: Address) -> Place:
    """Where an address lies."""
    real = unwrapped(address)
    if real.is_loopback or real.is_unspecified:
        return Place.LOOPBACK
    if real.is_link_local:
        return Place.LINK_LOCAL
    if real in _METADATA:
        return Place.METADATA
    public = real.is_global and not real.is_multicast and not real.is_reserved
    if isinstance(real, IPv6Address):
        public = public and real in _GLOBAL_IPV6
    return Place.PUBLIC if public else Place.PRIVATE


def place_of(host: str) -> Place:
    """Where a host lies, as far as it can be told without resolving it."""
    address = address_of(host)
    if address is not None:
        return place_of_address(address)
    name = spelled(host)
    labels = name.split(".")
    if name in _API_SERVER:
        return Place.API_SERVER
    if re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]) or not all(labels):
        return Place.UNCLEAR
    return Place.CLUSTER if len(labels) == 1 or labels[-1] in _INSIDE else Place.PUBLIC


def spelled(host: str) -> str:
    """A name as it is compared: lower case, no trailing dot, other letters as IDNA writes them."""
    name = host.strip().lower().removesuffix(".")
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


@dataclass(frozen=True, slots=True)
class Asked:
    """What a URL asks: scheme, host as it is compared, port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Asked":
        """Raises ValueError where there is no host, or what stands before it is a user."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or "\\" in url:
            msg = "it is no http or https URL with a host and without a user"
            raise ValueError(msg)
        return cls(parts.scheme, spelled(parts.hostname), parts.port or _PORTS[parts.scheme])


@dataclass(frozen=True, slots=True)
class Pattern:
    """An entry of an installation's list.

    Attributes:
        host: a name, `*` or `*.name`; "" where `network` is set.
        network: of one address or more.
        port: None: any.
        plain: a credential may go there without TLS.
    """

    host: str
    network: Network | None
    port: int | None
    plain: bool

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """Reads `api.example.com`, `*.example.com:8443`, `http://standin.demo.svc`, `10.1.0.0/16` or `*`. Raises ValueError."""
        scheme, found, rest = text.strip().rpartition("://")
        if found and scheme not in _PORTS:
            raise ValueError(_NO_PATTERN.format(text))
        network = _network(rest)
        if network is not None:
            return cls("", network, None, scheme == "http")
        matched = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:/\[\]@\s]+)(?::([0-9]{1,5}))?", rest)
        port = int(matched[2]) if matched and matched[2] else None
        if matched is None or (port is not None and not 0 < port < 65536):
            raise ValueError(_NO_PATTERN.format(text))
        address = address_of(matched[1])
        if address is not None:
            return cls("", ip_network(address), port, scheme == "http")
        name = spelled(matched[1])
        if "*" in name.removeprefix("*") or (name.startswith("*") and name[1:2] not in ("", ".")) or name == "*.":
            raise ValueError(_NO_PATTERN.format(text))
        return cls(name, None, port, scheme == "http")

    def covers(self, asked: Asked) -> bool:
        """Whether it is about this host and port."""
        if self.port not in (None, asked.port):
            return False
        address = address_of(asked.host)
        if self.network is not None or address is not None:
            return self.host == "*" or (self.network is not None and address is not None and address in self.network)
        if not self.host.startswith("*"):
            return self.host == asked.host
        return asked.host.endswith(self.host[1:])


_NO_PATTERN = (
    "{!r} is no host: write a name, *.name, an address or a network, with :port where it is about one port, "
    "and http:// before it where a credential may go there without TLS"
)


def _checked(text: str) -> str:
    Pattern.of(text)
    return text


def _named(text: str) -> str:
    if Pattern.of(text).host == "*":
        msg = "'*' names no host inside: name the hosts, such as 'proxy.corp.example:3128', '*.models.svc' or '10.1.0.0/16'"
        raise ValueError(msg)
    return text


class Egress(StrictModel):
    """Hosts that gateways of an installation may ask."""

    allowed_hosts: Annotated[tuple[Annotated[str, AfterValidator(_checked)], ...], Field(max_length=256)] = ("*",)
    """Public hosts: names, `*.name`, addresses, networks, each with or without a port; `*`: any public host."""
    allowed_internal_hosts: Annotated[tuple[Annotated[str, AfterValidator(_named)], ...], Field(max_length=256)] = ()
    """Hosts of the cluster and of private networks, proxies among them; `http://` before one: a credential may go there without TLS."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A host may be asked.

    Attributes:
        networks: that it may lie in beside the public addresses.
        plain: a credential may go there without TLS.
    """

    networks: tuple[str, ...]
    plain: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A host may not be asked, and why; the remedy is that of the cause."""

    cause: ErrorCause
    message: str


def judged(url: str, egress: Egress, *, credential: bool) -> Reach | Refused:
    """Whether a URL may be asked, by what is written in it alone."""
    try:
        asked = Asked.of(url)
    except ValueError as error:
        return Refused(ErrorCause.HOST, str(error))
    place, exact = place_of(asked.host), asked.host in _API_SERVER
    inside = [Pattern.of(text) for text in egress.allowed_internal_hosts]
    within = [p for p in inside if p.covers(asked) and not (exact and p.host.startswith("*"))]
    if place in (Place.METADATA, Place.LINK_LOCAL):
        within = [p for p in within if p.network is not None and _alone(p.network)]
    outside = [p for p in map(Pattern.of, egress.allowed_hosts) if p.covers(asked)] if place is Place.PUBLIC else []
    if not within and place is not Place.PUBLIC:
        return Refused(ErrorCause.HOST, f"{asked.host} is {place}, and egress.allowedInternalHosts does not name it")
    if not within and not outside:
        return Refused(ErrorCause.HOST, f"egress.allowedHosts does not name {asked.host}")
    plain = any(pattern.plain for pattern in (*within, *outside))
    if credential and asked.scheme == "http" and not plain:
        return Refused(
            ErrorCause.PLAINTEXT, f"the API key would go to {asked.host} over http, which anybody on the way can read"
        )
    listed = (str(p.network) for p in inside if p.network is not None and p.port in (None, asked.port))
    return Reach(tuple(dict.fromkeys((*(_PRIVATE if within else ()), *listed))), plain)


def barred(address: Address, networks: Iterable[str], api_server: Address | None = None) -> Place | None:
    """Why an address that a host resolved to may not be connected to; None: it may.

    Args:
        address: what was resolved.
        networks: of `Reach`.
        api_server: address of the cluster's API server.
    """
    real, known = unwrapped(address), [ip_network(text) for text in networks]
    place = Place.API_SERVER if real == api_server else place_of_address(real)
    if place is Place.PUBLIC:
        return None
    if place in (Place.API_SERVER, Place.METADATA, Place.LINK_LOCAL):
        known = [network for network in known if _alone(network)]
    return None if any(real in network for network in known) else place


def secret_names(text: str, url: str) -> bool:
    """Whether the hosts that a Secret names have the host of a URL: `host` at the scheme's own port, `host:port` at that one.

    Args:
        text: names separated by commas, blanks or line breaks.
        url: base URL of the API.
    """
    asked = Asked.of(url)
    own = asked.port == _PORTS[asked.scheme]
    return any(_is_named(entry, asked, own_port=own) for entry in re.split(r"[\s,]+", text) if entry)


def _is_named(entry: str, asked: Asked, *, own_port: bool) -> bool:
    try:
        pattern = Pattern.of(entry)
    except ValueError:
        return False
    if pattern.host.startswith("*") or (pattern.network is not None and not _alone(pattern.network)) or "://" in entry:
        return False
    return pattern.covers(asked) and (own_port or pattern.port is not None)


def _alone(network: Network) -> bool:
    return network.prefixlen == network.max_prefixlen


def _network(text: str) -> Network | None:
    if "/" not in text and text.count(":") < 2:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _ipv4(text: str) -> IPv4Address | None:
    parts = text.removesuffix(".").split(".")
    numbers = [_number(part) for part in parts]
    if len(parts) > 4 or any(number is None for number in numbers):
        return None
    known: Sequence[int] = [number for number in numbers if number is not None]
    *heads, last = known
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    return IPv4Address(sum(head << 8 * (3 - place) for place, head in enumerate(heads)) + last)


def _number(part: str) -> int | None:
    """A number as C reads it: hexadecimal after 0x, octal after 0."""
    if re.fullmatch("0x[0-9a-f]*", part, re.ASCII):
        return int(part[2:] or "0", 16)
    if re.fullmatch("0[0-7]*", part, re.ASCII):
        return int(part, 8)
    return int(part) if re.fullmatch("[1-9][0-9]{0,10}", part, re.ASCII) else None
