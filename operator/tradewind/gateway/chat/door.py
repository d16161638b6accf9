"""`POST /v1/chat/completions` and `GET /v1/models`: off unless the Endpoint says `gateway.openai.enabled: true`.

Belongs here: the order of the steps. Does not belong here: HTTP (app.py), each step (its own module).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from tradewind.gateway.chat.answer import completion, model_entry, model_list
from tradewind.gateway.chat.identity import identify
from tradewind.gateway.chat.question import read_chat
from tradewind.gateway.database import Database
from tradewind.gateway.decide import Decider
from tradewind.gateway.drawing import LEASE_SLACK_SECONDS
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.result import Body
from tradewind.gateway.settings import Settings
from tradewind.trading.routing import Routing

COMPLETIONS: Final = "/v1/chat/completions"
MODELS: Final = "/v1/models"


def is_door(path: str) -> bool:
    """Whether errors at this path are read by a client of the protocol."""
    return path == MODELS or path.startswith(("/v1/chat/", f"{MODELS}/"))


class OpenAIDoor:
    """The calls of one endpoint in the shape of the OpenAI protocol."""

    def __init__(self, settings: Settings, decider: Decider, database: Database, clock: Callable[[], datetime]) -> None:
        self._open = settings.openai
        self._model = f"tradewind/{settings.endpoint}"
        self._lease = settings.decision_timeout + LEASE_SLACK_SECONDS
        self._decider = decider
        self._database = database
        self._clock = clock

    async def complete(self, body: bytes, headers: Mapping[str, str], routing: Routing) -> Body:
        """A decision as a chat completion.

        Args:
            body: bytes of the HTTP body.
            headers: of the HTTP request, by lower-case names.
            routing: obeyed.

        Raises:
            ApiError: 404 another model, 400 the body is not read here, and whatever
                `Decider.decide` raises.
        """
        chat = read_chat(body, self._model, routing)
        decision_id = await identify(
            chat.request,
            headers,
            self._database,
            now=self._clock(),
            lease=self._lease,
            replay=routing.clock == "replay",
        )
        request = chat.request.model_copy(update={"decision_id": decision_id})
        decision = await self._decider.decide(request, routing)
        created = int(self._clock().timestamp())
        return completion(decision, chat.form, model=self._model, created=created, without_effect=chat.without_effect)

    def models(self) -> Body:
        """The one model that this door serves.

        Raises:
            ApiError: 404 the door is off.
        """
        self.demand_open()
        return model_list(self._model)

    def model(self, name: str) -> Body:
        """One model.

        Raises:
            ApiError: 404 the door is off, or it is another one.
        """
        self.demand_open()
        if name != self._model:
            raise ApiError(
                ErrorCode.MODEL_NOT_FOUND,
                f"model: {name[:100]!r} is not served here",
                f"ask for {self._model}",
                field="model",
            )
        return model_entry(self._model)

    def demand_open(self) -> None:
        """Refuses where the Endpoint did not open the door.

        Raises:
            ApiError: 404.
        """
        if not self._open:
            raise ApiError(
                ErrorCode.NO_SUCH_ROUTE,
                "this gateway does not answer the OpenAI protocol",
                "set spec.gateway.openai.enabled: true of the Endpoint, or ask by POST /v1/decisions (docs/gateway.md)",
            )
