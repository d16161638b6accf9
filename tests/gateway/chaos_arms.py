"""Two arms and a fallback in a process of their own: `python chaos_arms.py PORT SEED`.

No two answers are alike, so that whoever gave an answer is known by it; some are slow, some wrong, some no answer at all.
"""

import asyncio
import json
import random
import sys
from typing import Any

import uvicorn

ACTIONS = ("open_long", "open_short", "hold", "close")
TIMEOUT_SECONDS = 1.0


class Arms:
    """`/<arm>/chat/completions` and `/<arm>/v1/models/<model>:predict`; `slow` is the candidate's longest answer in seconds."""

    def __init__(self, seed: int, slow: float) -> None:
        self.random = random.Random(seed)
        self.slow = slow
        self.count = 0

    def answer(self, arm: str) -> dict[str, Any]:
        self.count += 1
        action = "hold" if arm == "safe" else self.random.choices(ACTIONS, (45, 25, 25, 5))[0]
        size = 0.0 if action in ("hold", "close") else round(self.random.uniform(10, 90), 2)
        return {
            "action": action, "symbol": "BTC", "size_usd": size, "leverage": self.random.choice((1, 2, 3)), "stop_loss_pct": 0.02,
            "take_profit_pct": 0.05, "confidence": round(self.random.random(), 3), "reasoning": f"{arm} {self.count}",
        }  # fmt: skip

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        arm, _, rest = scope["path"].lstrip("/").partition("/")
        status, answer = 200, self.answer(arm)
        fate = self.random.random() if arm != "safe" else 1.0
        if self.slow and arm == "v1":
            await asyncio.sleep(self.random.uniform(0, self.slow))
        elif fate < 0.015:
            await asyncio.sleep(TIMEOUT_SECONDS * 2)
        elif fate < 0.03:
            status = 500
        elif fate < 0.04:
            answer["leverage"] = 400  # over the limits
        elif fate < 0.25:
            await asyncio.sleep(self.random.uniform(0, 0.15))
        if rest.endswith("completions"):
            body: Any = {
                "model": "chat-7",
                "choices": [{"message": {"role": "assistant", "content": json.dumps(answer)}}],
            }
        else:
            body = {"predictions": [answer | {"_probabilities": {"hold": 0.25, "open_long": 0.75}}]}
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


if __name__ == "__main__":
    port, seed, slow = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    uvicorn.run(Arms(seed, slow), host="127.0.0.1", port=port, log_config=None, access_log=False)
