"""The KServe model: requests in, decisions out, one at a time through a bounded queue.

Here belongs the v1 protocol's body, the queue and the one inference thread. The arithmetic is the decoder's.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any

import kserve
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tradewind.predictor import metrics
from tradewind.predictor.decoder import Decoder, Written
from tradewind.predictor.failure import RequestError
from tradewind.predictor.grammar import Grammar, GrammarError, Plan
from tradewind.predictor.health import Health
from tradewind.predictor.loader import encode_prompt
from tradewind.predictor.row import NotFiniteError
from tradewind.schema.names import Symbol
from tradewind.schema.rules import first_fault
from tradewind.trading.decision import DecisionInput, Limits
from tradewind.trading.prompt import render_prompt

_MAX_INSTANCES = 16
_MOST_CHARACTERS = 32  # of a token, on average; a longer text is not even tokenised
_logger = logging.getLogger(__name__)


class Instance(BaseModel):
    """One question. `symbols` names the one symbol that is asked about; `limits` is null where the endpoint sets none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    market_data: Mapping[str, JsonValue]
    account_state: Mapping[str, JsonValue]
    recent_history: Annotated[tuple[Mapping[str, JsonValue], ...], Field(max_length=100)] = ()
    symbols: Annotated[tuple[Symbol, ...], Field(min_length=1, max_length=1)]
    limits: Limits | None = None

    @property
    def prompt(self) -> str:
        """The prompt as training renders it."""
        shown = DecisionInput(
            market_data=self.market_data, account_state=self.account_state, recent_history=self.recent_history
        )
        return render_prompt(shown, self.symbols[0])


class PredictRequest(BaseModel):
    """Body of `POST /v1/models/<name>:predict`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: Annotated[tuple[Instance, ...], Field(min_length=1, max_length=_MAX_INSTANCES)]


class DecisionModel(kserve.Model):  # type: ignore[misc] # kserve has no types
    """Answers `:predict`. Ready from the start: the server is started once everything is verified and warm."""

    def __init__(
        self,
        name: str,
        decoder: Decoder,
        grammar: Grammar,
        tokenizer: Any,
        *,
        max_positions: int,
        max_queue: int,
        max_prompt_tokens: int,
    ) -> None:
        """A model that answers.

        Args:
            name: on the endpoint's path.
            decoder: writes the decisions.
            grammar: says what may be written.
            tokenizer: of prompts.
            max_positions: tokens of prompt and answer together that the model has room for.
            max_queue: decisions that may wait or run.
            max_prompt_tokens: of a prompt, as memory allows.
        """
        super().__init__(name)
        self.health = Health()
        self._decoder = decoder
        self._grammar = grammar
        self._tokenizer = tokenizer
        self._max_positions = max_positions
        self._max_queue = max_queue
        self._max_prompt_tokens = max_prompt_tokens
        self._pending = 0
        self._seconds = 0.1  # moving average of one decision
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self.ready = True

    async def predict(self, payload: Any, headers: Mapping[str, str] | None = None) -> dict[str, JsonValue]:
        """A prediction an instance, in order.

        Raises:
            RequestError: 422 for a body that breaks the schema or does not fit the model, 413 for one that is too much for this
                server, 503 where the queue is full, 500 where the model fails.
        """
        del headers
        accepted = time.perf_counter()
        request = _parse(payload)
        wanted = len(request.instances)
        if wanted > self._max_queue:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_many_instances",
                f"{wanted} instances were sent, and --max-queue lets {self._max_queue} wait or run",
                f"send at most {self._max_queue} instances, or raise serving.maxQueue (--max-queue)",
                field="instances",
            )
        if self._pending + wanted > self._max_queue:
            wait = ceil(self._pending * self._seconds)
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "queue_full",
                f"{self._pending} decisions are waiting, {self._max_queue} may",
                "ask again after Retry-After, or raise serving.replicas",
                retry_after_seconds=max(wait, 1),
            )
        self._pending += wanted
        metrics.QUEUE.set(self._pending)
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._worker, self._answer, instance, accepted) for instance in request.instances]
        try:
            answers = await asyncio.gather(*jobs, return_exceptions=True)
        finally:
            self._pending -= wanted
            metrics.QUEUE.set(self._pending)
        predictions: list[JsonValue] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            predictions.append(answer)
        return {"predictions": predictions}

    def _answer(self, instance: Instance, accepted: float) -> dict[str, Any]:
        answer = self.decide(instance, accepted)
        metrics.DECISIONS.labels(answer["action"]).inc()
        metrics.PASSES.observe(answer["_forward_passes"])
        metrics.SECONDS.observe(answer["_latency_ms"] / 1000)
        _logger.info(
            "decision symbol=%s action=%s confidence=%s passes=%s ms=%s",
            *(answer[key] for key in ("symbol", "action", "confidence", "_forward_passes", "_latency_ms")),
        )
        return answer

    def decide(self, instance: Instance, accepted: float) -> dict[str, Any]:
        """One decision, on the inference thread.

        Args:
            instance: the question.
            accepted: `time.perf_counter()` when the request came in; `_latency_ms` counts from there.

        Raises:
            RequestError: 413 or 422 where it is the question's fault, 500 where it is the model's: then `health` knows of it.
        """
        started = time.perf_counter()
        written = self._write(instance)
        ended = time.perf_counter()
        self._seconds += 0.1 * (ended - started - self._seconds)
        return {
            **written.decision.model_dump(mode="json"),
            "_probabilities": {action.value: share for action, share in written.probabilities.items()},
            "_forward_passes": written.forward_passes,
            "_latency_ms": round((ended - accepted) * 1000, 3),
        }

    def _write(self, instance: Instance) -> Written:
        prompt_ids = self._prompt_ids(instance)
        if len(prompt_ids) > self._max_prompt_tokens:
            raise self._too_large(f"the prompt takes {len(prompt_ids)} tokens")
        plan = self._plan(instance)
        tokens = len(prompt_ids) + plan.longest + self._decoder.prose_tokens
        if tokens > self._max_positions:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "prompt_too_long",
                f"prompt and answer take {tokens} tokens, the model has room for {self._max_positions}",
                "send less market_data or recent_history",
                field="market_data",
            )
        try:
            written = self._decoder.write(prompt_ids, plan)
        except NotFiniteError as error:
            remedy = "serve it with --dtype bfloat16 or float32 (serving.dtype), and look at the weights and the device"
            raise self._failure("not_finite", "NotFinite", str(error), remedy) from error
        except Exception as error:
            _logger.exception("a decision failed")
            remedy = "see the predictor's log; a device that fails or has too little memory is to be replaced"
            raise self._failure(
                "failed", "ServerFailed", f"{type(error).__name__}: {str(error)[:300]}", remedy
            ) from error
        self.health.answered()
        return written

    def _failure(self, kind: str, reason: str, message: str, remedy: str) -> RequestError:
        metrics.BAD_PASSES.labels(kind).inc()
        self.health.failed(reason, f"{message}; {remedy}")
        return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"model_{kind}", message, remedy)

    def _prompt_ids(self, instance: Instance) -> list[int]:
        try:
            text = instance.prompt
            if len(text) > _MOST_CHARACTERS * self._max_prompt_tokens:
                raise self._too_large(f"the prompt has {len(text)} characters")
            return encode_prompt(self._tokenizer, text)
        except (ValueError, TypeError, RecursionError) as error:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "invalid_request",
                f"market_data, account_state or recent_history cannot be written as a prompt: {type(error).__name__}",
                "send JSON that is nested less deep, of text without lone surrogates and of finite numbers",
                field="market_data",
            ) from error

    def _plan(self, instance: Instance) -> Plan:
        try:
            return self._grammar.plan(instance.symbols[0], instance.limits)
        except GrammarError as error:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "symbol_unsupported", str(error), "ask another arm", field="symbols"
            ) from error

    def _too_large(self, what: str) -> RequestError:
        return RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "prompt_too_large",
            f"{what}, this server's memory allows {self._max_prompt_tokens} tokens",
            "send less market_data or recent_history, or raise serving.resources.limits.memory (--max-prompt-tokens sets the bound)",
            field="market_data",
        )


def _parse(payload: Any) -> PredictRequest:
    try:
        return PredictRequest.model_validate(payload)
    except ValidationError as error:
        fault = first_fault(error)
        field = fault.field or "body"
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid_request",
            f"{field}: {fault.message}",
            'send {"instances": [{"market_data", "account_state", "recent_history", "symbols": [one], "limits"}]}',
            field=field,
        ) from None
