"""A real PostgreSQL that speaks TLS, with a certificate of a CA of its own, and a CA that signed nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from workshop.postgres import PostgresServer, running


@dataclass(frozen=True)
class TLSServer:
    """`ca` signed the server's certificate, which is for localhost and 127.0.0.1 is not in it; `other_ca` did not."""

    server: PostgresServer
    ca: Path
    other_ca: Path

    def dsn(self, host: str = "localhost") -> str:
        return self.server.dsn(self.server.create_database()).replace("127.0.0.1", host)


@contextmanager
def speaking_tls(folder: Path) -> Iterator[TLSServer]:
    ca, other = _authority(folder, "ca"), _authority(folder, "other")
    request = folder / "server.csr"
    _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "server.key"), "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", str(request))  # fmt: skip
    _openssl("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")), "-days", "2",
             "-CAcreateserial", "-copy_extensions", "copy", "-out", str(folder / "server.crt"))  # fmt: skip
    with running() as server:
        for name in ("server.crt", "server.key"):
            placed = Path(shutil.copy(folder / name, server.folder / "data" / name))
            placed.chmod(0o600)
            if server.uid is not None:
                os.chown(placed, server.uid, -1)
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
        yield TLSServer(server, ca, other)


def _authority(folder: Path, name: str) -> Path:
    made = folder / f"{name}.crt"
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(made.with_suffix(".key")), "-days", "2",
             "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", str(made))  # fmt: skip
    return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
