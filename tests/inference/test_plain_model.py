"""Folders as Transformers saves them, without `hfpc.json`."""

import json
import os
import shutil

import pytest

from hfpc import manifest, registry
from hfpc.errors import ArgumentError, DataError, ModelError
from hfpc.inference.plain_model import manifest_of
from hfpc.inference.predictor import Predictor

TEXTS = ["i love this day", "ada lovelace was in paris"]


def plain(folder, to):
    """A copy without what this library adds."""
    shutil.copytree(folder, to)
    for name in ("hfpc.json", "golden.json", "README.md"):
        (to / name).unlink(missing_ok=True)
    return to


def configure(folder, file="config.json", **values):
    content = {**json.loads((folder / file).read_text()), **values}
    kept = {name: value for name, value in content.items() if value is not None}
    (folder / file).write_text(json.dumps(kept))


@pytest.mark.parametrize("kind", ["model", "tagging_model"])
def test_it_predicts_as_with_its_record(request, tmp_path, kind):
    folder = request.getfixturevalue(kind)
    ours, bare = Predictor(folder), Predictor(plain(folder, tmp_path / "plain"))
    assert bare.respond(TEXTS) == ours.respond(TEXTS)
    assert (bare.task, bare.label_names, bare.max_length) == (ours.task, ours.label_names, ours.max_length)


def test_a_record_that_is_there_is_used(model):
    assert manifest_of(model) == manifest.read(model, "model")


def test_a_language_model_is_for_text_generation_and_not_predicted(language_model):
    content = manifest_of(language_model)
    assert content.task == "text-generation" and content.dataset is None
    with pytest.raises(ArgumentError, match="text-generation"):
        Predictor(language_model)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("RobertaForSequenceClassification", "text-classification"),
        ("DebertaV2ForTokenClassification", "token-classification"),
        ("Qwen2ForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
    ],
)
def test_the_architecture_tells_the_task(tmp_path, architecture, task):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    assert manifest_of(tmp_path).task == task


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, "for T5ForConditionalGeneration: .*ForCausalLM"),
        ({"architectures": ["BertModel"]}, "for BertModel"),
        ({"architectures": []}, "for no architecture"),
        ({}, "for no architecture"),
        ({"architectures": None}, "for no architecture"),
        (
            {"architectures": ["BertForSequenceClassification"], "problem_type": "multi_label_classification"},
            "for multi_label_classification",
        ),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a"}}, "gives a number"),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"1": "a", "2": "b"}}, "id2label"),
        ({"architectures": ["BertForTokenClassification"], "id2label": ["a", "b"]}, "id2label"),
    ],
)
def test_what_cannot_be_served_is_named(tmp_path, config, says):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=says):
        manifest_of(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '"a"'])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        manifest_of(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no hfpc\.json"):
        manifest_of(tmp_path)


@pytest.mark.parametrize(
    ("config", "tokenizer", "length"),
    [
        ({"max_position_embeddings": 128}, {"model_max_length": 64}, 64),
        ({"max_position_embeddings": 128}, {"model_max_length": 1e30}, 128),
        ({"max_position_embeddings": 128}, {}, 128),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, {}, 512),
        ({"n_positions": 99}, None, 99),
        ({}, {"model_max_length": 1000000000000000019884624838656}, 512),
        ({}, None, 512),
    ],
)
def test_the_length_is_the_least_that_is_told(tmp_path, config, tokenizer, length):
    config = {"architectures": ["BertForSequenceClassification"], **config}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert manifest_of(tmp_path).model.max_length == length


def test_labels_are_in_the_order_of_their_ids(model, tmp_path):
    folder = plain(model, tmp_path / "plain")
    names = {str(index): f"label {index}" for index in reversed(range(12))}
    configure(folder, id2label=names)
    assert manifest_of(folder).dataset.label_names == [f"label {index}" for index in range(12)]
    configure(folder, id2label=None)
    assert manifest_of(folder).dataset.label_names == ["LABEL_0", "LABEL_1"]


def test_the_fingerprint_tells_whether_the_model_changed(model, tmp_path):
    folder = plain(model, tmp_path / "plain")
    before = registry.fingerprint(folder)
    assert len(before) == 64
    (folder / "golden.json").write_text("[]")
    (folder / "README.md").write_text("# A model")
    assert registry.fingerprint(folder) == before
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(1, 1))  # another date, however coarse the disk's clock
    assert registry.fingerprint(folder) != before
