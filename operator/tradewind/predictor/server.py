"""From verified files to a listening server: load, warm up, only then listen.

The port opens last, so that no readiness probe can pass before the artifact's hash, the tokenizer's round trip and a
warm-up decision are behind us. Here belongs the order of things and the routes beside the protocol's own.
"""

import logging
import os
import signal
import time
from collections.abc import Sequence
from http import HTTPStatus

import kserve
import torch
import transformers
from fastapi.responses import JSONResponse
from kserve.model_server import app
from llguidance.hf import from_tokenizer
from pydantic import JsonValue

from tradewind.predictor.alike import share_if_alike
from tradewind.predictor.card import card
from tradewind.predictor.decoder import Decoder, ModelUnsupportedError, Prose
from tradewind.predictor.failure import RequestError, StartError
from tradewind.predictor.grammar import Grammar, GrammarError
from tradewind.predictor.loader import SAMPLE_INPUTS, Loaded, completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.memory import affordable_tokens
from tradewind.predictor.model import DecisionModel
from tradewind.predictor.protocol import Instance
from tradewind.predictor.quantization import load_for_serving
from tradewind.predictor.rest import name_fields
from tradewind.predictor.settings import Reasoning, Settings
from tradewind.pretrained.cpu import cpu_threads
from tradewind.pretrained.servable import positions_of
from tradewind.trading.exits import ExitCode
from tradewind.trading.pauses import keep_for_good
from tradewind.trading.prompt import PROMPT_VERSION, render_prompt

LIVE = "/tradewind/v1/live"
_ANSWER_TOKENS = 512  # more than any completion without prose
_logger = logging.getLogger("tradewind.predictor")


def serve(settings: Settings, sha256: str, base_matches: bool | None) -> None:  # noqa: FBT001 - a fact, or none
    """Load, warm up and listen until SIGTERM.

    Args:
        settings: what to serve.
        sha256: the artifact's hash, verified.
        base_matches: whether the base is the one that the adapter was trained on; None: that is not known.

    Raises:
        StartError: the server must not start, or it has failed for good; see its exit code.
    """
    torch.set_num_threads(settings.threads or int(os.environ.get("OMP_NUM_THREADS", "0")) or cpu_threads())
    began = time.perf_counter()
    loaded, quantization = load_for_serving(settings)
    model = build(settings, loaded)
    warm_up(model, str(loaded.model.dtype).removeprefix("torch."), settings.symbols)
    _logger.info("ready model=%s sha256=%s load_s=%.1f", settings.model_name, sha256, time.perf_counter() - began)
    verification: dict[str, JsonValue] = {
        "sha256": sha256,
        "roundTrip": True,
        "baseModel": loaded.base_model,
        "baseMatches": base_matches,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": str(loaded.model.device),
        "attention": loaded.model.config._attn_implementation,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "decoding": settings.decoding.value,
        "reasoning": settings.reasoning.value,
        "batched": model.batched,
        "quantization": quantization,
        "merged": settings.adapter is not None and settings.merge,
        "promptVersion": PROMPT_VERSION,
        "card": card(settings.adapter or settings.base),
    }
    app.add_api_route("/tradewind/v1/verification", lambda: JSONResponse(verification), methods=["GET"])

    async def live() -> JSONResponse:
        return _live(model)

    app.add_api_route(LIVE, live, methods=["GET"])
    server = kserve.ModelServer(http_port=settings.port, enable_grpc=False, enable_latency_logging=False, workers=1)
    name_fields(app, server)
    for noisy in ("kserve.trace", "uvicorn.access"):  # the model logs a line a decision; probes need none
        logging.getLogger(noisy).setLevel(logging.WARNING)
    keep_for_good()
    model.health.on_end = lambda: _end(model)
    server.start([model])
    if model.health.fault is not None:
        raise model.health.fault


def build(settings: Settings, loaded: Loaded) -> DecisionModel:
    """The model object around loaded weights.

    Raises:
        StartError: exit 66 where the tokenizer cannot write decisions piece by piece; 64 for a model kind or a setting
            that this server does not serve.
    """
    grammar = Grammar(completion_tokeniser(loaded.tokenizer), reasoning=settings.reasoning is not Reasoning.NONE)
    try:
        grammar.plan("BTC", None)
        decoder = Decoder(
            loaded.model,
            static_beginning(loaded.tokenizer),
            decoding=settings.decoding,
            speculate=settings.speculate,
            prose=_prose(settings, loaded),
        )
    except GrammarError as error:
        raise StartError(ExitCode.PREFLIGHT, "TokenizerRoundTrip", str(error)) from error
    except ModelUnsupportedError as error:
        raise StartError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, str(error)) from error
    probes = [encode_prompt(loaded.tokenizer, render_prompt(shown, "BTC")) for shown in SAMPLE_INPUTS]
    share_if_alike(loaded.model, decoder.passes, probes)
    room = affordable_tokens(loaded.model)
    most = settings.max_prompt_tokens or max(room - _ANSWER_TOKENS - decoder.prose_tokens, 0)
    positions = positions_of(loaded.model.config)
    _logger.info("bounds positions=%d prompt_tokens=%d batch_tokens=%d", positions, most, room)
    return DecisionModel(
        settings.model_name,
        decoder,
        grammar,
        loaded.tokenizer,
        max_positions=positions,
        max_queue=settings.max_queue,
        max_prompt_tokens=most,
        max_batch_tokens=room,
    )


def _prose(settings: Settings, loaded: Loaded) -> Prose | None:
    if settings.reasoning is Reasoning.NONE:
        return None
    vocabulary = loaded.model.get_input_embeddings().num_embeddings
    closing = loaded.tokenizer('"}', add_special_tokens=False)["input_ids"]
    try:
        masks = from_tokenizer(loaded.tokenizer, n_vocab=vocabulary)
    except (ValueError, RuntimeError, KeyError) as error:
        said = f"{type(error).__name__}: {str(error)[:300]}"
        message = f"serving.reasoning: no prose can be bounded with this tokenizer ({said}); use none, or another base"
        raise StartError(ExitCode.PREFLIGHT, "TokenizerUnsupported", message) from error
    return Prose(masks, settings.reasoning.max_tokens, tuple(closing))


def warm_up(model: DecisionModel, dtype: str, symbols: Sequence[str] = ()) -> None:
    """A few decisions on each symbol before anybody may ask, one at a time and together.

    Raises:
        StartError: exit 64, NotFinite, where the scores are no numbers; exit 64 where there is no room for a prompt; exit 70
            where the model fails otherwise.
    """
    for symbol in symbols or ("BTC",):
        questions = [Instance(**shown.model_dump(), symbols=(symbol,)) for shown in SAMPLE_INPUTS]
        try:
            for question in questions:
                model.decide([question])
            model.decide(questions)
        except RequestError as error:
            if error.code != "symbol_unsupported":
                raise _not_warm(error, dtype) from error
            _logger.warning("%s", error.message)  # the other symbols are served all the same


def _not_warm(error: RequestError, dtype: str) -> StartError:
    if error.code == "model_not_finite":
        damaged = "the weights are damaged, or the device is: publish them again, or use another node"
        wider = "use --dtype bfloat16 or float32 (serving.dtype); if that does not help, "  # of the same range, both
        remedy = f"{wider if dtype == 'float16' else ''}{damaged}"
        return StartError(ExitCode.BAD_CONFIG, "NotFinite", f"{error.message} in {dtype}; {remedy}")
    if error.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return StartError(ExitCode.LOAD_FAILED, "ServerFailed", f"{error.message}; {error.remedy}")
    said = f"a prompt of the smallest kind is refused: {error.message}"
    remedy = "raise serving.resources.limits.memory" if error.code == "prompt_too_large" else "choose another base"
    return StartError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, f"{said}; {remedy}")


def _live(model: DecisionModel) -> JSONResponse:
    """Alive while it answers at all, however long the queue; not once decisions fail one after the other."""
    fault = model.health.fault
    if fault is None:
        return JSONResponse({"live": True})
    body = {"live": False, "reason": fault.reason, "message": fault.message}
    return JSONResponse(body, status_code=HTTPStatus.SERVICE_UNAVAILABLE)


def _end(model: DecisionModel) -> None:
    """Take no more questions, answer those that are there, and end."""
    model.ready = False
    os.kill(os.getpid(), signal.SIGTERM)
