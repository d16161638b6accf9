"""A connection to the database for one Endpoint, for commands that read and write its rows by hand.

Belongs here: connecting, the key of the rows, and what a user reads where the database refuses. Does not belong here: statements.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from tradewind import migrations


@dataclass(frozen=True, slots=True)
class Place:
    """The Endpoint that rows are of."""

    installation: str
    namespace: str
    endpoint: str


class RefusedByDatabaseError(Exception):
    """The database did not take it, and nothing of it was stored; the message says why and what to do."""


class EndpointLog:
    """A connection to the database, for one Endpoint and one person; what is not committed is gone at the end."""

    def __init__(self, dsn: str, place: Place, by: str) -> None:
        """Connects.

        Raises:
            InvalidDsnError, UnreachableDatabaseError: see `migrations.connect`.
        """
        self._connection = migrations.connect(dsn)
        self._key: dict[str, Any] = {
            "installation": place.installation,
            "namespace": place.namespace,
            "endpoint": place.endpoint,
            "by": by,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@contextmanager
def in_words(lost: str, rights: str) -> Iterator[None]:
    """What the database says, as a RefusedByDatabaseError.

    Args:
        lost: what was not stored then, such as `nothing`.
        rights: what is needed, after the database's own words for a right that is missing.
    """
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise RefusedByDatabaseError(
            "the database's schema is not there or older than this program; run `tradewind migrate`"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise RefusedByDatabaseError(f"{_first_line(error)}; {rights}") from None
    except psycopg.OperationalError as error:
        raise RefusedByDatabaseError(f"the database went away, {lost} was stored: {_first_line(error)}") from None
    except psycopg.Error as error:
        raise RefusedByDatabaseError(f"the database refused it, {lost} was stored: {_first_line(error)}") from None


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
