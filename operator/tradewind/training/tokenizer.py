"""The tokenizer of a base from its folder, without torch: a snapshot reads it, too.

Belongs here: loading it, and the proof that it gives texts back. Does not belong here: samples (preflight.py), the model (base.py).
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tradewind.pretrained.files import check_files
from tradewind.pretrained.tokens import difference, encode_completions
from tradewind.trading.decision import DecisionInput
from tradewind.trading.exits import ExitCode
from tradewind.trading.prompt import hold, render_completion, render_prompt
from tradewind.training.outcome import JobError, as_job_error

_logger = logging.getLogger(__name__)

_PROBE_INPUT = DecisionInput(
    market_data={"BTC": {"price": 65432.1, "change_24h": -0.0123}, "note": "跌破支撑位 – é  two spaces"},
    account_state={"balance": 1000, "positions": []},
    recent_history=({"action": "hold", "pnl": -1.25},),
)


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, checked: what it decodes is what it was given.

    A byte-level tokenizer.json that is labelled as a SentencePiece class (as published DeepSeek models are) loses spaces in
    that class's hands. The file itself is then loaded without the class.

    Raises:
        JobError: exit 66 where neither way gives the text back; exit 65 for files that were cut.
    """
    with as_job_error("base"):
        check_files(folder)
    loaders: tuple[Callable[[], Any], ...] = (
        lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
        lambda: _plain_tokenizer(folder),
    )
    problem = "no tokenizer could be loaded"
    for loader in loaders:
        try:
            tokenizer = loader()
            changed = _changed_text(tokenizer)
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:400]}"
            continue
        if changed is None:
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            return tokenizer
        problem = changed
        _logger.warning("%s does not reproduce text: %s", type(tokenizer).__name__, changed)
    raise JobError(
        ExitCode.PREFLIGHT,
        "TokenizerRoundTrip",
        f"base: the tokenizer in {folder} cannot be used: {problem}; use the base model's own tokenizer.json",
    )


def probe_tokens(tokenizer: Any) -> list[int]:
    """The tokens of a prompt with an answer, which a model can be tried on."""
    answer = encode_completions(tokenizer, [render_completion(hold("BTC"))])["input_ids"][0]
    return [*tokenizer(render_prompt(_PROBE_INPUT, "BTC"))["input_ids"], *answer]


def _changed_text(tokenizer: Any) -> str | None:
    if tokenizer.eos_token_id is None:
        return "it has no end-of-sequence token"
    for text in (render_prompt(_PROBE_INPUT, "BTC"), render_completion(hold("BTC"))):
        back = tokenizer.decode(
            encode_completions(tokenizer, [text])["input_ids"][0], clean_up_tokenization_spaces=False
        )
        if back != text:
            return difference(text, back)
    return None


def _plain_tokenizer(folder: Path) -> Any:
    stated = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {key: stated[key] for key in ("bos_token", "eos_token", "pad_token", "unk_token") if stated.get(key)}
    special = {key: value["content"] if isinstance(value, dict) else value for key, value in names.items()}
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)
