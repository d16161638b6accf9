"""Signatures of routing documents: who signed what, for whom."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tradewind.trading.routing import Refusal
from tradewind.trading.signature import KeyFormatError, Signer, Verifier

TEXT = '{"endpoint":"trader","note":"币安人生"}'
SIGNER = Signer.generated()
VERIFIER = Verifier(SIGNER.public_keys)
GOOD = SIGNER.sign(TEXT, "trading", "trader")


def test_what_was_signed_verifies_and_the_same_text_has_the_same_signature() -> None:
    assert VERIFIER.refusal(GOOD, TEXT, "trading", "trader") is None
    assert SIGNER.refusal(f"{GOOD}\n", TEXT, "trading", "trader") is None
    assert SIGNER.sign(TEXT, "trading", "trader") == GOOD


@pytest.mark.parametrize(
    ("signature", "text", "namespace", "endpoint", "refusal"),
    [
        ("", TEXT, "trading", "trader", Refusal.UNSIGNED),
        (GOOD, TEXT + " ", "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD, TEXT[:-1], "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD, "", "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD, "\ud800", "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD, TEXT, "elsewhere", "trader", Refusal.BAD_SIGNATURE),
        (GOOD, TEXT, "trading", "other", Refusal.BAD_SIGNATURE),
        (GOOD[:-4] + "AAA=", TEXT, "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD.partition(":")[0], TEXT, "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD.partition(":")[0] + ":ü", TEXT, "trading", "trader", Refusal.BAD_SIGNATURE),
        (GOOD.partition(":")[2], TEXT, "trading", "trader", Refusal.UNKNOWN_KEY),
        (Signer.generated().sign(TEXT, "trading", "trader"), TEXT, "trading", "trader", Refusal.UNKNOWN_KEY),
        ("x" * 100_000, TEXT, "trading", "trader", Refusal.UNKNOWN_KEY),
    ],
    ids=[  # keys are made anew in each process, and the names of tests must not be
        "unsigned", "longer", "shorter", "empty", "no text", "another namespace", "another Endpoint", "another signature",
        "no signature", "no base64", "no key id", "another key", "very long",
    ],
)  # fmt: skip
def test_anything_else_does_not(signature: str, text: str, namespace: str, endpoint: str, refusal: Refusal) -> None:
    assert VERIFIER.refusal(signature, text, namespace, endpoint) is refusal
    assert SIGNER.refusal(signature, text, namespace, endpoint) is refusal


def test_keys_overlap_while_one_follows_another() -> None:
    new = Signer(_pem(), trusted=SIGNER.public_keys)
    assert new.refusal(GOOD, TEXT, "trading", "trader") is None
    assert not new.is_current(GOOD)
    signed = new.sign(TEXT, "trading", "trader")
    assert new.is_current(signed)
    assert Verifier(new.public_keys).refusal(signed, TEXT, "trading", "trader") is None
    assert VERIFIER.refusal(signed, TEXT, "trading", "trader") is Refusal.UNKNOWN_KEY
    assert new.public_keys[1:] == SIGNER.public_keys


def test_keys_that_openssl_makes_and_shows_are_understood(tmp_path: Path) -> None:
    """By the very commands that messages and docs/install.md name."""
    path = tmp_path / "routing.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True)
    der = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    signer = Signer(path.read_bytes())
    assert signer.public_keys == (base64.b64encode(der).decode(),)


def test_what_is_no_key_is_refused_without_a_word_of_it() -> None:
    for text in (b"", b"sk-very-secret", _pem()[:-40], _other_kind()):
        with pytest.raises(KeyFormatError, match="openssl genpkey -algorithm ed25519") as error:
            Signer(text)
        assert "secret" not in str(error.value)
    for public in ("", "c2VjcmV0", base64.b64encode(_pem()).decode()):
        with pytest.raises(KeyFormatError, match="key 2 is no Ed25519 public key"):
            Verifier([*SIGNER.public_keys, public])


def test_a_signer_shows_nothing_of_its_key() -> None:
    pem = _pem()
    body = b"".join(pem.splitlines()[1:-1]).decode()
    shown = f"{Signer(pem)!r} {Signer(pem).public_keys}"
    assert body not in shown
    assert base64.b64decode(body)[-32:].hex() not in shown


def _pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _other_kind() -> bytes:
    """A key of another kind."""
    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
