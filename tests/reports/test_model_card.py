import dataclasses

import pytest
from huggingface_hub import ModelCard

from hfpc.reports.model_card import model_card
from tests.reports.samples import HOSTILE, manifest

SHA = "0123456789abcdef0123456789abcdef01234567"


def test_the_hub_reads_the_metadata():
    data = ModelCard(model_card(manifest())).data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.license == "apache-2.0"
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == "transformers"
    assert data.datasets is None
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results}
    assert found == {
        ("test", "accuracy"): 0.882,
        ("test", "matthews_correlation"): 0.76,
        ("validation", "accuracy"): 0.885,
    }


def test_hub_ids_are_named_with_their_commits():
    card = model_card(manifest(base_model="org/base", base_revision=SHA, source="org/data", revision=SHA))
    data = ModelCard(card).data
    assert (data.base_model, data.datasets, data.license) == ("org/base", ["org/data"], None)
    assert f"[org/base](https://huggingface.co/org/base) at commit `{SHA}`" in card
    assert "https://huggingface.co/datasets/org/data" in card


@pytest.mark.parametrize("place", ["/home/someone/secret/bert", "../secret/bert", "file:///home/secret/bert"])
def test_no_path_of_this_machine_is_told(place):
    card = model_card(manifest(base_model=place, source=f"{place}/tweets.csv.gz"))
    assert ModelCard(card).data.base_model is None
    assert "secret" not in card and "someone" not in card
    assert "`bert`" in card and "bert-tweets" in card


def test_no_secret_of_an_address_is_told():
    card = model_card(manifest(source="https://me:hidden@example.com/data/tweets.csv?sig=hidden"))
    assert "`https://example.com/data/tweets.csv`" in card and "hidden" not in card


def test_the_f1_of_entities_is_the_one_the_hub_gets():
    known = manifest(task="token-classification")
    metrics = {"test/entity_f1": 0.7, "test/macro_f1": 0.9, "test/accuracy": float("nan")}
    card = model_card(dataclasses.replace(known, model=dataclasses.replace(known.model, metrics=metrics)))
    assert [(result.metric_type, result.metric_value) for result in ModelCard(card).data.eval_results] == [("f1", 0.7)]


def test_the_text_holds_the_facts():
    card = model_card(manifest())
    for fact in (
        "| Rows | train 3,000, validation 376, test 375 |",
        "| negative | 2,700 |",
        "- duplicate rows removed: 915",
        "| `epochs` | `1.5` |",
        "| Accuracy | 0.885 | 0.882 (0.861 to 0.902) |",
        "| Latency, median |  | 5.3 ms |",
        "Input beyond 40 tokens is not read. That cut 1.2 % of the rows",
        "positive is 10.0 % of the training labels",
        'pipeline("text-classification", model="path/to/this/folder", truncation=True)',
    ):
        assert fact in card, fact


def test_what_was_not_measured_is_said():
    known = manifest()
    untested = dataclasses.replace(known, model=dataclasses.replace(known.model, metrics={}), tokenized=None)
    card = model_card(untested)
    assert "Nothing has been measured yet." in card and "not been measured on test rows" in card
    assert ModelCard(card).data.eval_results is None


def test_labels_cannot_break_the_tables_or_become_markup():
    known = manifest()
    labels = [HOSTILE, "a | b\nc", *(f"label {index}" for index in range(148))]
    data = dataclasses.replace(known.dataset, label_names=labels, label_counts={"train": dict.fromkeys(labels, 7)})
    card = model_card(dataclasses.replace(known, dataset=data))
    assert "<script" not in card.replace("\\<script", "")
    assert "| a \\| b c | 7 |" in card
    assert "The first 50 of 150 labels are shown." in card
    ModelCard(card)
