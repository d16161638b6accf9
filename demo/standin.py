"""A stand-in for a commercial model API: the OpenAI chat-completions protocol with a naive rule behind it.

    python -m demo.standin --port 8000 --api-key-file /var/run/secrets/standin/api-key [--broken-every 5]

It is no language model and says so in its model name, its reasoning and its answers' fingerprint. It works from the
prompt's text alone: it reads the `Market:` line and follows the last three hours, long if they went up, short if they
went down. Belongs here: the protocol and the rule. Does not belong here: prompts (tradewind.trading.prompt), limits and
any judgement of the answer (the gateway).

Nothing is delayed unless a request asks for it with the header `X-Standin-Delay-Ms`, which the demo sends on 50 requests
for its latency table. `--broken-every N` cuts every N-th answer short, so that it is not valid JSON.
"""

import argparse
import asyncio
import hmac
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

MODEL: Final = "standin-naive-momentum"
FINGERPRINT: Final = "standin-1"
SIZE_USD: Final = 100
LEVERAGE: Final = 20
STOP_LOSS_PCT: Final = 0.01
TAKE_PROFIT_PCT: Final = 0.02
MAX_DELAY_MS: Final = 5_000


class Message(BaseModel):
    """One message of a conversation; only its text is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """The part of a chat-completions request that the stand-in understands; the rest of the protocol is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=100)]
    stream: bool = False


class PromptError(ValueError):
    """The prompt has no market that can be read."""


def decide(prompt: str) -> dict[str, str | int | float]:
    """The naive rule on the text of a prompt: the direction of the last three hours, a hold where there is none.

    Raises:
        PromptError: no `Market:` line with JSON, no `Symbol:` line, or nothing of the symbol.
    """
    symbol = _line(prompt, "Symbol: ").strip()
    try:
        momentum = json.loads(_line(prompt, "Market: "))[symbol].get("momentum_3h")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PromptError(f"messages: the Market line says nothing of {symbol!r}") from error
    action = {"up": "open_long", "down": "open_short"}.get(momentum, "hold")
    opens = action != "hold"
    return {
        "action": action,
        "symbol": symbol,
        "size_usd": SIZE_USD if opens else 0,
        "leverage": LEVERAGE if opens else 1,
        "stop_loss_pct": STOP_LOSS_PCT if opens else 0,
        "take_profit_pct": TAKE_PROFIT_PCT if opens else 0,
        "confidence": 0.5,
        "reasoning": f"Stand-in, not a model: the last three hours went {momentum or 'nowhere that it was told of'}.",
    }


def create_app(api_key: str | None, broken_every: int = 0) -> FastAPI:
    """The server.

    Args:
        api_key: the bearer key that requests must carry; None asks for none.
        broken_every: every so-manieth answer is cut short and so is not valid JSON; 0 for never.
    """
    app = FastAPI(title="Tradewind demo: API stand-in", docs_url=None, redoc_url=None)
    served: Iterator[int] = itertools.count(1)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "model": MODEL}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(
        body: ChatRequest,
        authorization: Annotated[str, Header()] = "",
        x_standin_delay_ms: Annotated[int, Header(ge=0, le=MAX_DELAY_MS)] = 0,
    ) -> JSONResponse:
        if api_key is not None and not hmac.compare_digest(authorization.encode(), f"Bearer {api_key}".encode()):
            return _error(401, "invalid_api_key", "Authorization: send the stand-in's key as a bearer token")
        if body.model != MODEL:
            return _error(404, "model_not_found", f"model: only {MODEL} is served here, asked was {body.model!r}")
        if body.stream:
            return _error(400, "unsupported_value", "stream: the stand-in answers whole; leave stream out")
        try:
            content = json.dumps(decide("\n".join(message.content for message in body.messages)), separators=(",", ":"))
        except PromptError as error:
            return _error(400, "invalid_prompt", str(error))
        if x_standin_delay_ms:
            await asyncio.sleep(x_standin_delay_ms / 1000)
        number = next(served)
        if broken_every and number % broken_every == 0:
            content = content[: len(content) // 2]
        return JSONResponse(_completion(number, content))

    return app


def _completion(number: int, content: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-standin-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "standin_error", "code": code}}, status_code=status)


def _line(prompt: str, start: str) -> str:
    """The rest of the prompt's last line that starts so."""
    for line in reversed(prompt.splitlines()):
        if line.startswith(start):
            return line.removeprefix(start)
    raise PromptError(f"messages: no line starts with {start!r}")


def main() -> None:
    flags = argparse.ArgumentParser(description="API stand-in of the Tradewind demo")
    flags.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's server listens on its pod's address
    flags.add_argument("--port", type=int, default=8000)
    flags.add_argument("--api-key-file", type=Path, help="file with the bearer key; without it no key is asked for")
    flags.add_argument("--broken-every", type=int, default=0, help="cut every N-th answer short (0: never)")
    options = flags.parse_args()
    api_key = options.api_key_file.read_text(encoding="utf-8").strip() if options.api_key_file else None
    if api_key == "":
        flags.error(f"--api-key-file: {options.api_key_file} is empty; put the key into it")
    app = create_app(api_key, options.broken_every)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
