"""Settings of the operator process, all from the environment; a missing one is named together with its remedy."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tradewind.core.platform import Platform


class SettingsError(Exception):
    """A setting is missing or malformed. The message names the variable and what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator needs to run.

    Attributes:
        dsn: libpq connection string of the database; None: up, but every kind that needs data holds (DatabaseMissing).
        watch_namespaces: empty: the whole cluster.
        workers: reconciles that run at the same time.
        resync_seconds: every resource is looked at again after this time, whatever was missed.
    """

    platform: Platform
    dsn: str | None
    watch_namespaces: tuple[str, ...]
    workers: int
    resync_seconds: float
    health_port: int
    metrics_port: int
    log_level: str


def settings_from_environment(env: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: naming the variable and the remedy.
    """
    env = os.environ if env is None else env
    return Settings(
        platform=Platform(
            installation=env.get("TRADEWIND_INSTALLATION", "tradewind"),
            operator_namespace=_required(env, "TRADEWIND_NAMESPACE", "the namespace that the operator runs in"),
            gateway_image=_required(env, "TRADEWIND_IMAGE_GATEWAY", "the gateway's image"),
            predictor_image=_required(env, "TRADEWIND_IMAGE_PREDICTOR", "the predictor's image"),
            trainer_image=_required(env, "TRADEWIND_IMAGE_TRAINER", "the image of the training jobs"),
            progress_service=env.get("TRADEWIND_PROGRESS_SERVICE", "tradewind-operator"),
            progress_port=_integer(env, "TRADEWIND_PROGRESS_PORT", 8090),
        ),
        dsn=env.get("TRADEWIND_DSN") or None,
        watch_namespaces=tuple(n for n in env.get("TRADEWIND_WATCH_NAMESPACES", "").replace(",", " ").split() if n),
        workers=_integer(env, "TRADEWIND_WORKERS", 4),
        resync_seconds=float(_integer(env, "TRADEWIND_RESYNC_SECONDS", 30)),
        health_port=_integer(env, "TRADEWIND_HEALTH_PORT", 8080),
        metrics_port=_integer(env, "TRADEWIND_METRICS_PORT", 9090),
        log_level=env.get("TRADEWIND_LOG_LEVEL", "info"),
    )


def _required(env: Mapping[str, str], name: str, what: str) -> str:
    value = env.get(name, "")
    if not value:
        msg = f"{name} is not set: it names {what}; the Helm chart sets it, outside of it export it before starting"
        raise SettingsError(msg)
    return value


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 1:
        msg = f"{name} must be a whole number above 0, got {text!r}"
        raise SettingsError(msg)
    return value
