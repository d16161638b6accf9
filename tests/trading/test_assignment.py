"""The draw: stable over processes, proportional to the weight, monotone in it."""

import hashlib
import subprocess
import sys

import pytest

from tradewind.trading.assignment import Arm, draw_arm, hash64


def test_the_hash_is_the_documented_bytes() -> None:
    digest = hashlib.blake2b(b"uid-1\x00d000001", digest_size=8).digest()
    assert hash64("uid-1", "d000001") == int.from_bytes(digest, "big")
    # A golden value: assignments already stored by an older release must be drawn alike by a newer one.
    assert hash64("7b1e6f0c-0f5e-4b9a-9a52-0d3a4f1d2c11", "d000001") == 0xFBC3_7F93_6C83_BAB6


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    code = "from tradewind.trading.assignment import hash64; print(hash64('uid', 'key'))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{hash64('uid', 'key')}\n".encode()}


def test_uid_and_key_do_not_run_together() -> None:
    assert hash64("ab", "c") != hash64("a", "bc")


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5])
def test_the_share_is_the_weight(weight: float) -> None:
    share = sum(draw_arm("uid", f"d{i}", weight) is Arm.CANDIDATE for i in range(20_000)) / 20_000
    assert abs(share - weight) < 4 * (weight * (1 - weight) / 20_000) ** 0.5


def test_two_experiments_draw_independently() -> None:
    both = sum(draw_arm("a", f"d{i}", 0.5) is draw_arm("b", f"d{i}", 0.5) for i in range(20_000)) / 20_000
    assert abs(both - 0.5) < 4 * 0.5 / 20_000**0.5


def test_a_larger_weight_only_adds_candidates() -> None:
    for i in range(500):
        drawn = [draw_arm("uid", f"d{i}", weight) is Arm.CANDIDATE for weight in (0.0, 0.1, 0.25, 0.5, 1.0)]
        assert drawn == sorted(drawn)
        assert drawn[0] is False
        assert drawn[-1] is True


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_that_is_no_probability_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"weight.*0 to 1"):
        draw_arm("uid", "key", weight)


@pytest.mark.parametrize(("uid", "key", "name"), [("", "k", "experiment_uid"), ("u", "", "key"), ("u", "a\0b", "key")])
def test_an_id_that_says_nothing_is_refused(uid: str, key: str, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        hash64(uid, key)
