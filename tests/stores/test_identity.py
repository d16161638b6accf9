"""A role of the pod's ServiceAccount: what is asked of the token services of both clouds, and what their refusals mean."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from store_rig import LOOPBACK, Rig

from tradewind.stores.bucket import Bucket
from tradewind.stores.faults import StoreError
from tradewind.stores.identity import credentials
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.stores import StoredFolder
from workshop.stores import ACCESS_KEY, SECRET_KEY

OSS = {
    "AccessKeyId": "STS.id",
    "AccessKeySecret": "secret",
    "SecurityToken": "token",
    "Expiration": "2026-11-28T10:00:00Z",
}
AWS = {"AccessKeyId": "ASIA", "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": 1795860000.0}


@contextmanager
def token_service(status: int, answer: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    asked: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def folder(scheme: str) -> StoredFolder:
    store = {"region": "cn-hangzhou", "serviceAccountName": "models"}
    return StoredFolder.model_validate(
        {"field": "spec.model", "path": "/m", "uri": f"{scheme}://models/x", "store": store}
    )


def environment(tmp_path: Path, url: str) -> dict[str, str]:
    (tmp_path / "token").write_text("the-pods-token\n")
    return {
        "ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/r",
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/p",
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "TRADEWIND_STS_ENDPOINT": url,
    }


def test_a_key_for_the_pods_token_from_both_clouds(tmp_path: Path) -> None:
    with token_service(200, {"Credentials": OSS}) as (url, asked):
        key = credentials(folder("oss"), environment(tmp_path, url))()
    assert key["access_key_id"] == "STS.id"
    assert key["token"] == "token"
    assert key["expires_at"] == datetime(2026, 11, 28, 10, tzinfo=UTC)
    assert asked[0]["Action"] == ["AssumeRoleWithOIDC"]
    assert asked[0]["OIDCToken"] == ["the-pods-token"]
    assert asked[0]["RoleArn"] == ["acs:ram::1:role/r"]
    result = {"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": AWS}}}
    with token_service(200, result) as (url, asked):
        key = credentials(folder("s3"), environment(tmp_path, url))()
    assert (key["access_key_id"], key["secret_access_key"]) == ("ASIA", "secret")
    assert key["expires_at"] == datetime.fromtimestamp(1795860000, UTC)
    assert asked[0]["WebIdentityToken"] == ["the-pods-token"]


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, ExitCode.BAD_CONFIG, "StoreIdentityRefused"),
        (503, ExitCode.STORE_UNAVAILABLE, "StoreUnavailable"),
        (200, ExitCode.STORE_UNAVAILABLE, "StoreUnavailable"),
    ],
)
def test_no_key_is_given(tmp_path: Path, status: int, code: ExitCode, reason: str) -> None:
    with token_service(status, {"Message": "no"}) as (url, _), pytest.raises(StoreError) as error:
        credentials(folder("oss"), environment(tmp_path, url))()
    assert (error.value.code, error.value.reason) == (code, reason)
    assert "the-pods-token" not in error.value.message


def test_a_pod_without_a_role() -> None:
    with pytest.raises(StoreError, match="ALIBABA_CLOUD_ROLE_ARN") as error:
        credentials(folder("oss"), {})
    assert (error.value.code, error.value.reason) == (ExitCode.BAD_CONFIG, "StoreIdentityMissing")


def in_a_real_store(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> Bucket:
    """As a pod with a role: its environment says more than ours, as webhooks have it."""
    for name, value in (environment(tmp_path, url) | {"AWS_REGION": "eu-west-9"}).items():
        monkeypatch.setenv(name, value)
    store = {"region": rig.server.region, "endpoint": rig.server.url, "serviceAccountName": "models"}
    described = {"field": "spec.model", "path": "/m", "uri": "s3://models/role", "networks": LOOPBACK, "store": store}
    return Bucket(StoredFolder.model_validate(described))


def test_a_real_store_is_asked_with_the_key_that_was_given(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    soon = datetime.now(UTC).timestamp() + 3600
    key = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "SessionToken": "", "Expiration": soon}
    answer = {"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": key}}}
    with token_service(200, answer) as (url, asked):
        bucket = in_a_real_store(rig, monkeypatch, tmp_path, url)
        bucket.put("a", b"1")
        assert bucket.read("a") == b"1"
        assert len(asked) == 1


def test_why_there_is_no_key_is_said_where_one_is_needed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        token_service(403, {}) as (url, _),
        pytest.raises(StoreError, match="does not let ServiceAccount models take") as error,
    ):
        in_a_real_store(rig, monkeypatch, tmp_path, url).read("a")
    assert (error.value.code, error.value.reason) == (ExitCode.BAD_CONFIG, "StoreIdentityRefused")
