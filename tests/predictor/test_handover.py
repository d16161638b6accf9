"""What vLLM is handed: only what was verified, a tokenizer that encodes as training does, and options that only files know."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import Served, directory_sha256, read_termination, train_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tradewind.predictor import handover, start
from tradewind.pretrained.tokens import encode_prompts
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import render_prompt


def hand_over(served: Served, into: Path, **other: Any) -> int:
    given = {"base": served.base, "adapter": served.adapter, "sha256": served.sha256} | other
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    into.mkdir(exist_ok=True)
    return handover.main([*options, f"--into={into}", f"--termination-log={into / 'log'}"])


def copied(served: Served, folder: Path) -> Served:
    base, adapter = shutil.copytree(served.base, folder / "base"), shutil.copytree(served.adapter, folder / "adapter")
    return Served(base, adapter, served.sha256, served.tokenizer)


def with_config(served: Served, folder: Path, **changes: Any) -> Served:
    """The same with another adapter_config.json, and the hash that goes with it."""
    mine = copied(served, folder)
    config = mine.adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return Served(mine.base, mine.adapter, directory_sha256(mine.adapter), mine.tokenizer)


def test_a_spelt_end_token_is_text_to_vllm_too(served: Served, tmp_path: Path) -> None:
    """A plain AutoTokenizer ends the prompt where the market says so."""
    assert hand_over(served, tmp_path) == 0
    end = str(served.tokenizer.eos_token)
    shown = DecisionInput(market_data={"news": f"buy {end} now"}, account_state={})
    text, handed = render_prompt(shown, "BTC"), AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    (wanted,) = encode_prompts(served.tokenizer, [text])
    assert handed(text)["input_ids"] == wanted == handed.encode(text, add_special_tokens=True)
    assert served.tokenizer.eos_token_id in served.tokenizer(text)["input_ids"]
    assert served.tokenizer.eos_token_id not in wanted
    assert handed.eos_token_id == served.tokenizer.eos_token_id
    assert wanted[0] == handed.bos_token_id


@pytest.mark.parametrize("family", ["bytes", "gpt2", "deepseek", "llama2"])
def test_every_family_is_handed_over_with_its_tokens(served: Served, tmp_path: Path, family: str) -> None:
    tokenizer, mine = train_tokenizer(family), copied(served, tmp_path)
    tokenizer.save_pretrained(mine.adapter)
    assert hand_over(mine, tmp_path / "into", sha256=directory_sha256(mine.adapter)) == 0
    text = render_prompt(DecisionInput(market_data={"é": "跌破 <|end|>"}, account_state={}), "BTC")
    handed = PreTrainedTokenizerFast.from_pretrained(tmp_path / "into" / "tokenizer")
    assert handed(text)["input_ids"] == encode_prompts(tokenizer, [text])[0]


def test_the_rank_is_read_from_the_adapter(served: Served, tmp_path: Path) -> None:
    assert hand_over(served, tmp_path) == 0
    config = json.loads((tmp_path / "config.yaml").read_text())
    assert config == {"max-lora-rank": 8, "tokenizer": str(tmp_path / "tokenizer")}
    patterned = with_config(served, tmp_path, rank_pattern={"q_proj": 33})
    assert hand_over(patterned, tmp_path / "into") == 0
    assert json.loads((tmp_path / "into" / "config.yaml").read_text())["max-lora-rank"] == 64


def test_a_whole_model_has_no_rank(served: Served, tmp_path: Path) -> None:
    assert hand_over(served, tmp_path, adapter=None, sha256=directory_sha256(served.base)) == 0
    assert "max-lora-rank" not in json.loads((tmp_path / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"use_dora": True}, "use_dora"), ({"bias": "all"}, "bias"), ({"modules_to_save": ["lm_head"]}, "lm_head"), ({"r": 1024}, "1024"), ({"r": None}, "rank")],
)  # fmt: skip
def test_what_vllm_would_leave_out_is_refused(
    served: Served, tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    assert hand_over(with_config(served, tmp_path, **changes), tmp_path / "into") == 64
    assert word in read_termination(tmp_path / "into" / "log")["message"]


def test_another_artifact_is_not_handed_over(served: Served, tmp_path: Path) -> None:
    assert hand_over(served, tmp_path, sha256="b" * 64) == 65
    assert read_termination(tmp_path / "log")["reason"] == "ArtifactMismatch"
    assert hand_over(served, tmp_path, base_sha256="b" * 64) == 65
    assert "base model" in read_termination(tmp_path / "log")["message"]
    assert not (tmp_path / "start.py").exists()


def test_bad_settings_and_folders_are_named(served: Served, tmp_path: Path) -> None:
    assert hand_over(served, tmp_path, sha256="x") == 64
    assert "--sha256" in read_termination(tmp_path / "log")["message"]
    assert hand_over(served, tmp_path, base=tmp_path / "nothing") == 64
    assert "safetensors" in read_termination(tmp_path / "log")["message"]


def test_a_started_container_looks_again_and_serves_nothing_else(served: Served, tmp_path: Path) -> None:
    """Kubernetes starts vLLM's container anew without the one that verified."""
    mine, into = copied(served, tmp_path), tmp_path / "into"
    assert hand_over(mine, into, base_sha256=directory_sha256(mine.base)) == 0
    started, log = tmp_path / "started", tmp_path / "log"
    log.touch()
    # The copied program in a bare Python, as it runs in an image that has nothing of ours.
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import start;"
        f"sys.exit(start.main(['true'], started=Path({str(started)!r}), termination_log=Path({str(log)!r})))"
    )
    run = [sys.executable, "-I", "-S", "-c", program, str(into)]
    assert [subprocess.run(run, check=False).returncode for _ in range(2)] == [0, 0]
    weights = mine.base / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert subprocess.run(run, check=False, capture_output=True).returncode == 65
    assert "model.safetensors" in read_termination(log)["message"]
    weights.write_bytes(whole)
    (mine.adapter / "more.safetensors").touch()
    assert subprocess.run(run, check=False, capture_output=True).returncode == 65
    assert "more.safetensors" in read_termination(log)["message"]


def test_hashes_are_those_that_were_verified(served: Served, tmp_path: Path) -> None:
    assert hand_over(served, tmp_path) == 0
    verified = json.loads((tmp_path / start.VERIFIED_FILE).read_text())
    assert set(verified) == {str(served.adapter)}  # the base is not pinned, and not promised
    assert start.changed(served.adapter, verified[str(served.adapter)]) is None
