"""From verified files to a listening server: load, warm up, only then listen.

The port opens last, so that no readiness probe can pass before the artifact's hash, the tokenizer's round trip and a
warm-up decision are behind us. Here belongs the order of things and the routes beside the protocol's own.
"""

import logging
import os
import time

import kserve
import torch
import transformers
from fastapi import Request
from fastapi.responses import JSONResponse
from kserve.model_server import app
from llguidance.hf import from_tokenizer
from pydantic import JsonValue

from tradewind.predictor.card import card
from tradewind.predictor.decoder import Decoder, ModelUnsupportedError, Prose
from tradewind.predictor.failure import RequestError, StartError
from tradewind.predictor.grammar import Grammar, GrammarError
from tradewind.predictor.loader import SAMPLE_INPUTS, Loaded, completion_tokeniser, load, static_beginning
from tradewind.predictor.model import DecisionModel, Instance
from tradewind.predictor.settings import Reasoning, Settings
from tradewind.pretrained.cpu import cpu_threads
from tradewind.pretrained.servable import positions_of
from tradewind.trading.exits import ExitCode
from tradewind.trading.pauses import keep_for_good
from tradewind.trading.prompt import PROMPT_VERSION

_logger = logging.getLogger("tradewind.predictor")


def serve(settings: Settings, sha256: str) -> None:
    """Load, warm up and listen until SIGTERM.

    Args:
        settings: what to serve.
        sha256: the artifact's hash, verified.

    Raises:
        StartError: the server must not start; see its exit code.
    """
    torch.set_num_threads(settings.threads or int(os.environ.get("OMP_NUM_THREADS", "0")) or cpu_threads())
    began = time.perf_counter()
    loaded = load(settings)
    model = build(settings, loaded)
    _warm_up(model)
    _logger.info("ready model=%s sha256=%s load_s=%.1f", settings.model_name, sha256, time.perf_counter() - began)
    verification: dict[str, JsonValue] = {
        "sha256": sha256,
        "roundTrip": True,
        "baseModel": loaded.base_model,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": str(loaded.model.device),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "decoding": settings.decoding.value,
        "reasoning": settings.reasoning.value,
        "merged": settings.adapter is not None and settings.merge,
        "promptVersion": PROMPT_VERSION,
        "card": card(settings.adapter or settings.base),
    }
    app.add_api_route("/tradewind/v1/verification", lambda: JSONResponse(verification), methods=["GET"])
    app.add_exception_handler(RequestError, _refuse)
    server = kserve.ModelServer(http_port=settings.port, enable_grpc=False, enable_latency_logging=False, workers=1)
    for noisy in ("kserve.trace", "uvicorn.access"):  # the model logs a line a decision; probes need none
        logging.getLogger(noisy).setLevel(logging.WARNING)
    keep_for_good()
    server.start([model])


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
    positions = positions_of(loaded.model.config)
    return DecisionModel(
        settings.model_name, decoder, grammar, loaded.tokenizer, max_positions=positions, max_queue=settings.max_queue
    )


def _prose(settings: Settings, loaded: Loaded) -> Prose | None:
    if settings.reasoning is Reasoning.NONE:
        return None
    vocabulary = loaded.model.get_input_embeddings().num_embeddings
    closing = loaded.tokenizer('"}', add_special_tokens=False)["input_ids"]
    masks = from_tokenizer(loaded.tokenizer, n_vocab=vocabulary)
    return Prose(masks, settings.reasoning.max_tokens, tuple(closing))


def _warm_up(model: DecisionModel) -> None:
    for shown in SAMPLE_INPUTS:
        instance = Instance(**shown.model_dump(), symbols=("BTC",))
        for _ in range(2):
            model.decide(instance, time.perf_counter())


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)
