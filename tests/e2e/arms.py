"""Stand-ins for model APIs, one behaviour a path, that count what they are asked. Runs in a pod; standard library alone.

POST /<behaviour>/v1/chat/completions     follow | against: the hint of the market data, or its opposite
                                          steady: as follow, after 0.1 s
                                          slow: after 3 s; broken: HTTP 500; nonsense: an answer that is no JSON; each only
                                          where the market data have a tag, so that a gateway's own question is answered
                                          odd: as follow, in a fence, with thoughts, strings and a field too many
                                          moody: 503 the first time a tag is asked
                                          poor: 402; limited: 429; sleepy: after 3 s; babbling: never JSON; gone: 404
GET  /asks                                {"<behaviour>/<tag of the market data>": how often}
GET  /received                            {"<behaviour>": how many POSTs, with whatever key}
"""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "Bearer api-key-of-the-e2e-tests"
USAGE = {"prompt_tokens": 1000, "prompt_cache_hit_tokens": 400, "completion_tokens": 50}
asks: Counter[str] = Counter()
received: Counter[str] = Counter()
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        with lock:
            known = {"/asks": dict(asks), "/received": dict(received)}
            self.answer(200, known.get(self.path, {"status": "ok"}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        behaviour = self.path.split("/")[1]
        with lock:
            received[behaviour] += 1
        if self.headers.get("Authorization") != KEY:
            return self.answer(401, {"error": "key"})
        prompt = json.loads(body)["messages"][-1]["content"]
        market = json.loads(re.findall(r"^Market: (.*)$", prompt, re.MULTILINE)[-1])
        symbol = re.findall(r"^Symbol: (.*)$", prompt, re.MULTILINE)[-1].strip()
        with lock:
            asks[tag := f"{behaviour}/{market.get('tag')}"] += 1
            first = asks[tag] == 1
        behaves = market.get("tag") is None
        time.sleep({"steady": 0.1, "slow": 0.0 if behaves else 3.0, "sleepy": 3.0}.get(behaviour, 0.0))
        if behaviour == "broken" and not behaves:
            return self.answer(500, {"error": "out of order"})
        if behaviour == "moody" and first:
            return self.answer(503, {"error": {"message": "busy"}})
        if behaviour == "poor":
            return self.answer(402, {"error": {"message": "Insufficient Balance"}})
        if behaviour in ("limited", "gone"):
            return self.answer(429 if behaviour == "limited" else 404, {"error": {"message": behaviour}})
        up = (market.get(symbol) or {}).get("hint") == "up"
        action = "open_long" if up != (behaviour == "against") else "open_short"
        decision = {
            "action": action,
            "symbol": symbol,
            "size_usd": 100,
            "leverage": 1,
            "stop_loss_pct": 0,
            "take_profit_pct": 0,
            "confidence": 0.5,
            "reasoning": f"{behaviour}, a stand-in of the tests",
        }
        babbles = behaviour == "babbling" or (behaviour == "nonsense" and not behaves)
        content = "buy, I would say" if babbles else json.dumps(decision)
        if behaviour == "odd":
            said = decision | {"action": action.upper(), "size_usd": "100", "risk_reward": 2.5}
            content = f"<think>which {{way}}?</think>\n```json\n{json.dumps(said)}\n```"
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        self.answer(
            200,
            {"id": "x", "object": "chat.completion", "model": f"arm-{behaviour}", "choices": [choice], "usage": USAGE},
        )

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("", 8000), Handler).serve_forever()
