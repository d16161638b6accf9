"""Settings of the operator process, all from the environment; a missing one is named together with its remedy.

One table, VARIABLES: the process reads by it, and docs/reference.md shows it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from tradewind.core.network import Network
from tradewind.core.platform import Platform
from tradewind.core.policy import Policy
from tradewind.schema.rules import first_fault
from tradewind.shell.shards import Shard
from tradewind.trading.signature import KeyFormatError, Signer, Verifier


class SettingsError(Exception):
    """A setting is missing or malformed. The message names the variable and what to set."""


class Variable(NamedTuple):
    """One environment variable; without a default it has to be set."""

    name: str
    default: str | None
    meaning: str


VARIABLES = (
    Variable("TRADEWIND_NAMESPACE", None, "the namespace that the operator runs in"),
    Variable("TRADEWIND_IMAGE_GATEWAY", None, "the gateway's image"),
    Variable("TRADEWIND_IMAGE_PREDICTOR", None, "the predictor's image"),
    Variable("TRADEWIND_IMAGE_TRAINER", None, "the image of the training jobs"),
    Variable(
        "TRADEWIND_IMAGE_VLLM",
        "",
        "an image of vLLM's server, with `vllm` and `python3`; empty: versions with runtime huggingface are refused",
    ),
    Variable(
        "TRADEWIND_PULL_SECRETS_GATEWAY", "", "Secrets for the registry of the gateway's image, by comma or space"
    ),
    Variable("TRADEWIND_PULL_SECRETS_PREDICTOR", "", "the same for the predictor's image"),
    Variable("TRADEWIND_PULL_SECRETS_TRAINER", "", "the same for the image of the training jobs"),
    Variable("TRADEWIND_PULL_SECRETS_VLLM", "", "the same for the image of vLLM's server"),
    Variable("TRADEWIND_PULL_POLICY", "IfNotPresent", "when these images are pulled: Always, IfNotPresent or Never"),
    Variable("TRADEWIND_DSN", "", "connection string of the database; without it whatever needs data waits"),
    Variable("TRADEWIND_INSTALLATION", "tradewind", "first part of every key in the database"),
    Variable(
        "TRADEWIND_ROUTING_KEY_FILE",
        None,
        "the file with the key that signs what gateways obey (`openssl genpkey -algorithm ed25519`)",
    ),
    Variable(
        "TRADEWIND_ROUTING_TRUSTED_KEYS",
        "",
        "further public keys that gateways obey while one key follows another, base64 of DER, by comma or space",
    ),
    Variable(
        "TRADEWIND_WATCH_NAMESPACES",
        "",
        "namespaces to watch, by comma or space; empty: those with the label tradewind.dev/enabled=true",
    ),
    Variable(
        "TRADEWIND_SHARD",
        "0/1",
        "which of several operators this is, as INDEX/COUNT from 0: each has a part of the namespaces, and a lease of its own",
    ),
    Variable("TRADEWIND_WORKERS", "4", "reconciles that run at the same time"),
    Variable(
        "TRADEWIND_RESYNC_SECONDS", "30", "what is not finished is looked at again after so long, whatever was missed"
    ),
    Variable(
        "TRADEWIND_POLICY", "{}", "what authors may do, as JSON: the values `policy` of the chart, with `egress` in it"
    ),
    Variable(
        "TRADEWIND_NETWORK_POLICY",
        "{}",
        "NetworkPolicies of children, as JSON: the values `networkPolicy` of the chart",
    ),
    Variable("TRADEWIND_PROGRESS_SERVICE", "tradewind-operator", "the Service by which trainers reach the operator"),
    Variable("TRADEWIND_PROGRESS_PORT", "8090", "its port, where trainers report their progress"),
    Variable("TRADEWIND_HEALTH_PORT", "8080", "port of /healthz"),
    Variable("TRADEWIND_METRICS_PORT", "9090", "port of /metrics"),
    Variable("TRADEWIND_LOG_LEVEL", "info", "debug, info, warning or error"),
)


_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_SHARD = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator needs to run.

    Attributes:
        dsn: libpq connection string of the database; None: up, but every kind that needs data holds.
        shard: which of several operators this is.
        workers: reconciles that run at the same time.
        resync_seconds: every resource is looked at again after this time, whatever was missed.
    """

    platform: Platform
    signer: Signer
    dsn: str | None
    shard: Shard
    workers: int
    resync_seconds: float
    health_port: int
    metrics_port: int
    log_level: str

    @property
    def watch_namespaces(self) -> tuple[str, ...]:
        """This operator's own; empty: those of its shard with the label `tradewind.dev/enabled=true`."""
        return self.shard.named


def settings_from_environment(env: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. An empty variable counts as one that is not set.

    Raises:
        SettingsError: naming the variable and the remedy.
    """
    env = os.environ if env is None else env
    texts = {variable.name: _text(env, variable) for variable in VARIABLES}
    signer = _signer(texts)
    return Settings(
        platform=Platform(
            installation=texts["TRADEWIND_INSTALLATION"],
            operator_namespace=texts["TRADEWIND_NAMESPACE"],
            gateway_image=texts["TRADEWIND_IMAGE_GATEWAY"],
            predictor_image=texts["TRADEWIND_IMAGE_PREDICTOR"],
            trainer_image=texts["TRADEWIND_IMAGE_TRAINER"],
            gateway_pull_secrets=_secrets(texts, "TRADEWIND_PULL_SECRETS_GATEWAY"),
            predictor_pull_secrets=_secrets(texts, "TRADEWIND_PULL_SECRETS_PREDICTOR"),
            trainer_pull_secrets=_secrets(texts, "TRADEWIND_PULL_SECRETS_TRAINER"),
            vllm_image=texts["TRADEWIND_IMAGE_VLLM"],
            vllm_pull_secrets=_secrets(texts, "TRADEWIND_PULL_SECRETS_VLLM"),
            pull_policy=_pull_policy(texts["TRADEWIND_PULL_POLICY"]),
            routing_keys=signer.public_keys,
            progress_service=texts["TRADEWIND_PROGRESS_SERVICE"],
            progress_port=_whole_number(texts, "TRADEWIND_PROGRESS_PORT"),
            policy=_policy(texts["TRADEWIND_POLICY"]),
            network=_network(texts["TRADEWIND_NETWORK_POLICY"]),
        ),
        signer=signer,
        dsn=texts["TRADEWIND_DSN"] or None,
        shard=_shard(texts["TRADEWIND_SHARD"], _words(texts["TRADEWIND_WATCH_NAMESPACES"])),
        workers=_whole_number(texts, "TRADEWIND_WORKERS"),
        resync_seconds=float(_whole_number(texts, "TRADEWIND_RESYNC_SECONDS")),
        health_port=_whole_number(texts, "TRADEWIND_HEALTH_PORT"),
        metrics_port=_whole_number(texts, "TRADEWIND_METRICS_PORT"),
        log_level=texts["TRADEWIND_LOG_LEVEL"],
    )


def _text(env: Mapping[str, str], variable: Variable) -> str:
    text = env.get(variable.name) or variable.default
    if text is None:
        raise SettingsError(
            f"{variable.name} is not set: it names {variable.meaning}; the Helm chart sets it, outside of it export it "
            "before starting"
        )
    return text


def _signer(texts: Mapping[str, str]) -> Signer:
    path, trusted = Path(texts["TRADEWIND_ROUTING_KEY_FILE"]), _words(texts["TRADEWIND_ROUTING_TRUSTED_KEYS"])
    try:
        Verifier(trusted)
    except KeyFormatError as error:
        raise SettingsError(
            f"TRADEWIND_ROUTING_TRUSTED_KEYS: {error}; the chart's value is routing.trustedKeys"
        ) from None
    try:
        return Signer(path.read_bytes(), trusted)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SettingsError(
            f"TRADEWIND_ROUTING_KEY_FILE: {path} cannot be read ({why}); the chart mounts the Secret of "
            "routing.existingSecret, or one of its own, there"
        ) from None
    except KeyFormatError as error:
        raise SettingsError(f"TRADEWIND_ROUTING_KEY_FILE: {path} is {error}") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _shard(text: str, among: tuple[str, ...]) -> Shard:
    match = _SHARD.fullmatch(text)
    if match is None or int(match[1]) >= int(match[2]):
        raise SettingsError(
            f"TRADEWIND_SHARD must be INDEX/COUNT with an index from 0 below the count, such as 0/2, got {text!r}; "
            "the chart sets it by operator.shards"
        )
    shard = Shard(int(match[1]), int(match[2]), among)
    if among and not shard.named:
        raise SettingsError(
            f"TRADEWIND_SHARD: {shard.count} shards leave shard {shard.index} none of the {len(set(among))} namespaces of "
            "TRADEWIND_WATCH_NAMESPACES; name more of them, or set operator.shards to their number at most"
        )
    return shard


def _secrets(texts: Mapping[str, str], name: str) -> tuple[str, ...]:
    names = _words(texts[name])
    for each in names:
        if len(each) > 253 or not _OBJECT_NAME.fullmatch(each):
            raise SettingsError(f"{name}: {each!r} is not the name of a Secret; name those of image.pullSecrets")
    return tuple(dict.fromkeys(names))


def _pull_policy(text: str) -> str:
    if text not in _PULL_POLICIES:
        raise SettingsError(f"TRADEWIND_PULL_POLICY must be one of {', '.join(_PULL_POLICIES)}, got {text!r}")
    return text


def _policy(text: str) -> Policy:
    try:
        return Policy.model_validate_json(text)
    except ValidationError as error:
        fault = first_fault(error)
        where = f" of {fault.field}" if fault.field else ""
        raise SettingsError(f"TRADEWIND_POLICY{where}: {fault.message}; correct the values policy and egress") from None


def _network(text: str) -> Network:
    try:
        return Network.model_validate_json(text)
    except ValidationError as error:
        fault = first_fault(error)
        where = f" of {fault.field}" if fault.field else ""
        message = f"TRADEWIND_NETWORK_POLICY{where}: {fault.message}; correct the values networkPolicy"
        raise SettingsError(message) from None


def _whole_number(texts: Mapping[str, str], name: str) -> int:
    try:
        value = int(texts[name])
    except ValueError:
        value = -1
    if value < 1:
        raise SettingsError(f"{name} must be a whole number above 0, got {texts[name]!r}")
    return value
