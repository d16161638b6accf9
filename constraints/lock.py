"""`python constraints/lock.py`: which wheel of each package goes into which image, and into `.venv`, by its SHA-256.

`constraints/images.txt`, `host.txt`, `vocabularies.txt` and `vllm.txt` say the versions; this makes `constraints/locked/` from them, with uv and the package
index that this machine uses. For an image one wheel for each architecture, that which the images' Python takes; for `.venv`
every wheel, since its Python and machine are the developer's. No source archive is allowed, so that no package runs code
while it is installed, and no address of an index is written down.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints" / "images.txt"
HOST_CONSTRAINTS = ROOT / "constraints" / "host.txt"
VOCABULARIES = ROOT / "constraints" / "vocabularies.txt"
VLLM = ROOT / "constraints" / "vllm.txt"
HOST_PYTHON = (3, 11)
LOCKED = ROOT / "constraints" / "locked"
PYTHON = (3, 13)
# Of the images' base, Debian trixie: 2.41. uv knows platforms up to 2.40.
GLIBC_MINOR = 40
ARCHITECTURES = ("aarch64", "x86_64")
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
HEAD = "# Made by `python constraints/lock.py`: versions from constraints/*.txt, wheels by their SHA-256.\n"


@dataclass(frozen=True)
class Lock:
    """What one file of `constraints/locked/` is resolved from. `base`: packages that come with the image's base."""

    extras: tuple[str, ...]
    base: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ARCHITECTURES


LOCKS = {
    "operator": Lock(("operator",)),
    "gateway": Lock(("gateway",)),
    "demo": Lock(("demo",)),
    # kserve wants a psutil that has no wheel for aarch64.
    "models": Lock(("predictor", "trainer"), base=("torch",), architectures=("x86_64",)),
    "models-cuda": Lock(("predictor", "trainer", "gpu"), architectures=("x86_64",)),
}
# What installs the others, also on machines of developers.
TOOL = "uv"


@dataclass(frozen=True)
class Wheel:
    """One package for one architecture. `architecture`: `any` where the wheel is for all."""

    name: str
    version: str
    architecture: str
    sha256: str


def main() -> None:
    LOCKED.mkdir(exist_ok=True)
    for name, lock in LOCKS.items():
        wheels = {each: _chosen(_resolve(lock, each), each) for each in lock.architectures}
        (LOCKED / f"{name}.txt").write_text(HEAD + render(wheels), encoding="utf-8")
        print(f"{name}: {len(wheels['x86_64'])} packages")
    listed = [(each.stem, _resolve_listed(each)) for each in (VOCABULARIES, VLLM)]
    whole = ((TOOL, _resolve_tool()), ("host", _resolve_host()), *listed)
    for name, packages in whole:
        (LOCKED / f"{name}.txt").write_text(HEAD + render_every(packages), encoding="utf-8")
        print(f"{name}: {len(packages)} packages")


def best(wheels: dict[str, str], architecture: str) -> tuple[str, str] | None:
    """Of file name -> SHA-256 the one that an installer takes, as (architecture or `any`, SHA-256); None where none fits."""
    ranks = {tag: rank for rank, tag in enumerate(_tags(architecture))}
    fitting: list[tuple[int, str, frozenset[Tag]]] = []
    for filename, digest in wheels.items():
        try:
            tags = parse_wheel_filename(filename)[3]
        except InvalidWheelFilename:
            continue
        if known := [ranks[tag] for tag in tags if tag in ranks]:
            fitting.append((min(known), digest, tags))
    if not fitting:
        return None
    _, digest, tags = min(fitting, key=lambda entry: entry[:2])
    return ("any" if any(tag.platform == "any" for tag in tags) else architecture), digest


def render(wheels: dict[str, list[Wheel]]) -> str:
    """A requirements file from the wheels by architecture. Errors: ValueError where versions differ between these."""
    found: dict[str, list[Wheel]] = {}
    for chosen in wheels.values():
        for wheel in chosen:
            found.setdefault(wheel.name, []).append(wheel)
    lines: list[str] = []
    for name, each in sorted(found.items()):
        if len({wheel.version for wheel in each}) > 1:
            raise ValueError(f"{name} has another version on each architecture: pin it in {CONSTRAINTS.name}")
        only = f' ; platform_machine == "{each[0].architecture}"' if len(each) < len(wheels) else ""
        if only and each[0].architecture == "any":
            (present,) = (architecture for architecture, chosen in wheels.items() if each[0] in chosen)
            only = f' ; platform_machine == "{present}"'
        unique = sorted({(wheel.architecture, wheel.sha256) for wheel in each})
        parts = [f"{name}=={each[0].version}{only}", *(f"    --hash=sha256:{digest}" for _, digest in unique)]
        lines += [" \\\n".join(parts), f"    # {', '.join(architecture for architecture, _ in unique)}"]
    return "\n".join(lines) + "\n"


def render_every(packages: list[dict[str, Any]]) -> str:
    """A requirements file from uv's packages, with every wheel of each."""
    parts: list[str] = []
    for package in sorted(packages, key=lambda each: canonicalize_name(each["name"])):
        files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        hashes = sorted(file["hashes"]["sha256"] for file in files)
        pinned = f"{canonicalize_name(package['name'])}=={package['version']}"
        parts.append(" \\\n".join([pinned, *(f"    --hash=sha256:{digest}" for digest in hashes)]))
    return "\n".join(parts) + "\n"


def _tags(architecture: str) -> list[Tag]:
    platforms: list[str] = []
    for minor in range(GLIBC_MINOR + 1, 4, -1):
        platforms.append(f"manylinux_2_{minor}_{architecture}")
        platforms += [f"{_LEGACY[minor]}_{architecture}"] if minor in _LEGACY else []
    platforms.append(f"linux_{architecture}")
    interpreter = "cp{}{}".format(*PYTHON)
    return [*cpython_tags(PYTHON, [interpreter], platforms), *compatible_tags(PYTHON, interpreter, platforms)]


def _chosen(packages: list[dict[str, Any]], architecture: str) -> list[Wheel]:
    made = []
    for package in packages:
        wheels = {_filename(wheel): wheel["hashes"]["sha256"] for wheel in package.get("wheels", ())}
        found = best(wheels, architecture)
        if found is None:
            raise SystemExit(
                f"{package['name']} {package['version']} has no wheel for {architecture}: pin another version"
            )
        made.append(Wheel(canonicalize_name(package["name"]), package["version"], *found))
    return made


def _filename(wheel: dict[str, Any]) -> str:
    return str(wheel.get("name") or unquote(urlsplit(wheel.get("url") or wheel["path"]).path).rpartition("/")[2])


def _resolve(lock: Lock, architecture: str) -> list[dict[str, Any]]:
    options = [option for extra in lock.extras for option in ("--extra", extra)]
    with tempfile.TemporaryDirectory() as folder:
        overrides = Path(folder) / "overrides.txt"
        overrides.write_text("".join(f'{name}; sys_platform == "never"\n' for name in lock.base))
        options += ["--overrides", str(overrides), "--constraints", str(CONSTRAINTS)]
        options += ["--python-platform", f"{architecture}-manylinux_2_{GLIBC_MINOR}"]
        return _compile([str(ROOT / "pyproject.toml"), *options], PYTHON, Path(folder))


def _resolve_tool() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "uv.in"
        wanted.write_text(f"{TOOL}=={_tool_version()}\n")
        return _compile([str(wanted), "--universal"], PYTHON, Path(folder))


def _resolve_host() -> list[dict[str, Any]]:
    """What the Makefile installs, and what builds our own package there."""
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder) / "build.in"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        build.write_text("\n".join(project["build-system"]["requires"]))
        options = ["--all-extras", "--constraints", str(HOST_CONSTRAINTS), "--universal"]
        return _compile([str(ROOT / "pyproject.toml"), str(build), *options], HOST_PYTHON, Path(folder))


def _resolve_listed(constraints: Path) -> list[dict[str, Any]]:
    """The packages of a file and no others.

    Of vocabularies tests read the files and import nothing, so what they depend on stays out; of vLLM the file names all, since vLLM
    asks for a torch (`+cpu`) that only its makers' own index has.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _compile([str(constraints), "--no-deps", "--universal"], HOST_PYTHON, Path(folder))


def _compile(arguments: list[str], python: tuple[int, int], folder: Path) -> list[dict[str, Any]]:
    target = folder / "pylock.toml"
    version = "{}.{}".format(*python)
    subprocess.run(
        [
            *(str(_uv()), "pip", "compile", "--quiet", "--format", "pylock.toml", "--output-file", str(target)),
            *("--python-version", version, "--no-header", *arguments),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    packages: list[dict[str, Any]] = tomllib.loads(target.read_text(encoding="utf-8"))["packages"]
    return packages


def _tool_version() -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return next(line.split(":=")[1].strip() for line in makefile.splitlines() if line.startswith("UV_VERSION"))


def _uv() -> Path:
    """The one that the Makefile keeps. Errors: SystemExit."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "tradewind" / f"uv-{_tool_version()}" / "bin" / "uv"
    if not found.exists():
        raise SystemExit(f"{found} is missing: any target of the Makefile that needs .venv brings it")
    return found


if __name__ == "__main__":
    main()
