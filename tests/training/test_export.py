"""The tokenizer of a finished model, as Transformers 4 and 5 read it."""

import json

import pytest

from hfpc.base_model import find
from hfpc.training.export import save_tokenizer

TEXTS = ["I love this phone", "üben, 東京, 😀", "no " * 300, "a <quote> here"]


@pytest.fixture(params=["tiny", "minilm"])
def tokenizer(request, base_model):
    loaded = find(str(base_model) if request.param == "tiny" else "sample:minilm").tokenizer()
    loaded.add_special_tokens({"additional_special_tokens": ["<quote>"]})
    loaded.model_max_length = 32
    return loaded


def test_it_gives_the_same_ids_and_names_nothing_that_transformers_4_does_not_know(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path / "plain")
    save_tokenizer(tokenizer, tmp_path / "saved")
    settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "extra_special_tokens" not in settings  # a list there ends Transformers 4
    plain, saved = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("plain", "saved"))
    for each in (plain, saved):
        assert dict(each(TEXTS, truncation=True)) == dict(tokenizer(TEXTS, truncation=True))
        assert each.model_max_length == 32 and each.model_input_names == tokenizer.model_input_names
        assert sorted(each.all_special_tokens) == sorted(tokenizer.all_special_tokens)


def test_one_for_a_model_without_token_types_gives_none(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    save_tokenizer(tokenizer, tmp_path)
    assert set(AutoTokenizer.from_pretrained(tmp_path)("a phone")) == {"input_ids", "attention_mask"}


def test_one_with_code_of_its_own_stays_as_it_was_saved(tokenizer, tmp_path):
    tokenizer.init_kwargs["auto_map"] = {"AutoTokenizer": [None, "own.Tokenizer"]}
    save_tokenizer(tokenizer, tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] != "PreTrainedTokenizerFast" and settings["auto_map"]
