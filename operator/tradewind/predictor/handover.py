"""`python -m tradewind.predictor.handover --base DIR [--adapter DIR] --sha256 HEX --into DIR`: all that vLLM needs of us.

Goes before vLLM in a pod of its own image. vLLM verifies nothing, reads special tokens out of market data, and needs options that
only the files know. So into a folder go: `tokenizer/`, which encodes prompts as training does; `config.yaml` with the options;
`verified.json`, the hash of each file that was verified; and `start.py` (`predictor/start.py`), which starts vLLM on them.

Exit codes: 0 handed over; 64 bad settings, or files that vLLM does not serve; 65 another artifact, or broken files; 66 the tokenizer
changes text, or encodes prompts otherwise than training does. The reason is left in the termination log as JSON.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from tradewind.predictor import start
from tradewind.predictor.artifact import verified_artifact, verified_base, verify_trained_base
from tradewind.predictor.failure import StartError, as_start_error
from tradewind.predictor.settings import DEFAULT_TERMINATION_LOG
from tradewind.pretrained.fault import UnfitError
from tradewind.pretrained.files import check_files
from tradewind.trading.exits import ExitCode

_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as largest rank."""


def main(argv: Sequence[str]) -> int:
    """Hand over; the exit code."""
    log = DEFAULT_TERMINATION_LOG
    try:
        options = _options(argv)
        log = options.termination_log
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("USER", "tradewind")  # torch asks for a name, and a pod's numeric user has none
        allow = options.base_mismatch == "allow"
        hand_over(options.base, options.adapter, options.sha256, options.base_sha256, options.into, other_base=allow)
    except StartError as error:
        error.write(log)
        return error.code
    except UnfitError as error:
        as_start_error(error).write(log)
        return error.code
    except OSError as error:
        message = f"{error.filename}: {error.strerror}: mount the model there, and a writable volume at --into"
        StartError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, message).write(log)
        return ExitCode.BAD_CONFIG
    return ExitCode.DONE


def hand_over(
    base: Path, adapter: Path | None, sha256: str, base_sha256: str | None, into: Path, *, other_base: bool = False
) -> None:
    """Verify, and write what vLLM is started with.

    Args:
        base: directory of the base model, or of the whole one.
        adapter: of the adapter.
        sha256: what the adapter, or the whole model, must hash to.
        base_sha256: what the base below an adapter must hash to; None: whatever lies there.
        into: directory for what is handed over.
        other_base: whether an adapter is served on another base than it was trained on.

    Raises:
        StartError, UnfitError: see the exit codes of this module.
    """
    for name, given in (("--sha256", sha256), ("--base-sha256", base_sha256)):
        if given is not None and not re.fullmatch(r"[0-9a-f]{64}", given):
            raise _unfit(f"{name} takes 64 lower-case hex digits, got {given!r}")
    verified = {adapter or base: verified_artifact(adapter or base, sha256)}
    if adapter is not None and base_sha256 is not None:
        verified[base] = verified_base(base, base_sha256)
    if adapter is not None:
        verify_trained_base(adapter, base, base_sha256, allow=other_base)
    if not any(base.glob("*.safetensors")):
        raise _unfit("the base model has no *.safetensors: pickled weights are not loaded, convert them")
    check_files(base)
    config: dict[str, Any] = {}
    if adapter is not None:
        check_files(adapter)
        config["max-lora-rank"] = _largest_rank(adapter)
    config["tokenizer"] = str(_tokenizer([d for d in (adapter, base) if d is not None], into / "tokenizer"))
    (into / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    known = {str(folder): hashes for folder, hashes in verified.items()}
    (into / start.VERIFIED_FILE).write_text(json.dumps(known), encoding="utf-8")
    shutil.copyfile(start.__file__, into / "start.py")


def _largest_rank(adapter: Path) -> int:
    """Of the adapter, as vLLM takes it. What vLLM leaves out of an adapter without a word is refused here."""
    try:
        stated = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        ranks = [int(stated["r"]), *map(int, (stated.get("rank_pattern") or {}).values())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _unfit("the adapter has no adapter_config.json of peft with its rank: publish it whole") from None
    for name, plain in (("use_dora", (False,)), ("modules_to_save", ([],)), ("bias", ("none",))):
        if stated.get(name) not in (None, *plain):
            message = (
                f"the adapter has {name}: {stated[name]}, which vLLM does not serve; use runtime tradewind, or merge it"
            )
            raise _unfit(message)
    fitting = [rank for rank in _RANKS if rank >= max(ranks)]
    if not fitting:
        raise _unfit(
            f"the adapter has rank {max(ranks)}, vLLM takes {_RANKS[-1]} at most; use runtime tradewind, or merge it"
        )
    return fitting[0]


def _tokenizer(sources: Sequence[Path], target: Path) -> Path:
    """A tokenizer whose every call does what `encode_prompts` asks for: text of users gives no special tokens.

    Raises:
        StartError: exit 66 where that cannot be had from a tokenizer's files alone.
    """
    from transformers import PreTrainedTokenizerFast

    from tradewind.predictor.loader import SAMPLE_INPUTS, encode_prompt, load_tokenizer
    from tradewind.trading.prompt import render_prompt

    tokenizer = load_tokenizer(sources)
    named = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    target.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    (target / "tokenizer_config.json").write_text(json.dumps(stated | {"split_special_tokens": True}), encoding="utf-8")
    handed = PreTrainedTokenizerFast.from_pretrained(target)
    spelt = "".join(map(str, tokenizer.all_special_tokens))
    for shown in SAMPLE_INPUTS:
        text = render_prompt(shown.model_copy(update={"market_data": {**shown.market_data, "news": spelt}}), "BTC")
        if handed(text)["input_ids"] != encode_prompt(tokenizer, text):
            message = "handed to vLLM, the tokenizer encodes prompts otherwise than in training; use runtime tradewind"
            raise StartError(ExitCode.PREFLIGHT, "TokenizerRoundTrip", message)
    return target


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="python -m tradewind.predictor.handover", description=__doc__, allow_abbrev=False)
    parser.add_argument("--base", type=Path, required=True, help="directory of the base model")
    parser.add_argument("--adapter", type=Path, help="directory of the LoRA adapter")
    parser.add_argument("--sha256", required=True, help="pinned hash of the adapter, or of the base without one")
    parser.add_argument("--base-sha256", help="pinned hash of the base below an adapter; nothing: whatever lies there")
    said = "what is done with an adapter that was trained on another base"
    parser.add_argument("--base-mismatch", choices=("refuse", "allow"), default="refuse", help=said)
    parser.add_argument("--into", type=Path, required=True, help="directory for what is handed over")
    parser.add_argument("--termination-log", type=Path, default=DEFAULT_TERMINATION_LOG, help="file for the reason")
    return parser.parse_args(list(argv))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _unfit(message)


def _unfit(message: str) -> StartError:
    return StartError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, message)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
