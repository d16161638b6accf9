"""What a store's answer means: which exit code, in which words, and what to do.

An answer's body stays out of every message: stores repeat the key's id in it, and what answers may be no store at all.
"""

import re
from typing import Final

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from tradewind.pretrained.fault import UnfitError
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.stores import StoredFolder, endpoint_of

_CODE: Final = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_STATUS: Final = re.compile(r"\bstatus(?: code)?:? (?:code )?([1-5][0-9]{2})\b|\bstatus ([1-5][0-9]{2})\b")
_KEY: Final = frozenset(
    {
        "InvalidAccessKeyId",
        "XAdminUserNotFound",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
        "SecurityTokenExpired",
        "InvalidSecurityToken",
    }
)
_REGION: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "IllegalLocationConstraintException",
        "IncorrectEndpoint",
        "AuthorizationQueryParametersError",
    }
)
_CLOCK: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})


class StoreError(UnfitError):
    """A store cannot be used as the spec says. `code` says whether another attempt may end otherwise."""

    @property
    def passes(self) -> bool:
        """Whether it may pass by itself."""
        return self.code is ExitCode.STORE_UNAVAILABLE


def refused(folder: StoredFolder, reason: str, message: str) -> StoreError:
    """Something has to be changed before another attempt ends otherwise; exit 64."""
    return StoreError(ExitCode.BAD_CONFIG, reason, f"{folder.field}: {folder.uri}: {message}")


def unavailable(folder: StoredFolder, message: str, reason: str = ExitCode.STORE_UNAVAILABLE.reason) -> StoreError:
    """The network, the store or a clock; exit 69."""
    return StoreError(ExitCode.STORE_UNAVAILABLE, reason, f"{folder.field}: {folder.uri}: {message}")


def damaged(folder: StoredFolder, message: str) -> StoreError:
    """What lies there is not what is asked for; exit 65."""
    return StoreError(ExitCode.BAD_DATA, "StoreObjectMismatch", f"{folder.field}: {folder.uri}: {message}")


def missing(folder: StoredFolder, message: str) -> StoreError:
    """What is asked for is not there; exit 65."""
    return StoreError(ExitCode.BAD_DATA, "StoreObjectMissing", f"{folder.field}: {folder.uri}: {message}")


def is_absence(error: FileNotFoundError) -> bool:
    """Whether an object is not there; stores say other things with the same status, too."""
    code = _CODE.search(str(error))
    return code is None or code[1] in ("NoSuchKey", "NotFound")


def told(folder: StoredFolder, error: Exception) -> StoreError:
    """An error of the client, in words of ours.

    Args:
        folder: what was asked for.
        error: of obstore. That an object is not there is the caller's business.
    """
    text = str(error)
    code = found[1] if (found := _CODE.search(text)) else ""
    asked, secret = endpoint_of(folder.uri, folder.store), folder.store.secret_ref
    who = (
        f"the key of Secret {secret.name}"
        if secret is not None
        else f"ServiceAccount {folder.store.service_account_name}"
    )
    if code == "NoSuchBucket":
        return refused(folder, "BucketMissing", f"{asked} has no bucket {folder.bucket}: create it, or correct the URI")
    if code in _REGION or "Received redirect without LOCATION" in text:
        words = f"{asked} does not take requests signed for region {folder.store.region}"
        return refused(
            folder, "WrongRegion", f"{words} ({code or 'redirect'}): set store.region to the region of the bucket"
        )
    if code in _CLOCK:
        words = f"{asked} finds the clock of the node wrong ({code}): set it by NTP, or move the pod to another node"
        return unavailable(folder, words, "ClockSkew")
    if code in _KEY:
        words = f"{asked} does not know {who} ({code}): put a valid accessKeyId and secretAccessKey there"
        if secret is None:
            words = f"{asked} does not accept what {who} was given ({code}): see the trust policy of its role"
        return refused(folder, "StoreKeyRefused", words)
    if code == "AccessDenied" or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        rights = "list, read and, for an output, write and delete objects there"
        return refused(
            folder, "StoreAccessDenied", f"{who} may not do this ({code or 'denied'}): give it the right to {rights}"
        )
    status = next((a or b for a, b in _STATUS.findall(text)), "")
    said = code or (f"status {status}" if status else "no answer")
    return unavailable(
        folder, f"{asked} does not answer as a store does ({said}): see that it runs and may be reached from the pod"
    )
