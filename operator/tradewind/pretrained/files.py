"""Files of a model before anything reads them as a model: whole, and what they are called.

A file that was cut, or is a Git LFS pointer, ends a load somewhere deep in a library, or not at all. Here it ends with its name.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any, Final

from tradewind.pretrained.fault import UnfitError
from tradewind.trading.exits import ExitCode

INDEX_FILE: Final = "model.safetensors.index.json"
_LFS: Final = b"version https://git-lfs"
_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 100_000_000  # as the format has it


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_files(folder: Path) -> None:
    """Whether each file of weights is as long as it says, and the JSON beside them is JSON.

    Raises:
        UnfitError: exit 65, BrokenFile, naming the first file that is not and what to do.
    """
    for name in (
        "config.json",
        "generation_config.json",
        "adapter_config.json",
        "training.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ):
        _read_json(folder / name)
    for path in sorted(folder.glob("*.safetensors")):
        _check_safetensors(path)
    stated = (_read_json(folder / INDEX_FILE) or {}).get("weight_map") or {}
    for name in sorted(set(stated.values())):
        if not (folder / name).is_file():
            raise _broken(
                folder / name, f"does not exist, though {INDEX_FILE} names it", "copy the missing shard there"
            )


def tensor_names(file: Path) -> set[str]:
    """Names of the tensors of a whole safetensors file."""
    return set(_header(file)) - {"__metadata__"}


def _check_safetensors(path: Path) -> None:
    header, size = _header(path), path.stat().st_size
    with path.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(_LENGTH_BYTES))[0]
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    stated = _LENGTH_BYTES + length + max(ends, default=0)
    if size != stated:
        raise _broken(path, f"has {size} bytes and says that it has {stated}", "copy it again")


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        begin = stream.read(len(_LFS))
        if begin == _LFS:
            raise _broken(path, "is a Git LFS pointer and not the file", "run `git lfs pull` and copy the files again")
        stream.seek(0)
        stated = stream.read(_LENGTH_BYTES)
        length = struct.unpack("<Q", stated)[0] if len(stated) == _LENGTH_BYTES else _MAX_HEADER_BYTES + 1
        if length > min(_MAX_HEADER_BYTES, path.stat().st_size):
            raise _broken(path, "is no safetensors file, or was cut", "copy it again")
        try:
            header: Any = json.loads(stream.read(length))
            _ = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise _broken(path, "has a damaged header", "copy it again") from None
    return dict(header)


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return None
    text = path.read_bytes()
    if text.startswith(_LFS):
        raise _broken(path, "is a Git LFS pointer and not the file", "run `git lfs pull` and copy the files again")
    try:
        return json.loads(text)
    except ValueError as error:
        raise _broken(path, f"is no JSON ({error}): it was cut or damaged", "copy it again") from None


def _broken(path: Path, what: str, remedy: str) -> UnfitError:
    return UnfitError(ExitCode.BAD_DATA, "BrokenFile", f"{path} {what}; {remedy}")
