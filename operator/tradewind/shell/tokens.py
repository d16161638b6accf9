"""Whose a ServiceAccount token is, asked of the API server as seldom as can be.

A TokenReview costs the API server a signature and costs whoever sends nonsense nothing. So what can be seen without it is
seen first, a verdict is kept for a while, and only so many are asked for, of one peer and of all.
"""

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from tradewind.trading.rates import Bucket, Buckets, Rate

REVIEWS = Counter("tradewind_token_reviews", "TokenReviews for tokens of trainers, by what came of them.", ["result"])

_ALL = Rate(burst=20, per_second=10.0)
_PEER = Rate(burst=5, per_second=0.5)
_GOOD_SECONDS = 60.0
_BAD_SECONDS = 60.0
_KEPT = 2048
_LONGEST = 8192
_LEEWAY_SECONDS = 60.0


class TooManyReviewsError(Exception):
    """No more reviews now; `seconds` until there is one for this peer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many tokens were sent: come again in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself. Nothing of it is proven before the API server has reviewed the token.

    Attributes:
        user: the ServiceAccount, `system:serviceaccount:<namespace>:<name>`.
        namespace, pod: of the pod that the token is bound to.
        expires: seconds since the epoch.
    """

    user: str
    namespace: str
    pod: str
    expires: float


def claims_of(token: str, audience: str, now: float) -> Claims | None:
    """What a token says of itself; None: the API server could only refuse it.

    Args:
        token: a signed JWT (RFC 7519) of a ServiceAccount, bound to a pod.
        audience: for which it must be.
        now: seconds since the epoch; an expiry is given a minute, since clocks differ.
    """
    if len(token) > _LONGEST:
        return None
    try:
        head, body, signature = token.split(".")
        header, payload = _decoded(head), _decoded(body)
        bound = payload["kubernetes.io"]
        audiences = payload["aud"] if isinstance(payload["aud"], list) else [payload["aud"]]
        found = Claims(
            str(payload["sub"]), str(bound["namespace"]), str(bound["pod"]["name"]), expires=float(payload["exp"])
        )
        signed = isinstance(header["alg"], str) and header["alg"].lower() != "none" and signature
        issued = isinstance(payload["iss"], str) and payload["iss"]
        begins = float(payload.get("nbf", 0))
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    ours = found.user.startswith(f"system:serviceaccount:{found.namespace}:")
    timely = begins - _LEEWAY_SECONDS <= now < found.expires + _LEEWAY_SECONDS
    return found if signed and issued and ours and timely and audience in audiences else None


def _decoded(part: str) -> dict[str, Any]:
    if not part.isascii():
        raise ValueError("not base64url")
    found = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


class TokenReviews:
    """The API server's verdicts, by the hash of the token.

    Args:
        review: gives the user of a token, or None where it is not good; raises what it likes.
        clock: seconds, which only grow.
    """

    def __init__(self, review: Callable[[str], Awaitable[str | None]], clock: Callable[[], float]) -> None:
        self._review = review
        self._clock = clock
        self._all = Bucket(_ALL)
        self._peers = Buckets(_PEER)
        self._good: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._bad: OrderedDict[bytes, float] = OrderedDict()

    async def user(self, token: str, peer: str) -> str | None:
        """The user that the token proves; None: it is not good.

        Raises:
            TooManyReviewsError: neither is known, and there is no room for a review.
        """
        now, digest = self._clock(), hashlib.sha256(token.encode()).digest()
        user, until = self._good.get(digest, (None, 0.0))
        if user is not None and now < until:
            return user
        if now < self._bad.get(digest, 0.0):
            return None
        seconds = self._peers.wait(peer, now) or self._all.wait(now)
        if seconds:
            REVIEWS.labels("held_back").inc()
            raise TooManyReviewsError(seconds)
        self._peers.take(peer, now)
        self._all.take(now)
        try:
            user = await self._review(token)
        except Exception:
            REVIEWS.labels("failed").inc()
            raise
        REVIEWS.labels("good" if user is not None else "bad").inc()
        if user is not None:  # apart: nonsense in any number drives no good token out
            _keep(self._good, digest, (user, now + _GOOD_SECONDS))
        else:
            _keep(self._bad, digest, now + _BAD_SECONDS)
        return user


def _keep(kept: OrderedDict[bytes, Any], digest: bytes, verdict: object) -> None:
    kept[digest] = verdict
    kept.move_to_end(digest)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
