"""Ed25519 signatures of routing documents: who holds the installation's key says what gateways obey.

What is signed is the exact text, so that the text verified is the text parsed, with the namespace and the name of the Endpoint
before it, so that a document of another one is worth nothing here. A signature is text: `<key id>:<base64>`.

Belongs here: keys and signatures. Does not belong here: where keys lie, and what an honest document may say (routing.py).
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from tradewind.trading.routing import Refusal

_DOMAIN: Final = "tradewind.dev/routing/v1"
_KEY_ID_LENGTH: Final = 16
MAKE_KEY: Final = "openssl genpkey -algorithm ed25519"
SHOW_PUBLIC_KEY: Final = "openssl pkey -in routing.key -pubout -outform DER | base64"


class KeyFormatError(ValueError):
    """A key cannot be read. The message says what is asked for, and nothing of the key."""


class Verifier:
    """Knows by which keys a document may be signed.

    Args:
        keys: public keys, each as base64 of its DER form (SubjectPublicKeyInfo).

    Raises:
        KeyFormatError: one is no such key.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys: dict[str, Ed25519PublicKey] = {}
        for number, text in enumerate(keys, 1):
            key = _public_key(text, number)
            self._keys[_key_id(key)] = key

    def refusal(self, signature: str, text: str, namespace: str, endpoint: str) -> Refusal | None:
        """Why this is not a document of that Endpoint; None: it is."""
        if not signature:
            return Refusal.UNSIGNED
        key_id, _, encoded = signature.strip().partition(":")
        key = self._keys.get(key_id)
        if key is None:
            return Refusal.UNKNOWN_KEY
        try:
            key.verify(base64.b64decode(encoded, validate=True), _message(text, namespace, endpoint))
        except (InvalidSignature, binascii.Error, ValueError):
            return Refusal.BAD_SIGNATURE
        return None


class Signer:
    """The operator's side: the installation's key, and those that it knows beside.

    Args:
        private_key: PEM (PKCS #8) of an Ed25519 key.
        trusted: further public keys, while one key follows another.

    Raises:
        KeyFormatError: one is no such key.
    """

    def __init__(self, private_key: bytes, trusted: Iterable[str] = ()) -> None:
        try:
            key = load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # its words may quote what they could not read
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFormatError(
                f"no Ed25519 private key in PEM without a password; make one by `{MAKE_KEY}`"
            ) from None
        self._key = key
        own = key.public_key()
        self._key_id = _key_id(own)
        self.public_keys: tuple[str, ...] = tuple(dict.fromkeys((_as_text(own), *trusted)))
        """What gateways are told to obey, the installation's own key first."""
        self._verifier = Verifier(self.public_keys)

    @classmethod
    def generated(cls) -> Self:
        """With a key of its own, which nobody else has."""
        from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

        key = Ed25519PrivateKey.generate()
        return cls(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def sign(self, text: str, namespace: str, endpoint: str) -> str:
        """The signature of a document of an Endpoint."""
        signature = self._key.sign(_message(text, namespace, endpoint))
        return f"{self._key_id}:{base64.b64encode(signature).decode()}"

    def refusal(self, signature: str, text: str, namespace: str, endpoint: str) -> Refusal | None:
        """Why this is not a document of that Endpoint; None: it is."""
        return self._verifier.refusal(signature, text, namespace, endpoint)

    def is_current(self, signature: str) -> bool:
        """Whether a signature is by the installation's key, and not by one before it."""
        return signature.startswith(f"{self._key_id}:")


def _message(text: str, namespace: str, endpoint: str) -> bytes:
    """What is signed. Names of Kubernetes have no line break, so that nothing can be read in two ways."""
    return f"{_DOMAIN}\n{namespace}\n{endpoint}\n{text}".encode("utf-8", "surrogatepass")


def _public_key(text: str, number: int) -> Ed25519PublicKey:
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFormatError(f"key {number} is no Ed25519 public key in base64; `{SHOW_PUBLIC_KEY}` shows one")
    return key


def _as_text(key: Ed25519PublicKey) -> str:
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[
        :_KEY_ID_LENGTH
    ]
