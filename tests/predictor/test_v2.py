"""The Open Inference Protocol beside v1: the same questions have the same answers, and what is wrong is named in both."""

import json
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from predictor_process import QUESTION, Running, started
from tiny_llama import Served

from fuzz_json import mutated, written

INFER = "/v2/models/v1/infer"
OTHER = {
    "market_data": {"symbol": "ETH"},
    "account_state": {},
    "recent_history": [],
    "symbols": ["ETH"],
    "limits": None,
}


@pytest.fixture(scope="module")
def running(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(served, tmp_path_factory.mktemp("server"), "--symbol", "BTC", "--symbol", "ETH") as server:
        yield server
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) in (0, -signal.SIGTERM)


def tensor(name: str, *values: Any, **other: Any) -> dict[str, Any]:
    texts = [value if name == "symbols" else json.dumps(value) for value in values]
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": texts} | other


def tensors(*questions: Any) -> dict[str, Any]:
    columns = {name: [each[name][0] if name == "symbols" else each[name] for each in questions] for name in QUESTION}
    return {"inputs": [tensor(name, *values) for name, values in columns.items()]}


def column(body: Any, name: str) -> Any:
    (found,) = [output for output in body["outputs"] if output["name"] == name]
    return found["data"]


def test_v2_answers_as_v1_does(running: Running) -> None:
    (_, plain, _), (status, body, _) = running.predict(QUESTION, OTHER), running.call(INFER, tensors(QUESTION, OTHER))
    assert status == 200, body
    assert body["model_name"] == "v1"
    predictions = plain["predictions"]
    for name in ("action", "symbol", "size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence"):
        assert column(body, name) == [prediction[name] for prediction in predictions]
    shares = [share for prediction in predictions for share in prediction["_probabilities"].values()]
    assert column(body, "probabilities") == pytest.approx(shares, abs=1e-4)


def test_the_models_tensors_are_told(running: Running) -> None:
    assert running.call("/v2/health/ready")[:2] == (200, {"ready": True})
    assert running.call("/v2/models/v1/ready")[1] == {"name": "v1", "ready": True}
    told = running.call("/v2/models/v1")[1]
    assert {each["name"] for each in told["inputs"]} == set(QUESTION)
    answered = running.call(INFER, tensors(QUESTION))[1]
    assert [each["name"] for each in told["outputs"]] == [each["name"] for each in answered["outputs"]]
    assert [each["datatype"] for each in told["outputs"]] == [each["datatype"] for each in answered["outputs"]]


def test_some_outputs_may_be_asked_for(running: Running) -> None:
    asked = tensors(QUESTION) | {"outputs": [{"name": "action"}], "id": "7"}
    status, body, _ = running.call(INFER, asked)
    assert status == 200
    assert body["id"] == "7"
    assert [output["name"] for output in body["outputs"]] == ["action"]
    status, body, _ = running.call(INFER, tensors(QUESTION) | {"outputs": [{"name": "mood"}]})
    assert (status, body["error"]["field"]) == (400, "outputs.mood")


def with_inputs(*changed: dict[str, Any], without: str = "") -> bytes:
    kept = [
        each for each in tensors(QUESTION)["inputs"] if each["name"] not in {without, *(c["name"] for c in changed)}
    ]
    return json.dumps({"inputs": [*kept, *changed]}).encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"", "body"),
        (b"[" * 100_000, "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"{}", "inputs"),
        (b'{"inputs": 3}', "inputs"),
        (b'{"inputs": [{"name": "symbols"}]}', "inputs.0.shape"),
        (b'{"inputs": []}', "inputs.market_data"),
        (with_inputs(without="symbols"), "inputs.symbols"),
        (with_inputs(tensor("mood", 1)), "inputs.mood"),
        (with_inputs(tensor("symbols", "BTC"), tensor("symbols", "BTC")), "inputs.symbols"),
        (with_inputs(tensor("symbols", "BTC", "ETH")), "inputs.market_data"),
        (with_inputs(tensor("market_data", {}, {})), "inputs.market_data"),
        (with_inputs(tensor("market_data", {}, shape=[2])), "inputs.market_data"),
        (with_inputs(tensor("market_data", {}, datatype="FP32")), "inputs.market_data"),
        (with_inputs(tensor("market_data", {}, data=["{"])), "inputs.market_data.0"),
        (with_inputs(tensor("market_data", {}, data=["NaN"])), "inputs.market_data.0"),
        (with_inputs(tensor("market_data", {}, data=["[" * 100_000])), "inputs.market_data.0"),
        (with_inputs(tensor("market_data", {}, data=[7])), "inputs.market_data.0"),
        (with_inputs(tensor("market_data", [])), "inputs.market_data.0"),
        (with_inputs(tensor("symbols", "")), "inputs.symbols.0.0"),
        (with_inputs(tensor("limits", {"max_leverage": 0, "max_size_usd": 1})), "inputs.limits.0.max_leverage"),
        (json.dumps(tensors(*[QUESTION] * 17)).encode(), "inputs"),
    ],
)  # fmt: skip
def test_a_malformed_body_is_the_askers_fault(running: Running, body: bytes, field: str) -> None:
    status, said, _ = running.call(INFER, body)
    assert status == 400, said
    assert said["error"]["field"] == field
    assert said["error"]["remedy"]


@pytest.mark.parametrize("path", ["/v1/models/v1:predict", INFER])
def test_whatever_is_sent_is_answered_or_refused_by_its_field(running: Running, path: str) -> None:
    """Bodies changed a little: never a 500, and never a refusal that says nothing."""
    draw = random.Random(33)
    seen = set()
    for _ in range(150):
        good = {"instances": [QUESTION, OTHER]} if path != INFER else tensors(QUESTION, OTHER)
        body = written(mutated(good, draw, 2), escaped=bool(draw.randrange(2))).encode(errors="surrogatepass")
        if not draw.randrange(4):
            body = body[: draw.randrange(len(body))]
        status, said, _ = running.call(path, body)
        assert status in (200, 400, 422), (body, said)
        if status != 200:
            assert said["error"]["field"], (body, said)
        seen.add(status)
    assert {200, 400} <= seen
    assert running.metric('tradewind_predictor_bad_passes_total{kind="failed"}') == 0
    assert running.predict(QUESTION)[0] == 200
