import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest

from hfpc import golden
from hfpc.errors import DataError, ModelError
from hfpc.inference.predictor import Predictor, batches
from tests.conftest import make_tagged, make_texts


@pytest.fixture
def two_threads(monkeypatch):
    """Two cores, so that batches run side by side; the tests' default is one."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def equal(one, other) -> bool:
    return all(np.allclose(a, b, atol=1e-5, equal_nan=True) for a, b in zip(one, other, strict=True))


def test_rows_keep_their_order_whatever_the_batches(model):
    rows = {"text": [row["text"] for row in make_texts(60)]}
    one_by_one = [Predictor(model, tokens_per_batch=1).predict({"text": [text]})[0] for text in rows["text"][:5]]
    for tokens in (1, 40, 300, 100_000):
        predictions = Predictor(model, tokens_per_batch=tokens).predict(rows)
        assert len(predictions) == 60
        assert equal(predictions[:5], one_by_one)
    assert not equal(predictions[:5], predictions[5:10])


@pytest.mark.parametrize("threads", [1, 2])
def test_labels_and_scores_are_those_of_the_transformers_pipeline(model, threads, request):
    from transformers import pipeline

    if threads == 2:
        request.getfixturevalue("two_threads")
    texts = [row["text"] for row in make_texts(150, seed=3)] + ["", "love " * 200]
    ours = Predictor(model, tokens_per_batch=200).respond(texts)
    peer = pipeline("text-classification", model=str(model), device="cpu", batch_size=32, truncation=True, top_k=None)
    theirs = peer(texts)
    assert [row[0]["label"] for row in ours] == [row[0]["label"] for row in theirs]
    assert [row[0]["score"] for row in ours] == pytest.approx([row[0]["score"] for row in theirs], abs=1e-5)


def test_two_cores_give_what_one_gives_and_the_callers_threads_stay(tagging_model, two_threads):
    import torch

    rows = {"tokens": [row["tokens"] for row in make_tagged(80)]}
    parallel = Predictor(tagging_model, tokens_per_batch=64)
    assert parallel.workers == 2
    first, second = parallel.predict(rows), parallel.predict(rows)
    assert equal(first, second)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert equal(first, Predictor(tagging_model, tokens_per_batch=64).predict(rows))


def test_other_threads_may_use_it_one_after_the_other(model, two_threads):
    predictor, rows = Predictor(model, tokens_per_batch=64), {"text": [row["text"] for row in make_texts(40)]}
    expected = predictor.predict(rows)
    for _ in range(3):
        with ThreadPoolExecutor(1) as thread:
            assert equal(thread.submit(predictor.predict, rows).result(), expected)


def test_threads_that_come_later_have_all_cores(model, two_threads):
    import torch

    Predictor(model, tokens_per_batch=64).predict({"text": [row["text"] for row in make_texts(40)]})
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(torch.get_num_threads).result() == 2


def test_a_single_request_has_all_cores_whatever_its_thread_had(model, two_threads):
    import torch

    def ask() -> int:
        torch.set_num_threads(1)
        predictor.predict({"text": ["love"]})
        return torch.get_num_threads()

    predictor = Predictor(model)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(ask).result() == 2


def test_a_folder_cannot_let_its_own_code_run(model, tmp_path):
    """Whoever made the folder wrote its hfpc.json as well."""
    folder = shutil.copytree(model, tmp_path / "model")
    content = json.loads((folder / "hfpc.json").read_text())
    content["model"]["trust_remote_code"] = True
    (folder / "hfpc.json").write_text(json.dumps(content))
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnModel"}
    settings["model_type"] = "own"
    (folder / "config.json").write_text(json.dumps(settings))
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(
        f"""
import pathlib
from transformers import BertConfig, BertForSequenceClassification

pathlib.Path({str(ran)!r}).touch()

class OwnConfig(BertConfig):
    model_type = "own"

class OwnModel(BertForSequenceClassification):
    config_class = OwnConfig
"""
    )
    with pytest.raises(ModelError, match="where you trust it, give trust_remote_code=True"):
        Predictor(folder)
    assert not ran.exists()
    expected = Predictor(model).predict({"text": ["love"]})
    assert equal(Predictor(folder, trust_remote_code=True).predict({"text": ["love"]}), expected)
    assert ran.exists()
    content["model"]["trust_remote_code"] = False
    ran.unlink()
    (folder / "hfpc.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"does not load|no tokenizer that loads"):
        Predictor(folder)
    assert not ran.exists()


def test_no_rows_give_no_predictions(model, tagging_model):
    assert Predictor(model).predict({"text": []}) == []
    assert Predictor(model).respond([]) == []
    assert Predictor(tagging_model).predict({"tokens": []}) == []


def test_golden_requests_are_answered_as_when_the_model_was_made(model, tagging_model):
    for folder in (model, tagging_model):
        predictor, requests = Predictor(folder), golden.read(folder)
        responses = predictor.respond([request["inputs"] for request in requests])
        assert golden.differences(predictor.task, requests, responses) == []


def test_a_long_row_is_cut_to_the_models_length(model):
    short, long = Predictor(model).predict({"text": ["love " * 62, "love " * 500]})
    assert np.allclose(short, long, atol=1e-5)


def test_words_beyond_the_models_length_have_no_logits(tagging_model):
    prediction = Predictor(tagging_model).predict({"tokens": [["love"] * 100]})[0]
    assert prediction.shape == (100, 4)
    assert np.isnan(prediction).any(axis=1).sum() == 100 - 62


def test_a_model_that_diverged_is_an_error(model, tmp_path):
    from safetensors.numpy import load_file, save_file

    broken = shutil.copytree(model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    save_file(
        {**weights, "classifier.bias": np.full(2, np.nan, np.float32)}, broken / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match="not finite"):
        Predictor(broken).predict({"text": ["love"]})


def test_a_folder_that_is_no_model_is_an_error(dataset, tmp_path):
    with pytest.raises(DataError, match="holds a dataset, but a model is needed"):
        Predictor(dataset)
    with pytest.raises(DataError, match=r"has no hfpc\.json"):
        Predictor(tmp_path)


def test_batches_hold_every_row_once_longest_first_and_keep_to_the_limit():
    rng = np.random.default_rng(0)
    lengths = [int(length) for length in rng.integers(1, 90, 500)] + [400]
    found = list(batches(lengths, 256))
    assert sorted(index for batch in found for index in batch) == list(range(501))
    longest = [max(lengths[index] for index in batch) for batch in found]
    assert longest == sorted(longest, reverse=True)
    assert found[0] == [500]  # Longer than the limit: alone.
    assert all(len(batch) * width <= 256 for batch, width in zip(found[1:], longest[1:], strict=True))
    assert list(batches([], 256)) == []


def test_padding_is_next_to_nothing_on_the_sample_tweets():
    """What makes batches fast: a random order would pad half as much again."""
    rng = np.random.default_rng(1)
    lengths = [int(length) for length in np.clip(rng.normal(31, 10, 4096), 5, 80)]
    padded = sum(len(batch) * lengths[batch[0]] for batch in batches(lengths, 1024))
    assert padded < 1.02 * sum(lengths)


def test_every_test_row_is_predicted(model, dataset):
    table = pq.read_table(dataset / "test")
    assert len(Predictor(model).predict({"text": table["text"].to_pylist()})) == table.num_rows
