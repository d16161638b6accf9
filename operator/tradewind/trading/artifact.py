"""The identity of a model artifact: one hash over the hashes of its files. Reading the files is the caller's business."""

import hashlib
from collections.abc import Mapping

SUMS_FILE = "SHA256SUMS"
PROBE_FILE = "probe.jsonl"
"""Questions that go with weights, by which it is measured whether what is done to them changes decisions."""
PROBE_ROWS = 100
"""Questions that are asked at most: one of them that is answered otherwise is 1 %."""
PROBE_LEAST_ROWS = 20


def sums_text(file_hashes: Mapping[str, str]) -> str:
    """Text of `SHA256SUMS`: a line `<hex>  <relative path>` a file, sorted by path, the sums file itself left out."""
    return "".join(f"{file_hashes[path]}  {path}\n" for path in sorted(file_hashes) if path != SUMS_FILE)


def artifact_sha256(file_hashes: Mapping[str, str]) -> str:
    """SHA-256 of `sums_text`: what ModelVersions are pinned to, 64 hex digits."""
    return hashlib.sha256(sums_text(file_hashes).encode()).hexdigest()
