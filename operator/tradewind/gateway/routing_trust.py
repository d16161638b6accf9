"""Whether a document that was found is obeyed.

Belongs here: signature, shape, bounds and age of what is offered. Does not belong here: where it is found (routing_source.py)
and how signatures are made (trading/signature.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError

from tradewind.schema.rules import first_fault
from tradewind.trading.routing import Refusal, Routing
from tradewind.trading.signature import Verifier


class Offered(NamedTuple):
    """A document as it was found."""

    text: str
    signature: str = ""


class RefusedError(Exception):
    """A document is not obeyed. `detail` has nothing of what it says but names of fields."""

    def __init__(self, reason: Refusal, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Judge:
    """What this gateway obeys.

    Attributes:
        verifier: None: the text counts as it lies there.
        clock: the time of day.
    """

    namespace: str
    endpoint: str
    verifier: Verifier | None
    clock: Callable[[], datetime]

    def read(self, offered: Offered, obeyed: Routing | None) -> Routing:
        """The document, if it is one to obey in place of `obeyed`. Nothing of it is read before its signature was verified.

        Raises:
            RefusedError: it is not.
        """
        if self.verifier is not None:
            refusal = self.verifier.refusal(offered.signature, offered.text, self.namespace, self.endpoint)
            if refusal is not None:
                raise RefusedError(refusal)
        try:
            routing = Routing.from_json(offered.text)
        except ValidationError as error:
            raise RefusedError(Refusal.MALFORMED, first_fault(error).field) from None
        except ValueError:  # no UTF-8
            raise RefusedError(Refusal.MALFORMED) from None
        if routing.endpoint != self.endpoint:
            raise RefusedError(Refusal.OTHER_ENDPOINT)
        beyond = routing.out_of_bounds(self.clock())
        if beyond is not None:
            raise RefusedError(Refusal.OUT_OF_BOUNDS, beyond)
        if obeyed is not None and routing.is_older_than(obeyed):
            raise RefusedError(Refusal.OLDER)
        return routing
