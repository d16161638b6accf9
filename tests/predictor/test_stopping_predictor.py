"""A server that is told to end while many ask: who was let in is answered."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

from predictor_process import QUESTION, started
from tiny_llama import Served

CLIENTS = 16


def test_whoever_was_let_in_is_answered(served: Served, tmp_path: Path) -> None:
    """What may fail is reaching the server at all: the manifest's preStop waits until nobody sends any more."""
    answers: list[int] = []
    broken: list[Exception] = []
    told = threading.Event()

    def ask(number: int) -> None:
        question: Any = QUESTION | {"market_data": {"closes": [number + at / 8 for at in range(60)]}}
        while not told.is_set():
            try:
                answers.append(server.predict(question)[0])
            except ConnectionError as error:  # refused before anything was sent
                if not told.is_set():
                    broken.append(error)
                return
            except Exception as error:
                if "refused" not in str(error):
                    broken.append(error)
                return

    with started(served, tmp_path) as server:
        clients = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        while len(answers) < 2 * CLIENTS:
            time.sleep(0.01)
        assert server.metric("tradewind_predictor_queue") > CLIENTS / 2
        asked = len(answers)
        server.process.send_signal(signal.SIGTERM)
        told.set()
        for client in clients:
            client.join(60)
        assert server.process.wait(30) in (0, -signal.SIGTERM)
    assert not broken
    assert set(answers) == {200}
    assert len(answers) >= asked + CLIENTS / 2  # those that were under way
