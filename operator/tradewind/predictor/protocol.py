"""Questions and answers on the wire: the v1 protocol's instances, and the tensors of the Open Inference Protocol (v2).

Both say the same: a tensor of v2 holds, for each question, what a field of a v1 instance holds, written as JSON. Here belongs
reading and writing them, and naming the field that is wrong. How KServe routes them is server.py's business.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import uuid4

from kserve import InferOutput, InferRequest, InferResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tradewind.predictor.failure import RequestError
from tradewind.schema.names import Symbol
from tradewind.schema.rules import first_fault
from tradewind.schema.storable import STRICT_JSON
from tradewind.trading.decision import Action, DecisionInput, Limits
from tradewind.trading.prompt import render_prompt

MOST_INSTANCES: Final = 16
REMEDY_V1: Final = (
    'send {"instances": [{"market_data", "account_state", "recent_history", "symbols": [one], "limits"}]}'
)
REMEDY_V2: Final = (
    'send {"inputs": [{"name", "shape": [n], "datatype": "BYTES", "data": [n texts]}]} with a tensor market_data and account_state'
    " (of JSON objects), symbols, and where wanted recent_history (of JSON lists) and limits (of JSON objects or null)"
)
_JSON_TENSORS: Final = ("market_data", "account_state", "recent_history", "limits")
_NEEDED: Final = ("market_data", "account_state", "symbols")
_TEXTS: Final = ("action", "symbol", "reasoning")
_NUMBERS: Final = ("size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence")


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

    instances: Annotated[tuple[Instance, ...], Field(min_length=1, max_length=MOST_INSTANCES)]


def invalid(field: str, message: str, remedy: str) -> RequestError:
    """400: what was sent is not what the protocol says."""
    return RequestError(HTTPStatus.BAD_REQUEST, "invalid_request", f"{field}: {message}", remedy, field=field)


def read_v1(payload: Any) -> tuple[Instance, ...]:
    """The questions of a v1 body.

    Raises:
        RequestError: 400 with the path of the first field that is wrong, `body` for the whole of it.
    """
    try:
        return PredictRequest.model_validate(payload).instances
    except ValidationError as error:
        fault = first_fault(error)
        raise invalid(fault.field or "body", fault.message, REMEDY_V1) from None


def read_v2(request: InferRequest) -> tuple[Instance, ...]:
    """The questions of v2's tensors.

    Raises:
        RequestError: 400 with the path of what is wrong: `inputs`, `inputs.<tensor>`, or of a field within one of its texts.
    """
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if tensor.name not in (*_JSON_TENSORS, "symbols"):
            raise invalid(f"inputs.{tensor.name}", "there is no tensor of that name", REMEDY_V2)
        if tensor.name in columns:
            raise invalid(f"inputs.{tensor.name}", "the tensor is there twice", REMEDY_V2)
        columns[tensor.name] = _column(tensor)
    for name in _NEEDED:
        if name not in columns:
            raise invalid(f"inputs.{name}", "the tensor is missing", REMEDY_V2)
    count = len(columns["symbols"])
    for name, column in columns.items():
        if len(column) != count:
            raise invalid(f"inputs.{name}", f"it has {len(column)} values, symbols has {count}", REMEDY_V2)
    if not 1 <= count <= MOST_INSTANCES:
        raise invalid("inputs", f"{count} questions were sent, 1 to {MOST_INSTANCES} may be", REMEDY_V2)
    instances = [{name: column[at] for name, column in columns.items()} for at in range(count)]
    try:
        return tuple(PredictRequest.model_validate({"instances": instances}).instances)
    except ValidationError as error:
        fault = first_fault(error)
        _, at, name, *deeper = fault.field.split(".")  # instances.0.market_data...
        raise invalid(".".join(("inputs", name, at, *deeper)), fault.message, REMEDY_V2) from None


def write_v2(predictions: Sequence[Mapping[str, Any]], request: InferRequest, model: str) -> InferResponse:
    """Predictions as tensors of one value a question; `probabilities` has one for each of `Action`, in its order."""
    count = len(predictions)
    outputs = [InferOutput(name, [count], "BYTES", [str(each[name]) for each in predictions]) for name in _TEXTS]
    outputs += [InferOutput(name, [count], "FP64", [float(each[name]) for each in predictions]) for name in _NUMBERS]
    shares = [float(each["_probabilities"][action.value]) for each in predictions for action in Action]
    outputs += [
        InferOutput("probabilities", [count, len(Action)], "FP64", shares),
        InferOutput("forward_passes", [count], "INT64", [int(each["_forward_passes"]) for each in predictions]),
        InferOutput("latency_ms", [count], "FP64", [float(each["_latency_ms"]) for each in predictions]),
    ]
    wanted = request.request_outputs
    known = [output.name for output in outputs]
    for output in wanted or ():
        if output.name not in known:
            raise invalid(
                f"outputs.{output.name}",
                "there is no tensor of that name",
                f"ask for any of {', '.join(known)}, or none",
            )
    return InferResponse(request.id or uuid4().hex, model, outputs, requested_outputs=wanted)


def input_types() -> list[dict[str, Any]]:
    """The tensors of a question, as v2's metadata tell them."""
    names = ("market_data", "account_state", "recent_history", "symbols", "limits")
    return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in names]


def output_types() -> list[dict[str, Any]]:
    """The tensors of an answer, as v2's metadata tell them."""
    return [
        *({"name": name, "datatype": "BYTES", "shape": [-1]} for name in _TEXTS),
        *({"name": name, "datatype": "FP64", "shape": [-1]} for name in _NUMBERS),
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(Action)]},
        {"name": "forward_passes", "datatype": "INT64", "shape": [-1]},
        {"name": "latency_ms", "datatype": "FP64", "shape": [-1]},
    ]


def _column(tensor: Any) -> list[Any]:
    """A tensor's values, as a v1 instance holds them."""
    path = f"inputs.{tensor.name}"
    if tensor.datatype != "BYTES":
        raise invalid(path, f"it is of {tensor.datatype}, and its values are texts (BYTES)", REMEDY_V2)
    try:
        given = tensor.as_numpy().ravel().tolist() if tensor.data is None else tensor.data
    except Exception as error:  # bytes that are no tensor end in errors of many kinds
        raise invalid(path, f"its bytes are no tensor of texts ({type(error).__name__})", REMEDY_V2) from None
    if tensor.shape not in ([len(given)], [len(given), 1]):
        raise invalid(path, f"its shape is {tensor.shape}, and it has {len(given)} values", REMEDY_V2)
    column = []
    for at, value in enumerate(given):
        try:
            text = value.decode() if isinstance(value, bytes) else value
            if not isinstance(text, str):
                raise invalid(f"{path}.{at}", f"it is a {type(text).__name__}, and a text is wanted", REMEDY_V2)
            column.append((text,) if tensor.name == "symbols" else STRICT_JSON.decode(text))
        except (ValueError, RecursionError) as error:
            raise invalid(f"{path}.{at}", f"it is no JSON text: {str(error)[:200]}", REMEDY_V2) from None
    return column
