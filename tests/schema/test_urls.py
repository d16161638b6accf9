"""A base URL is checked as it will be used: what passes, an HTTP client can ask."""

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from tradewind.schema.scalars import HttpURL

URL: TypeAdapter[str] = TypeAdapter(HttpURL)


@pytest.mark.parametrize(
    "text",
    [
        "https://api.deepseek.com", "https://api.deepseek.com/v1/", "http://[fd00::1]:8000/v1", "http://[::1]", "http://localhost:9",
        "http://10.0.0.1:80/a/b", "http://svc.ns.svc.cluster.local.:8080/v1", "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "http://h:65535", "http://[::ffff:10.0.0.1]/v1",
    ],
)  # fmt: skip
def test_a_url_that_can_be_asked_is_taken(text: str) -> None:
    url = httpx.URL(URL.validate_python(text))
    assert url.host
    assert url.port is None or url.port > 0


@pytest.mark.parametrize(
    "text",
    [
        "https://:443", "http://h:99999/v1", "http://h:0", "http://h:65536", "http://h:/v1", "https://api/v1/chat/completions",
        "https://api/v1/chat/completions/", "https://api//v1", "https://api.deepseek.com/v1/v1", "http://fd00::1/v1", "http://:fd00::1]",
        "http://[fd00::1", "http://[1:2:3:4:5:6:7:8:9]/", "http://a..b", "http://-a", "ftp://a", "https://", "http://u:p@h/v1",
        "http://h/v1?x=1", "http://h/%20", "http://h/v1\n", "api.deepseek.com/v1",
    ],
)  # fmt: skip
def test_a_url_that_cannot_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValidationError, match="must be an http or https URL such as"):
        URL.validate_python(text)
