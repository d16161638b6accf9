"""What is wrong with a store, a key, a region, a clock or the network, from a real server: a name, the field, a remedy, no secret."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from store_rig import Rig, secret

from tradewind.stores.bucket import Bucket
from tradewind.stores.faults import StoreError
from tradewind.trading.exits import ExitCode
from workshop.stores import ACCESS_KEY, SECRET_KEY

SOON = timedelta(seconds=1)


def fault(rig: Rig, uri: str = "s3://models/x", **changes: Any) -> StoreError:
    with pytest.raises(StoreError) as error:
        Bucket(rig.stored(uri, **changes), patience=SOON).read("SHA256SUMS")
    assert SECRET_KEY not in error.value.message
    assert ACCESS_KEY not in error.value.message
    return error.value


def test_a_wrong_key(rig: Rig, tmp_path: Path) -> None:
    told = fault(rig, secret=rig.secret(tmp_path / "id", accessKeyId="AKIDOTHER"))
    assert (told.code, told.reason) == (ExitCode.BAD_CONFIG, "StoreKeyRefused")
    assert "does not know the key of Secret key (" in told.message
    told = fault(rig, secret=rig.secret(tmp_path / "key", secretAccessKey="wrong"))
    assert (told.code, told.reason) == (ExitCode.BAD_CONFIG, "StoreKeyRefused")
    assert "SignatureDoesNotMatch" in told.message


def test_a_bucket_that_is_not_there(rig: Rig) -> None:
    told = fault(rig, "s3://nowhere/x")
    assert (told.code, told.reason) == (ExitCode.BAD_CONFIG, "BucketMissing")
    assert "has no bucket nowhere: create it" in told.message
    with pytest.raises(StoreError, match="has no bucket"):
        rig.bucket("s3://nowhere/x").put("a", b"a")
    with pytest.raises(StoreError, match="has no bucket"):
        rig.bucket("s3://nowhere/x").names()


def test_a_wrong_region(rig: Rig) -> None:
    told = fault(rig, store={"region": "eu-west-9"})
    assert (told.code, told.reason) == (ExitCode.BAD_CONFIG, "WrongRegion")
    assert "region eu-west-9" in told.message
    assert "set store.region" in told.message


def test_a_secret_that_is_not_for_this_host_or_lacks_a_key(rig: Rig, tmp_path: Path) -> None:
    told = fault(rig, secret=rig.secret(tmp_path / "a", allowedHosts="minio.example.com"))
    assert (told.code, told.reason) == (ExitCode.BAD_CONFIG, "SecretNotForHost")
    assert f"add 127.0.0.1:{rig.server.port} to the key allowedHosts" in told.message
    assert fault(rig, secret=rig.secret(tmp_path / "b", allowedHosts=None)).reason == "SecretNotForHost"
    told = fault(rig, secret=rig.secret(tmp_path / "c", secretAccessKey=None))
    assert told.reason == "StoreKeyMissing"
    assert "Secret key has no key secretAccessKey" in told.message


def test_a_name_that_leads_where_nothing_was_allowed(rig: Rig) -> None:
    told = fault(rig, networks=())
    assert (told.code, told.reason) == (ExitCode.BAD_CONFIG, "StoreNotAllowed")
    assert "leads to a loopback address" in told.message


@contextmanager
def answering(status: int, body: str, seconds: float = 0) -> Iterator[int]:
    """A server that gives every request one answer, as stores give it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(seconds)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def xml(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>"


@pytest.mark.parametrize(
    ("status", "body", "code", "reason"),
    [
        (403, xml("RequestTimeTooSkewed"), ExitCode.STORE_UNAVAILABLE, "ClockSkew"),
        (403, xml("AccessDenied"), ExitCode.BAD_CONFIG, "StoreAccessDenied"),
        (400, xml("AuthorizationHeaderMalformed"), ExitCode.BAD_CONFIG, "WrongRegion"),
        (301, xml("PermanentRedirect"), ExitCode.BAD_CONFIG, "WrongRegion"),
        (403, xml("SecurityTokenExpired"), ExitCode.BAD_CONFIG, "StoreKeyRefused"),
        (500, xml("InternalError"), ExitCode.STORE_UNAVAILABLE, "StoreUnavailable"),
        (503, "upstream", ExitCode.STORE_UNAVAILABLE, "StoreUnavailable"),
        (400, "no store at all", ExitCode.STORE_UNAVAILABLE, "StoreUnavailable"),
    ],
)
def test_answers_of_stores(rig: Rig, tmp_path: Path, status: int, body: str, code: ExitCode, reason: str) -> None:
    with answering(status, body) as port:
        key = secret(tmp_path / "s", allowedHosts=f"127.0.0.1:{port}")
        told = fault(rig, secret=key, store={"endpoint": f"http://127.0.0.1:{port}"})
    assert (told.code, told.reason) == (code, reason)
    assert "upstream" not in told.message
    assert "no store at all" not in told.message


def test_a_store_that_is_away_for_a_moment_is_waited_for(rig: Rig) -> None:
    bucket = Bucket(rig.stored("s3://models/waited"), patience=timedelta(seconds=30))
    bucket.put("a", b"1")
    rig.server.stop()
    threading.Timer(1.5, rig.server.start).start()
    assert bucket.read("a") == b"1"


def test_a_store_that_stays_away(rig: Rig, tmp_path: Path) -> None:
    key = secret(tmp_path / "s", allowedHosts="127.0.0.1:1")
    told = fault(rig, secret=key, store={"endpoint": "http://127.0.0.1:1"})
    assert (told.code, told.reason) == (ExitCode.STORE_UNAVAILABLE, "StoreUnavailable")
    assert "see that it runs and may be reached from the pod" in told.message
    key = secret(tmp_path / "t", allowedHosts="no-such-host.invalid")
    told = fault(rig, secret=key, store={"endpoint": "https://no-such-host.invalid"})
    assert "does not resolve" in told.message
