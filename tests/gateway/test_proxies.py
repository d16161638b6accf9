"""The proxy of an address, by the variables as curl and Go read them."""

import pytest

from tradewind.gateway.proxies import Proxy, proxy_of

THROUGH = {"https_proxy": "http://proxy:3128", "HTTP_PROXY": "plain:8080"}


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("https://api.deepseek.com/v1", "", False),
        ("https://api.deepseek.com/v1", "*", True),
        ("https://api.deepseek.com/v1", "deepseek.com", True),
        ("https://api.deepseek.com/v1", ".deepseek.com", True),
        ("https://api.deepseek.com/v1", "*.deepseek.com", True),
        ("https://api.deepseek.com./v1", "API.DeepSeek.com", True),
        ("https://apideepseek.com/v1", "deepseek.com", False),
        ("https://api.deepseek.com/v1", "deepseek.com:443", True),
        ("https://api.deepseek.com/v1", "deepseek.com:8443", False),
        ("https://10.1.2.3/v1", "10.0.0.0/8", True),
        ("https://11.1.2.3/v1", "10.0.0.0/8", False),
        ("https://10.1.2.3:8443/v1", "10.1.2.3:8443", True),
        ("https://[fd00::1]:8000/v1", "fd00::/8", True),
        ("https://[fd00::1]:8000/v1", "[fd00::]/8", True),
        ("https://[fd00::1]:8000/v1", "10.0.0.0/8, [fd00:0::1]", True),
        ("https://[fd00::1]:8000/v1", "[fd00::1]:8000", True),
        ("https://[fd00::1]:8000/v1", "[fd00::1]:1", False),
        ("https://[fd00::1]:8000/v1", "fd00::1", True),
        ("https://[fe80::1]:8000/v1", "fd00::/8", False),
        ("https://10.1.2.3/v1", "fd00::/8", False),
        ("https://example.com/v1", "10.0.0.0/8,::/0,1.2.3.4/99,[,],:,/,.", False),
        ("https://10.1.2.3/v1", "0.1.2.3,.2.3,2.3", False),
    ],
)
def test_no_proxy_names_what_is_asked_directly(url: str, no_proxy: str, direct: bool) -> None:
    expected = None if direct else Proxy("https_proxy", "http://proxy:3128")
    assert proxy_of(url, THROUGH | {"NO_PROXY": no_proxy}) == expected


def test_each_scheme_has_its_variable_and_all_proxy_the_rest() -> None:
    assert proxy_of("http://a", THROUGH) == Proxy("HTTP_PROXY", "http://plain:8080")
    assert proxy_of("http://a", {"ALL_PROXY": "socks5://s:1"}) == Proxy("ALL_PROXY", "socks5://s:1")
    assert proxy_of("http://a", {"http_proxy": "one:1", "HTTP_PROXY": "two:2"}) == Proxy("http_proxy", "http://one:1")
    assert proxy_of("http://a", {"http_proxy": " ", "HTTP_PROXY": "two:2"}) == Proxy("HTTP_PROXY", "http://two:2")
    assert proxy_of("http://a", {"https_proxy": "one:1"}) is None
