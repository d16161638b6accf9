"""Hosts as they are written, in every spelling that a resolver takes, and the lists that they are judged by."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from tradewind.trading.error_kinds import ErrorCause
from tradewind.trading.hosts import Egress, Place, Reach, Refused, address_of, barred, judged, place_of, secret_names

LINK_LOCAL, LOOPBACK, PRIVATE = Place.LINK_LOCAL, Place.LOOPBACK, Place.PRIVATE


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.0x1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("169.254.43518", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("[::ffff:169.254.169.254]", "169.254.169.254"),
        ("::ffff:a9fe:a9fe", "169.254.169.254"),
        ("2002:a9fe:a9fe::1", "169.254.169.254"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
        ("[fe80::1%eth0]", "fe80::1"),
        ("[::1]", "::1"),
        ("1.2.3.4.5", None),
        ("256.0.0.1", None),
        ("1.2.3.256", None),
        ("08.1.1.1", None),
        ("4294967296", None),
        ("api.deepseek.com", None),
        ("", None),
    ],
)
def test_an_address_is_read_in_any_spelling(host: str, address: str | None) -> None:
    assert address_of(host) == (None if address is None else ip_address(address))


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("api.deepseek.com", Place.PUBLIC),
        ("API.DeepSeek.com.", Place.PUBLIC),
        ("xn--bcher-kva.example", Place.PUBLIC),
        ("47.254.1.2", Place.PUBLIC),
        ("[2606:4700::1111]", Place.PUBLIC),
        ("169.254.169.254", LINK_LOCAL),
        ("2852039166", LINK_LOCAL),
        ("[fe80::a9fe:a9fe]", LINK_LOCAL),
        ("100.100.100.200", Place.METADATA),
        ("168.63.129.16", Place.METADATA),
        ("[fd00:ec2::254]", Place.METADATA),
        ("127.0.0.1", LOOPBACK),
        ("0.0.0.0", LOOPBACK),
        ("[::]", LOOPBACK),
        ("10.96.0.1", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("198.18.0.1", PRIVATE),
        ("224.0.0.1", PRIVATE),
        ("255.255.255.255", PRIVATE),
        ("[fd12::1]", PRIVATE),
        ("[fec0::1]", PRIVATE),
        ("[64:ff9b:1::1]", PRIVATE),
        ("[::7f00:1]", PRIVATE),
        ("kubernetes", Place.API_SERVER),
        ("kubernetes.default", Place.API_SERVER),
        ("KUBERNETES.default.svc.", Place.API_SERVER),
        ("kubernetes.default.svc.cluster.local", Place.API_SERVER),
        ("standin", Place.CLUSTER),
        ("standin.demo.svc", Place.CLUSTER),
        ("standin.demo.svc.cluster.local", Place.CLUSTER),
        ("localhost", Place.CLUSTER),
        ("metadata.google.internal", Place.CLUSTER),
        ("router.lan", Place.CLUSTER),
        ("1.2.3.4.5", Place.UNCLEAR),
        ("256.256.256.256", Place.UNCLEAR),
        ("a..b.com", Place.UNCLEAR),
    ],
)
def test_where_a_host_lies(host: str, place: Place) -> None:
    assert place_of(host) is place


STANDIN, PROXY = "http://standin.demo.svc", "proxy.corp.example:3128"


@pytest.mark.parametrize(
    ("url", "credential", "lists", "cause"),
    [
        ("https://api.deepseek.com/v1", True, {}, None),
        ("http://api.deepseek.com/v1", False, {}, None),
        ("http://api.deepseek.com/v1", True, {}, ErrorCause.PLAINTEXT),
        ("http://api.deepseek.com/v1", True, {"allowed_hosts": ("http://*",)}, None),
        ("https://api.deepseek.com:8443/v1", True, {}, None),
        ("https://api.deepseek.com/v1", True, {"allowed_hosts": ("API.DeepSeek.com.",)}, None),
        ("https://api.deepseek.com/v1", True, {"allowed_hosts": ("*.deepseek.com",)}, None),
        ("https://deepseek.com/v1", True, {"allowed_hosts": ("*.deepseek.com",)}, ErrorCause.HOST),
        ("https://notdeepseek.com/v1", True, {"allowed_hosts": ("*.deepseek.com",)}, ErrorCause.HOST),
        ("https://api.deepseek.com.evil.example/v1", True, {"allowed_hosts": ("api.deepseek.com",)}, ErrorCause.HOST),
        ("https://api.deepseek.com:444/v1", True, {"allowed_hosts": ("api.deepseek.com:443",)}, ErrorCause.HOST),
        ("https://api.deepseek.com/v1", True, {"allowed_hosts": ("api.deepseek.com:443",)}, None),
        ("https://api.deepseek.com/v1", True, {"allowed_hosts": ()}, ErrorCause.HOST),
        ("https://user@api.deepseek.com/v1", True, {}, ErrorCause.HOST),
        ("https://api.deepseek.com@169.254.169.254/v1", True, {}, ErrorCause.HOST),
        ("http://169.254.169.254", False, {}, ErrorCause.HOST),
        ("http://169.254.169.254", False, {"allowed_internal_hosts": ("0.0.0.0/0",)}, ErrorCause.HOST),
        ("http://169.254.169.254", False, {"allowed_internal_hosts": ("169.254.169.254",)}, None),
        ("http://[::ffff:169.254.169.254]", False, {"allowed_hosts": ("*", "169.254.0.0/16")}, ErrorCause.HOST),
        ("http://0xa9.254.43518/latest", False, {}, ErrorCause.HOST),
        ("https://kubernetes.default.svc", False, {"allowed_internal_hosts": ("*.svc",)}, ErrorCause.HOST),
        ("https://10.96.0.1", False, {}, ErrorCause.HOST),
        ("https://10.1.2.3", True, {"allowed_internal_hosts": ("10.1.0.0/16",)}, None),
        ("http://10.1.2.3", True, {"allowed_internal_hosts": ("10.1.0.0/16",)}, ErrorCause.PLAINTEXT),
        ("http://10.1.2.3", True, {"allowed_internal_hosts": ("http://10.1.0.0/16",)}, None),
        ("http://standin.demo.svc/v1", False, {}, ErrorCause.HOST),
        ("http://standin.demo.svc/v1", True, {"allowed_internal_hosts": (STANDIN,)}, None),
        ("http://standin.demo.svc:8000/v1", True, {"allowed_internal_hosts": (STANDIN,)}, None),
        ("http://other.demo.svc/v1", True, {"allowed_internal_hosts": (STANDIN,)}, ErrorCause.HOST),
        ("http://proxy.corp.example:3128", False, {"allowed_hosts": (), "allowed_internal_hosts": (PROXY,)}, None),
        ("http://localhost:9", False, {}, ErrorCause.HOST),
        ("http://trader-gateway/v1", False, {}, ErrorCause.HOST),
    ],
)
def test_a_url_is_judged_by_the_lists(
    url: str, credential: bool, lists: dict[str, tuple[str, ...]], cause: ErrorCause | None
) -> None:
    found = judged(url, Egress(**lists), credential=credential)
    assert (found.cause if isinstance(found, Refused) else None) is cause


@pytest.mark.parametrize(
    ("address", "lists", "url", "place"),
    [
        ("47.254.1.2", {}, "https://api.example.com", None),
        ("169.254.169.254", {}, "https://api.example.com", LINK_LOCAL),
        ("::ffff:169.254.169.254", {}, "https://api.example.com", LINK_LOCAL),
        ("64:ff9b::7f00:1", {}, "https://api.example.com", LOOPBACK),
        ("10.96.0.10", {}, "https://api.example.com", PRIVATE),
        ("10.96.0.10", {"allowed_internal_hosts": ("10.96.0.0/16",)}, "https://api.example.com", None),
        ("10.96.0.10", {"allowed_internal_hosts": ("api.example.com",)}, "https://api.example.com", None),
        # A Service may point to any name: what lies inside by its name is still no metadata service and not this pod.
        ("169.254.169.254", {"allowed_internal_hosts": (STANDIN,)}, "http://standin.demo.svc", LINK_LOCAL),
        ("100.100.100.200", {"allowed_internal_hosts": (STANDIN,)}, "http://standin.demo.svc", Place.METADATA),
        ("127.0.0.1", {"allowed_internal_hosts": (STANDIN,)}, "http://standin.demo.svc", LOOPBACK),
        ("10.96.0.1", {"allowed_internal_hosts": (STANDIN,)}, "http://standin.demo.svc", Place.API_SERVER),
        ("10.96.0.9", {"allowed_internal_hosts": (STANDIN,)}, "http://standin.demo.svc", None),
    ],
)
def test_what_a_name_resolves_to_is_judged(
    address: str, lists: dict[str, tuple[str, ...]], url: str, place: Place | None
) -> None:
    reach = judged(url, Egress(**lists), credential=False)
    assert isinstance(reach, Reach)
    assert barred(ip_address(address), reach.networks, ip_address("10.96.0.1")) is place


@pytest.mark.parametrize(
    "entry", ["", "a b", "ftp://x.com", "user@x.com", "*x.com", "x.*.com", "x.com:0", "x.com:70000", "x.com/v1"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="is no host: write a name"):
        Egress(allowed_hosts=(entry,))


def test_every_internal_host_at_once_is_no_entry() -> None:
    with pytest.raises(ValidationError, match="names no host inside"):
        Egress(allowed_internal_hosts=("*",))


@pytest.mark.parametrize(
    ("text", "url", "named"),
    [
        ("api.deepseek.com", "https://api.deepseek.com/v1", True),
        ("API.deepseek.COM.\n", "https://api.deepseek.com/v1", True),
        ("a.com, api.deepseek.com", "https://api.deepseek.com/v1", True),
        ("a.com\r\napi.deepseek.com\n", "https://api.deepseek.com/v1", True),
        ("api.deepseek.com:443", "https://api.deepseek.com/v1", True),
        ("api.deepseek.com", "https://api.deepseek.com:8443/v1", False),
        ("api.deepseek.com:8443", "https://api.deepseek.com:8443/v1", True),
        ("api.deepseek.com", "https://evil.example/v1", False),
        ("api.deepseek.com", "https://api.deepseek.com.evil.example/v1", False),
        ("deepseek.com", "https://api.deepseek.com/v1", False),
        ("*", "https://api.deepseek.com/v1", False),
        ("*.deepseek.com", "https://api.deepseek.com/v1", False),
        ("0.0.0.0/0", "https://47.254.1.2/v1", False),
        ("47.254.1.2", "https://47.254.1.2/v1", True),
        ("https://api.deepseek.com", "https://api.deepseek.com/v1", False),
        ("", "https://api.deepseek.com/v1", False),
        ("postgresql://trader:p@db:5432/tradewind", "https://db:5432/v1", False),
    ],
)
def test_a_secret_names_its_hosts_one_by_one(text: str, url: str, named: bool) -> None:
    assert secret_names(text, url) is named
