"""Debian's packages and Go's modules are what their signatures and sums say, and nothing of ours switches that off."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from cluster import roots
from cluster.build import environment

REPO = Path(__file__).resolve().parents[2]
OFF = re.compile(
    r"trusted\s*=\s*yes|allow-?unauthenticated|allow-?insecure|allow-?weak|force-yes|no-check-gpg|no-gpg|verify-peer|verify-host"
    r"|GONOSUMDB|GONOSUMCHECK|GOINSECURE|GOSUMDB|GOFLAGS=[^\"'\s]*insecure|-mod=mod|trusted-host|no-verify-hashes|allow-insecure-host",
    re.IGNORECASE,
)


def test_nothing_of_ours_switches_authentication_off():
    folders = ("images", "cluster", "constraints", "workshop", "demo", ".ci")
    files = [path for folder in folders for path in (REPO / folder).rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix not in (".pyc", ".sum", ".mod") and "__pycache__" not in path.parts]
    files += [REPO / "Makefile", REPO / ".pre-commit-config.yaml"]
    assert {"Containerfile", "roots.py", "packages.py", "Makefile"} <= {path.name for path in files}
    # Comments may name what does not count.
    found = {
        f"{path.relative_to(REPO)}: {line.strip()}"
        for path in files
        for line in path.read_text(errors="replace").splitlines()
        if OFF.search(line.partition("#")[0])
    }
    assert found == {
        # Said in a docstring: what go does not obey here.
        "cluster/build.py: -mod=readonly: a module without a sum is an error, whatever GOFLAGS, GONOSUMDB or GOPRIVATE say; a module of another sum",
    }


@pytest.mark.parametrize(
    "line", ["deb [trusted=yes] http://x", "apt-get --allow-unauthenticated", "Acquire::AllowInsecureRepositories"]
)
def test_the_search_finds_what_it_is_for(line):
    assert OFF.search(line)


def test_base_images_take_over_no_setting_that_lets_unsigned_packages_in(tmp_path, monkeypatch):
    """apt's dates and proxies are the machine's; whether a signature counts is not."""
    lines = [
        'Acquire::http::Proxy "http://proxy:3128";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::AllowInsecureRepositories "true";',
        'Acquire::AllowWeakRepositories "true";',
        'APT::Get::AllowUnauthenticated "true";',
        'APT::Authentication::TrustCDROM "true";',
    ]
    program = tmp_path / "apt-config"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert roots._apt_options() == [f"--aptopt={line.rstrip(';')}" for line in lines[:2]]


def dirhash(files):
    """Go's h1 sum over name -> content."""
    rows = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(files.items()))
    return "h1:" + base64.b64encode(hashlib.sha256(rows.encode()).digest()).decode()


@pytest.fixture
def module(tmp_path):
    """A program with one dependency, from a proxy that is a folder; and what `go build` says to it."""
    if shutil.which("go") is None:
        pytest.skip("Go is not there: the cluster needs it")
    versions = tmp_path / "proxy" / "example.com" / "dep" / "@v"
    versions.mkdir(parents=True)
    mod = "module example.com/dep\n\ngo 1.21\n"
    content = {"go.mod": mod, "dep.go": "package dep\n\nconst Good = true\n"}
    prefixed = {f"example.com/dep@v1.0.0/{name}": text for name, text in content.items()}
    (versions / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (versions / "v1.0.0.mod").write_text(mod)
    with zipfile.ZipFile(versions / "v1.0.0.zip", "w") as archive:
        for name, text in prefixed.items():
            archive.writestr(name, text)
    source = tmp_path / "main"
    source.mkdir()
    (source / "go.mod").write_text("module main\n\ngo 1.21\n\nrequire example.com/dep v1.0.0\n")
    (source / "main.go").write_text(
        'package main\n\nimport "example.com/dep"\n\nfunc main() {\n\tif !dep.Good {\n\t\tpanic(0)\n\t}\n}\n'
    )
    sums = {
        "example.com/dep v1.0.0": dirhash(prefixed),
        "example.com/dep v1.0.0/go.mod": dirhash({"go.mod": mod}),
    }
    caches = {"GOPROXY": f"file://{tmp_path}/proxy", "GOMODCACHE": str(tmp_path / "mod"), "GONOPROXY": "none"}

    def build(sums, **loose):
        text = "".join(f"{what} {digest}\n" for what, digest in sums.items())
        (source / "go.sum").write_text(text)
        given = {**environment(), **caches} if not loose else {**os.environ, **caches, **loose}
        done = subprocess.run(
            ["go", "build", "-modcacherw", "-buildvcs=false", "-o", os.devnull, "."],
            cwd=source, env=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, (source / "go.sum").read_text() == text

    return sums, build


LOOSE = {"GOFLAGS": "-mod=mod", "GONOSUMDB": "*", "GOSUMDB": "off", "GOPRIVATE": "*", "GOINSECURE": "*"}


def test_a_go_module_of_another_sum_is_refused(module, monkeypatch):
    for name, value in LOOSE.items():
        monkeypatch.setenv(name, value)
    sums, build = module
    done, _ = build(sums)
    assert done.returncode == 0, done.stderr
    refused, _ = build({**sums, "example.com/dep v1.0.0": dirhash({"example.com/dep@v1.0.0/go.mod": ""})})
    assert refused.returncode != 0
    assert "checksum mismatch" in refused.stderr
    assert "SECURITY ERROR" in refused.stderr


def test_a_go_module_without_a_sum_is_refused_where_the_machine_would_let_it_in(module, monkeypatch):
    for name, value in LOOSE.items():
        monkeypatch.setenv(name, value)
    _, build = module
    refused, kept = build({})
    assert refused.returncode != 0
    assert "missing go.sum entry" in refused.stderr
    assert kept
    let_in, kept = build({}, **LOOSE)
    assert let_in.returncode == 0, "else this test proves nothing"
    assert not kept
