"""`serving.quantization`: a model in 8 or 4 bits that answers as it did before, or does not serve.

The order: adapter merged, questions answered, layers quantised one by one, the same questions answered again. So the two never lie
side by side, and what is said of the quantised model was measured on the very weights that serve.

Belongs here: the order, what is refused, what is told. Does not belong here: the arithmetic (quantized.py), the questions (probe.py).
"""

import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tradewind.predictor.decoder import Decoder, ModelUnsupportedError
from tradewind.predictor.failure import StartError, as_start_error
from tradewind.predictor.grammar import Grammar, GrammarError
from tradewind.predictor.loader import Loaded, completion_tokeniser, load, static_beginning
from tradewind.predictor.memory import affordable_tokens
from tradewind.predictor.probe import Agreement, Question, agreement, ask, questions
from tradewind.predictor.quantized import quantise, weight_bytes
from tradewind.predictor.row import NotFiniteError
from tradewind.predictor.settings import Quantization, Settings
from tradewind.pretrained.fault import UnfitError
from tradewind.pretrained.servable import positions_of
from tradewind.trading.artifact import PROBE_FILE, PROBE_LEAST_ROWS
from tradewind.trading.exits import ExitCode

DISAGREES: Final = "QuantizationDisagrees"
_ALIKE: Final = 0.9
_logger = logging.getLogger(__name__)


def load_for_serving(settings: Settings) -> tuple[Loaded, dict[str, Any] | None]:
    """What serves decisions, and what the verification says of its quantised weights; None: they are as they are.

    Raises:
        StartError: as `load`, and of `quantised`; exit 64 for a base that is quantised already.
    """
    kept = None if settings.quantization is Quantization.NONE else _quantised_already(settings.base)
    if kept is not None:
        raise _invalid(
            f"the base is quantised already (config.json has quantization_config: {kept}), and rounding twice is not served; use"
            " none, or mount the base that it was made from"
        )
    loaded = load(settings)
    return loaded, quantised(settings, loaded)


def quantised(settings: Settings, loaded: Loaded) -> dict[str, Any] | None:
    """Quantise what was loaded, in place; what the verification says of it. None: nothing is asked for.

    Raises:
        StartError: exit 64, QuantizationDisagrees, where fewer than `min_agreement` of the decisions stay the same; 64 for layers
            that cannot be quantised, scores that are no numbers, and questions that the model has no room for; 65 for a probe that
            cannot be read; 66 for a tokenizer that cannot write decisions.
    """
    if settings.quantization is Quantization.NONE:
        return None
    began = time.perf_counter()
    asked, source = _questions(settings, loaded)
    before = weight_bytes(loaded.model)
    expected = _answers(settings, loaded, asked, "as they are")
    if source == "generated":
        _tell_apart(expected)
    try:
        quantise(loaded.model, settings.quantization.bits)
    except UnfitError as error:
        raise as_start_error(error) from error
    found = agreement(expected, _answers(settings, loaded, asked, f"in {settings.quantization.value}"))
    after = weight_bytes(loaded.model)
    _logger.info(
        "quantization=%s agreement=%.4f rows=%d bytes=%d before=%d s=%.1f",
        settings.quantization.value, found.decisions, found.rows, after, before, time.perf_counter() - began,
    )  # fmt: skip
    _hold(settings, found)
    return {
        "bits": settings.quantization.bits,
        "agreement": round(found.decisions, 4),
        "actionAgreement": round(found.actions, 4),
        "probabilityDifference": round(found.largest, 4),
        "probe": source,
        "probeRows": found.rows,
        "memoryBytes": {"before": before, "after": after},
    }


def _questions(settings: Settings, loaded: Loaded) -> tuple[list[Question], str]:
    grammar = Grammar(completion_tokeniser(loaded.tokenizer))
    room = min(positions_of(loaded.model.config), max(affordable_tokens(loaded.model), 1))
    try:
        return questions(settings.adapter or settings.base, grammar, loaded.tokenizer, most_tokens=room)
    except GrammarError as error:
        raise StartError(ExitCode.PREFLIGHT, "TokenizerRoundTrip", str(error)) from error


def _answers(settings: Settings, loaded: Loaded, asked: list[Question], how: str) -> list[Any]:
    """Answers without prose, which decides nothing."""
    try:
        decoder = Decoder(
            loaded.model, static_beginning(loaded.tokenizer), decoding=settings.decoding, speculate=settings.speculate
        )
        return ask(decoder, asked)
    except ModelUnsupportedError as error:
        raise _invalid(str(error)) from error
    except NotFiniteError as error:
        remedy = "use quantization none, serving.dtype bfloat16 or float32, or publish the weights again"
        raise StartError(ExitCode.BAD_CONFIG, "NotFinite", f"{error}, with weights {how}; {remedy}") from error
    except (AttributeError, TypeError) as error:  # a model that looks into its own layers
        said = f"{type(error).__name__}: {str(error)[:300]}"
        raise _invalid(f"this model cannot be asked with weights {how} ({said}); use none") from error


def _tell_apart(answers: list[Any]) -> None:
    """Made-up questions are no market that the model knows: where nearly all have one answer, agreement on them says nothing."""
    action, count = Counter(answer.decision.action for answer in answers).most_common(1)[0]
    if count > _ALIKE * len(answers):
        raise _invalid(
            f"{count} of {len(answers)} made-up questions are answered {action.value}, and agreement on such says nothing; bring"
            f" {PROBE_LEAST_ROWS} questions of your market in {PROBE_FILE} beside the weights (a TrainingRun writes them), or use none"
        )


def _hold(settings: Settings, found: Agreement) -> None:
    # A share that a row makes up is met by it, whatever the last digit of a quotient is.
    if found.decisions >= settings.min_agreement - 1e-9:
        return
    same = round(found.decisions * found.rows)
    remedies = "int8 is closer, or use none" if settings.quantization is Quantization.INT4 else "use none"
    raise StartError(
        ExitCode.BAD_CONFIG,
        DISAGREES,
        f"quantised to {settings.quantization.value}, {same} of {found.rows} decisions are those of the weights as they are"
        f" ({found.decisions:.3f}, serving.minAgreement asks for {settings.min_agreement:g}), {round(found.actions * found.rows)} have the"
        f" same action, and an action's probability differs by {found.largest:.3g} at most; {remedies} (serving.quantization), or lower"
        " serving.minAgreement if such decisions are as good",
    )


def _quantised_already(base: Path) -> str | None:
    file = base / "config.json"
    try:
        stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:  # said by the check of the files
        return None
    told = stated.get("quantization_config") if isinstance(stated, dict) else None
    return str(told.get("quant_method", "unnamed"))[:40] if isinstance(told, dict) else None


def _invalid(message: str) -> StartError:
    return StartError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, f"serving.quantization: {message}")
