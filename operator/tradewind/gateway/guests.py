"""Settings of a process that answers for several Endpoints: its own, and those of its guests.

Belongs here: what a guest has of its own, what it shares with the process, and the errors for what does not fit together. Does not
belong here: what a single setting may be (settings.py).
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from tradewind.gateway.settings import VARIABLES, Settings, SettingsError

GUESTS: Final = "TRADEWIND_GUESTS"
MOST: Final = 63
"""Guests of a process."""
_NEEDED: Final = ("TRADEWIND_ENDPOINT", "TRADEWIND_ROUTING", "TRADEWIND_PORT", "TRADEWIND_SPOOL_DIR")
_OWN: Final = frozenset(
    {
        *_NEEDED,
        "TRADEWIND_AUTH_TOKEN_FILE",
        "TRADEWIND_AUTH",
        "TRADEWIND_OPENAI",
        "TRADEWIND_SPOOL_MAX_BYTES",
        "TRADEWIND_DECISION_TIMEOUT_SECONDS",
        "TRADEWIND_DATABASE_TIMEOUT_SECONDS",
        "TRADEWIND_BREAKER_FAILURES",
        "TRADEWIND_BREAKER_OPEN_SECONDS",
        "TRADEWIND_RETENTION_SECONDS",
        "TRADEWIND_MAX_DECISIONS",
    }
)
"""Variables of an Endpoint: a guest never has those of the process's own Endpoint, its tokens above all."""
_OF_THE_PROCESS: Final = frozenset(variable.name for variable in VARIABLES) - _OWN - {GUESTS}


def all_settings(environment: Mapping[str, str]) -> tuple[Settings, ...]:
    """The process's own Endpoint first, then its guests.

    Raises:
        SettingsError: a variable is missing or wrong, or two Endpoints are to have the same; of a guest it is named by its place.
    """
    own = Settings.from_environment(environment)
    shared = {name: environment[name] for name in _OF_THE_PROCESS & environment.keys()}
    found = [own]
    for place, given in enumerate(_listed(environment.get(GUESTS, ""))):
        found.append(_guest(f"{GUESTS}[{place}]", given, shared))
    _apart("TRADEWIND_ENDPOINT", found, lambda settings: settings.endpoint)
    _apart("TRADEWIND_ROUTING", found, lambda settings: settings.routing)
    _apart("TRADEWIND_PORT", found, lambda settings: settings.port)
    _apart("TRADEWIND_SPOOL_DIR", found, lambda settings: settings.spool_dir)
    for place, settings in enumerate(found[1:]):
        if settings.port == own.health_port:
            raise SettingsError(f"{GUESTS}[{place}]: TRADEWIND_PORT {settings.port} is TRADEWIND_HEALTH_PORT, too")
    return tuple(found)


def _listed(text: str) -> list[object]:
    if not text:
        return []
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or len(listed) > MOST:
        raise SettingsError(f"{GUESTS} is not a JSON list of at most {MOST} objects of variables")
    return listed


def _guest(where: str, given: object, shared: Mapping[str, str]) -> Settings:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise SettingsError(f'{where} is not an object of variables with texts, such as {{"TRADEWIND_PORT": "20001"}}')
    foreign = sorted(given.keys() - _OWN)
    if foreign:
        raise SettingsError(
            f"{where}: {foreign[0]} is not a variable of a guest; leave it out: the process has it for all, or nobody has"
        )
    missing = [name for name in _NEEDED if not given.get(name)]
    if missing:
        raise SettingsError(f"{where}: {missing[0]} is not set; each Endpoint of a process needs its own")
    try:
        return Settings.from_environment({**shared, **given})
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None


def _apart(variable: str, found: list[Settings], value: Callable[[Settings], object]) -> None:
    seen: dict[object, str] = {}
    for place, settings in enumerate(found):
        where = f"{GUESTS}[{place - 1}]" if place else "the process"
        before = seen.setdefault(value(settings), where)
        if before != where:
            raise SettingsError(f"{where}: {variable} is that of {before}; each Endpoint of a process needs its own")
