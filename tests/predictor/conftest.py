"""Fixtures: a tokenizer, and a model with its adapter as the pods mount them."""

import warnings

import pytest
from tiny_llama import Served, directory_sha256, tiny_llama, train_tokenizer
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer("llama3")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Served:
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("model")
    base, adapter = root / "base", root / "adapter"
    model = tiny_llama(tokenizer)
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that the latter renamed
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
        adapted.save_pretrained(str(adapter))
    (adapter / "README.md").unlink(missing_ok=True)
    return Served(base, adapter, directory_sha256(adapter), tokenizer)
