"""As whom a store is asked: the key of a mounted Secret, or a role that the pod's ServiceAccount may take.

A Secret names the hosts that its key is for, as the Secret of an API does; nothing is sent to any other. A role's key is asked for
anew before it runs out.
"""

import http.client
import json
import os
import secrets
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tradewind.stores.faults import StoreError, refused, unavailable
from tradewind.trading.hosts import Asked, secret_names
from tradewind.trading.settings.stores import SecretKeys, StoredFolder, endpoint_of, token_endpoint_of

Credential = dict[str, Any]
"""As obstore takes it: access_key_id, secret_access_key, token, expires_at."""
_SECONDS: Final = 3600
_TIMEOUT: Final = 20.0
OSS_ROLE, OSS_PROVIDER, OSS_TOKEN = (
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
)
"""What the webhook ack-pod-identity-webhook sets in pods of a ServiceAccount with a RAM role."""
AWS_ROLE, AWS_TOKEN = "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"
"""What the webhook of EKS sets in pods of a ServiceAccount with an IAM role."""
TOKEN_ENDPOINT: Final = "TRADEWIND_STS_ENDPOINT"  # noqa: S105 - a name


def credentials(folder: StoredFolder, environment: Mapping[str, str] = os.environ) -> Callable[[], Credential]:
    """What gives a key whenever one is needed.

    Raises:
        StoreError: exit 64: the Secret lacks a key or does not name the host; the pod has no role.
    """
    if folder.secret_folder is not None:
        key = _of_secret(folder, folder.secret_folder)
        return lambda: key
    names = (OSS_ROLE, OSS_PROVIDER, OSS_TOKEN) if folder.uri.startswith("oss://") else (AWS_ROLE, AWS_TOKEN)
    lacking = [name for name in names if not environment.get(name)]
    if lacking:
        account = folder.store.service_account_name
        message = (
            f"the pod has no role: {', '.join(lacking)} is not set; give ServiceAccount {account} a role (RRSA of ACK for oss://, "
            "IRSA of EKS for s3://), and let the webhook of the cloud work in this namespace"
        )
        raise refused(folder, "StoreIdentityMissing", message)
    return lambda: _of_role(folder, environment)


def _of_secret(folder: StoredFolder, mounted: Path) -> Credential:
    ref = folder.store.secret_ref
    name = ref.name if ref is not None else mounted.name
    values = {key: _read(mounted / key) for key in SecretKeys}
    for key in (SecretKeys.ACCESS_KEY_ID, SecretKeys.SECRET_ACCESS_KEY):
        if not values[key]:
            raise refused(folder, "StoreKeyMissing", f"Secret {name} has no key {key}: create it with that key")
    url = endpoint_of(folder.uri, folder.store)
    if not secret_names(values[SecretKeys.ALLOWED_HOSTS], url):
        asked = Asked.of(url)
        message = (
            f"Secret {name} does not name {asked.host}: if the key is meant for it, add {url.rpartition('/')[2]} to the key "
            f"{SecretKeys.ALLOWED_HOSTS} of the Secret"
        )
        raise refused(folder, "SecretNotForHost", message)
    return {
        "access_key_id": values[SecretKeys.ACCESS_KEY_ID],
        "secret_access_key": values[SecretKeys.SECRET_ACCESS_KEY],
        "token": values[SecretKeys.SESSION_TOKEN] or None,
        "expires_at": None,
    }


def _of_role(folder: StoredFolder, environment: Mapping[str, str]) -> Credential:
    """A key for an hour, for the pod's token. Both clouds take the token alone, without a signature."""
    oss = folder.uri.startswith("oss://")
    token = Path(environment[OSS_TOKEN if oss else AWS_TOKEN]).read_text(encoding="utf-8").strip()
    session, role = f"tradewind-{secrets.token_hex(4)}", environment[OSS_ROLE if oss else AWS_ROLE]
    if oss:
        form = {
            "Action": "AssumeRoleWithOIDC",
            "Version": "2015-04-01",
            "Format": "JSON",
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "SignatureNonce": secrets.token_hex(16),
            "OIDCProviderArn": environment[OSS_PROVIDER],
            "OIDCToken": token,
        }
    else:
        form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "WebIdentityToken": token}
    form |= {"RoleArn": role, "RoleSessionName": session, "DurationSeconds": str(_SECONDS)}
    url = environment.get(TOKEN_ENDPOINT) or token_endpoint_of(folder.uri, folder.store)
    answer = _asked(folder, url, form)
    try:
        given = (
            answer["Credentials"]
            if oss
            else answer["AssumeRoleWithWebIdentityResponse"]["AssumeRoleWithWebIdentityResult"]["Credentials"]
        )
        expires = given["Expiration"]
        return {
            "access_key_id": str(given["AccessKeyId"]),
            "secret_access_key": str(given["AccessKeySecret" if oss else "SecretAccessKey"]),
            "token": str(given["SecurityToken" if oss else "SessionToken"]) or None,
            "expires_at": datetime.fromtimestamp(expires, UTC)
            if isinstance(expires, int | float)
            else datetime.fromisoformat(expires),
        }
    except (KeyError, TypeError, ValueError):
        raise unavailable(folder, f"{url} gave no key for ServiceAccount {folder.store.service_account_name}") from None


def _asked(folder: StoredFolder, url: str, form: Mapping[str, str]) -> Any:
    request = urllib.request.Request(  # noqa: S310 - of the spec, judged by the operator
        url, urllib.parse.urlencode(form).encode(), {"Accept": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT, context=ssl.create_default_context()) as response:  # noqa: S310
            return json.loads(response.read(1 << 20))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            raise unavailable(folder, f"{url} fails with status {error.code}") from None
        role = form["RoleArn"]
        message = (
            f"{url} does not let ServiceAccount {folder.store.service_account_name} take the role {role} (status {error.code}): "
            "see the trust policy of the role"
        )
        raise refused(folder, "StoreIdentityRefused", message) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise unavailable(folder, f"{url} does not answer ({type(error).__name__})") from None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


__all__ = ["Credential", "StoreError", "credentials"]
