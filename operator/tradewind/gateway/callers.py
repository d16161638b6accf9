"""Who may call: holders of one of the tokens in a file, which is read anew when it changes.

Belongs here: the tokens, and how often a peer may be wrong. Does not belong here: routes (app.py).
"""

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.trading.rates import Buckets, Rate

_WRONG: Final = Rate(burst=30, per_second=1.0)
_MOST: Final = 16
_log = structlog.get_logger("tradewind.gateway")


class Callers:
    """The tokens of callers, a line each, so that an old one and a new one hold at the same time.

    Args:
        path: of a mounted Secret; None: everybody may call.
        refused: told of each refusal, with its code.
        clock: seconds, which only grow.
    """

    def __init__(self, path: Path | None, refused: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._path = path
        self._refused = refused
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: tuple[bytes, ...] = ()
        self._wrong = Buckets(_WRONG)

    def demand(self, authorization: str, peer: str) -> None:
        """Refuses whoever has none of the tokens.

        A right token is taken also of a peer that was wrong too often: behind an Ingress all callers are one peer, and one of
        them shall not shut the others out.

        Raises:
            ApiError: 401, 429 from the 31st wrong one at once and one a second, 503 where the file cannot be read.
        """
        if self._path is None:
            return
        scheme, _, given = authorization.partition(" ")
        try:
            tokens = self._read(self._path)
        except (OSError, ValueError) as error:
            _log.error("token unreadable", error=type(error).__name__)
            raise ApiError(
                ErrorCode.TOKEN_UNREADABLE,
                "the gateway cannot read its token",
                "check gateway.auth.secretRef of the Endpoint: a token a line, at most 16, in printable ASCII",
            ) from None
        held = given.strip().encode()
        right = False
        for token in tokens:  # all of them: the time does not tell which one was close
            right |= hmac.compare_digest(held, token)
        if right and scheme.lower() == "bearer":
            return
        refusal = self._refusal(self._wrong.take(peer, self._clock()))
        self._refused(refusal.code)
        raise refusal

    def _refusal(self, seconds: float) -> ApiError:
        if seconds:
            return ApiError(
                ErrorCode.UNAUTHORIZED_TOO_OFTEN,
                "too many requests without a right bearer token came from this address",
                "correct the token before you come again",
                retry_after=seconds,
            )
        return ApiError(
            ErrorCode.UNAUTHORIZED,
            "the bearer token is missing or wrong",
            "send `Authorization: Bearer <token>` with a token of the Secret that gateway.auth.secretRef names",
        )

    def _read(self, path: Path) -> tuple[bytes, ...]:
        """The tokens as the file has them now.

        Raises:
            OSError: it cannot be read.
            ValueError: there is none, one is not printable ASCII, or there are too many.
        """
        status = path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)  # the kubelet puts another file in its place
        if stamp != self._stamp:
            lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
            tokens = [line for line in lines if line]
            if not 1 <= len(tokens) <= _MOST or not all(token.isprintable() for token in tokens):
                raise ValueError("no token, one that is not printable, or too many")
            self._tokens, self._stamp = tuple(token.encode() for token in tokens), stamp
        return self._tokens
