"""The draw that sends a decision to an arm.

Belongs here: the hash, the arm enum, the draw, and the draw of the decisions that have a shadow. Does not belong here: who holds the position that gives the key,
where the assignment is committed (gateway), and the weight itself (evidence/policy.py).
"""

import hashlib
from enum import StrEnum

_SPAN = 2.0**64


class Arm(StrEnum):
    """The two sides of an experiment."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"

    @property
    def other(self) -> "Arm":
        """The arm that was not drawn."""
        return Arm.BASELINE if self is Arm.CANDIDATE else Arm.CANDIDATE


def draw_arm(experiment_uid: str, key: str, weight: float) -> Arm:
    """Arm of one decision: the candidate iff hash64/2^64 < weight.

    The draw depends on nothing but its arguments: every replica, process and restart draws the same arm, and for one
    key a larger weight only ever moves a draw from the baseline to the candidate.

    Args:
        experiment_uid: uid of the experiment; a restarted experiment has a new one and so draws anew.
        key: position_id while a position is open in the decision's scope, else decision_id. Never the symbol or the
            day alone: all decisions that share a key share the arm.
        weight: probability of the candidate, 0 to 1. 0 never draws it, 1 always does.

    Raises:
        ValueError: the weight is not a number from 0 to 1, or uid or key is empty or contains a NUL.
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight: {weight!r} is not a probability; give a number from 0 to 1")
    # weight * 2^64 is exact (a power of two) and Python compares int with float exactly: no rounding at the edges.
    return Arm.CANDIDATE if hash64(experiment_uid, key) < weight * _SPAN else Arm.BASELINE


def has_shadow(experiment_uid: str, key: str, share: float) -> bool:
    """Whether a decision is one of the share that has a shadow. Has nothing to do with which arm it is drawn for.

    Args:
        experiment_uid: uid of the experiment.
        key: decision_id.
        share: of the decisions, 0 to 1.

    Raises:
        ValueError: as draw_arm.
    """
    return draw_arm(f"{experiment_uid} shadow", key, share) is Arm.CANDIDATE


def hash64(experiment_uid: str, key: str) -> int:
    """Unsigned 64-bit hash of an experiment and a key.

    BLAKE2b with an 8-byte digest, no key, salt or personalisation, over the UTF-8 bytes of `experiment_uid`, one NUL
    byte, and the UTF-8 bytes of `key`; the digest is read big-endian. The NUL keeps ("ab", "c") and ("a", "bc")
    apart.

    Raises:
        ValueError: uid or key is empty or contains a NUL.
    """
    for name, text in (("experiment_uid", experiment_uid), ("key", key)):
        if not text:
            raise ValueError(f"{name}: empty; give the id that the draw must depend on")
        if "\0" in text:
            raise ValueError(f"{name}: contains a NUL character; give an id without one")
    message = experiment_uid.encode() + b"\0" + key.encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big")
