"""The KServe model: requests in, decisions out, through a bounded queue.

Here belongs what is accepted, what is refused and why, and what is said of errors. The protocols' bodies are protocol.py's, whose
turn it is batcher.py's, and the arithmetic the decoder's.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from math import ceil
from typing import Any

import kserve
from kserve import InferRequest, InferResponse
from pydantic import JsonValue

from tradewind.predictor import metrics, protocol
from tradewind.predictor.batcher import Batch, Batcher, Job
from tradewind.predictor.decoder import Decoder, Written
from tradewind.predictor.failure import RequestError
from tradewind.predictor.grammar import Grammar, GrammarError, Plan
from tradewind.predictor.health import Health
from tradewind.predictor.loader import encode_prompt
from tradewind.predictor.protocol import Instance
from tradewind.predictor.row import NotFiniteError

_MOST_CHARACTERS = 32  # of a token, on average; a longer text is not even tokenised
_logger = logging.getLogger(__name__)


class DecisionModel(kserve.Model):  # type: ignore[misc] # kserve has no types
    """Answers v1's `:predict` and v2's `/infer`. Ready from the start: the server is started once everything is verified and warm."""

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
        max_batch_tokens: int,
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
            max_batch_tokens: of prompts and answers that are in the making at once, as memory allows.
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
        # Reading and tokenising a question goes on beside the model, one at a time.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._batcher = Batcher(Batch(decoder, max_batch_tokens))
        self.ready = True

    @property
    def batched(self) -> bool:
        """Whether answers share passes of the model."""
        return self._decoder.passes.packs

    def get_input_types(self) -> list[dict[str, Any]]:
        """For v2's metadata."""
        return protocol.input_types()

    def get_output_types(self) -> list[dict[str, Any]]:
        """For v2's metadata."""
        return protocol.output_types()

    def validate(self, payload: Any) -> Any:
        """Nothing: `predict` does, and names the field."""
        return payload

    async def predict(
        self, payload: Any, headers: Mapping[str, str] | None = None
    ) -> dict[str, JsonValue] | InferResponse:
        """A prediction an instance, in order, in the protocol of the question.

        Raises:
            RequestError: 400 for a body that breaks the schema, 422 for what does not fit the model, 413 for what is too much for
                this server, 503 where the queue is full, 500 where the model fails.
        """
        del headers
        accepted = time.perf_counter()
        if isinstance(payload, InferRequest):
            answers = await self._answers(protocol.read_v2(payload), accepted)
            return protocol.write_v2(answers, payload, self.name)
        return {"predictions": [*(await self._answers(protocol.read_v1(payload), accepted))]}

    async def _answers(self, instances: Sequence[Instance], accepted: float) -> list[dict[str, Any]]:
        wanted = len(instances)
        if wanted > self._max_queue:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_many_instances",
                f"{wanted} instances were sent, and --max-queue lets {self._max_queue} wait or run",
                f"send at most {self._max_queue} instances, or raise serving.maxQueue (--max-queue)",
                field="instances",
            )
        if self._pending + wanted > self._max_queue:
            wait = ceil(self._pending * self._batcher.seconds_each)
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "queue_full",
                f"{self._pending} decisions are waiting, {self._max_queue} may",
                "ask again after Retry-After, or raise serving.replicas",
                retry_after_seconds=max(wait, 1),
            )
        self._pending += wanted
        metrics.QUEUE.set(self._pending)
        try:
            jobs = [self._answer(instance, accepted) for instance in instances]
            answers = await asyncio.gather(*jobs, return_exceptions=True)
        finally:
            self._pending -= wanted
            metrics.QUEUE.set(self._pending)
        predictions: list[dict[str, Any]] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            predictions.append(answer)
        return predictions

    async def _answer(self, instance: Instance, accepted: float) -> dict[str, Any]:
        job = await asyncio.get_running_loop().run_in_executor(self._reader, self._job, instance)
        try:
            written = await asyncio.wrap_future(self._batcher.submit(job))
        except Exception as error:
            raise self._failure(error) from error
        self.health.answered()
        answer = _prediction(written, accepted)
        metrics.DECISIONS.labels(answer["action"]).inc()
        metrics.PASSES.observe(answer["_forward_passes"])
        metrics.SECONDS.observe(answer["_latency_ms"] / 1000)
        metrics.ACTION_SECONDS.observe(written.action_at - accepted)
        _logger.info(
            "decision symbol=%s action=%s confidence=%s passes=%s ms=%s",
            *(answer[key] for key in ("symbol", "action", "confidence", "_forward_passes", "_latency_ms")),
        )
        return answer

    def decide(self, instances: Sequence[Instance]) -> list[dict[str, Any]]:
        """Decisions before the server listens, all at once.

        Raises:
            RequestError: 413 or 422 where it is the question's fault, 500 where it is the model's: then `health` knows of it.
        """
        accepted = time.perf_counter()
        jobs = [self._job(instance) for instance in instances]
        answers = [self._batcher.submit(job) for job in jobs]
        try:
            return [_prediction(answer.result(), accepted) for answer in answers]
        except Exception as error:
            raise self._failure(error) from error

    def _job(self, instance: Instance) -> Job:
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
        return Job(prompt_ids, plan, tokens)

    def _failure(self, error: Exception) -> RequestError:
        if isinstance(error, NotFiniteError):
            kind, reason, message = "not_finite", "NotFinite", str(error)
            remedy = "serve it with --dtype bfloat16 or float32 (serving.dtype), and look at the weights and the device"
        else:
            _logger.error("a decision failed", exc_info=error)
            kind, reason, message = "failed", "ServerFailed", f"{type(error).__name__}: {str(error)[:300]}"
            remedy = "see the predictor's log; a device that fails or has too little memory is to be replaced"
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
                HTTPStatus.BAD_REQUEST,
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


def _prediction(written: Written, accepted: float) -> dict[str, Any]:
    return {
        **written.decision.model_dump(mode="json"),
        "_probabilities": {action.value: share for action, share in written.probabilities.items()},
        "_forward_passes": written.forward_passes,
        "_latency_ms": round((time.perf_counter() - accepted) * 1000, 3),
    }
