import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hfpc import golden, manifest, progress, storage, tasks
from hfpc.errors import ArgumentError, DataError, ModelError
from hfpc.inference.predictor import Predictor
from hfpc.training.finetune import FinetuneConfig, finetune
from tests.conftest import LABELS, make_texts, save_base_model, save_dataset, save_tokenized

QUICK = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 16}


def run(tokenized: Path, folder: Path, **config):
    record = finetune(
        FinetuneConfig(**{**QUICK, **config}),
        tokenized,
        folder / "model",
        folder / "curves.html",
        folder / "tensorboard",
    )
    return record, folder / "model"


def history_of(model: Path) -> list[dict]:
    return json.loads((model / "history.json").read_text())


def evaluations(model: Path) -> list[dict]:
    return [entry for entry in history_of(model) if "eval_loss" in entry]


def accuracy(model: Path, rows: list[dict]) -> float:
    answers = Predictor(model).respond([row["text"] for row in rows])
    return float(np.mean([answer[0]["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tokenized):
    """One ordinary fine-tuning, looked at by several tests: its record, its folder and what it printed."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as printed:
        patch.setenv("HFPC_HOME", str(folder / "home"))
        record, _ = run(tokenized, folder)
    return record, folder, printed.getvalue()


def test_the_model_beats_the_majority(trained):
    rows = make_texts(600)[400:]  # none of them was trained on
    majority = max(np.mean([row["label"] == label for row in rows]) for label in LABELS)
    assert majority < 0.6
    assert accuracy(trained[1] / "model", rows) > 0.85


def test_the_folder_is_an_ordinary_transformers_model(trained):
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(trained[1] / "model"))
    assert classify("i love this wonderful day")[0]["label"] == "positive"
    assert classify("my phone is terrible and i hate it")[0]["label"] == "negative"
    cutting = pipeline("text-classification", model=str(trained[1] / "model"), truncation=True)  # as on the card
    [long] = cutting(["love " * 29 + "hate awful terrible sad " * 50])
    assert long["label"] == "positive"
    [ours] = Predictor(trained[1] / "model").respond(["love " * 29 + "hate awful terrible sad " * 50])
    assert long["score"] == pytest.approx(ours[0]["score"], abs=1e-5)
    assert not [file for file in (trained[1] / "model").iterdir() if file.suffix in (".bin", ".pt", ".pth")]
    assert "bert.embeddings.LayerNorm.weight" in load_file(trained[1] / "model" / "model.safetensors")


def test_the_manifest_tells_what_the_model_is(trained, tokenized):
    record, folder, _ = trained
    written = manifest.read(folder / "model", "model")
    assert written.model == record
    assert written.dataset == manifest.read(tokenized, "tokenized").dataset
    assert record.max_length == 32 and record.parameters["epochs"] == 4
    assert record.metrics["validation/accuracy"] == evaluations(folder / "model")[-1]["eval_accuracy"]
    assert all(name.startswith("validation/") for name in record.metrics)
    decisive = [folder / "model" / name for name in ("config.json", "model.safetensors")]
    decisive += (folder / "model").glob("tokenizer*")
    assert record.fingerprint == storage.fingerprint(decisive, folder / "model")


def test_the_golden_requests_are_answered_alike(trained, tokenized):
    model = trained[1] / "model"
    requests = golden.read(model)
    assert [request["inputs"] for request in requests] == golden.read_inputs(tokenized)
    responses = Predictor(model).respond([request["inputs"] for request in requests])
    assert golden.differences(tasks.get("text-classification"), requests, responses) == []


def test_curves_events_and_card_are_written(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, folder, _ = trained
    assert "<svg" in (folder / "curves.html").read_text()
    assert (folder / "model" / "README.md").read_text().startswith("---")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    logged = [entry["step"] for entry in history_of(folder / "model") if "loss" in entry]
    assert [event.step for event in events.Scalars("train/loss")] == logged
    assert [event.step for event in events.Scalars("eval/accuracy")] == [18, 36, 54, 72]


def test_progress_and_only_progress_is_told(trained):
    found = [line for line in map(progress.parse, re.split(r"[\r\n]+", trained[2])) if line]
    assert found[-1].done == found[-1].total == 72
    assert re.fullmatch(r"loss \d\.\d{3}, \d+\.\d examples/s", found[-1].detail)
    assert "it/s" not in trained[2]


def test_no_checkpoint_is_left(trained):
    assert list((trained[1] / "home" / "checkpoints").iterdir()) == []


def test_equal_configurations_give_equal_weights(trained, tokenized, home, tmp_path):
    again, model = run(tokenized, tmp_path)
    other, _ = run(tokenized, tmp_path / "other", seed=1)
    assert again == trained[0]
    assert (model / "model.safetensors").read_bytes() == (trained[1] / "model" / "model.safetensors").read_bytes()
    assert other.fingerprint != again.fingerprint


def test_token_classification_trains(tagged_tokenized, home, tmp_path):
    record, model = run(tagged_tokenized, tmp_path, epochs=6)
    assert record.metrics["validation/entity_f1"] > 0.9
    entities = Predictor(model).respond(["the car of ada lovelace was in paris today"])[0]
    assert [(entity["entity_group"], entity["word"]) for entity in entities] == [
        ("PER", "ada lovelace"),
        ("LOC", "paris"),
    ]


def test_early_stopping_keeps_the_best_weights(tokenized, home, tmp_path):
    record, model = run(tokenized, tmp_path, epochs=30, early_stopping_patience=2, learning_rate=6e-3)
    measured = evaluations(model)
    scores = [entry["eval_accuracy"] for entry in measured]
    best = int(np.argmax(scores))
    assert len(measured) == best + 3 < 30
    assert record.metrics["validation/accuracy"] == scores[best]
    rows = make_texts(400)[280:330]
    assert accuracy(model, rows) == pytest.approx(scores[best])
    assert loss(model, rows) == pytest.approx(measured[best]["eval_loss"], rel=1e-3)
    assert measured[best]["eval_loss"] != pytest.approx(measured[-1]["eval_loss"], rel=1e-2)


def loss(model: Path, rows: list[dict]) -> float:
    from hfpc.tasks.text_classification import softmax

    logits = np.stack(Predictor(model).predict({"text": [row["text"] for row in rows]}))
    truth = [LABELS.index(row["label"]) for row in rows]
    return float(-np.log(softmax(logits)[range(len(rows)), truth]).mean())


def test_balanced_label_weights_find_more_of_a_rare_label(base_model, home, tmp_path):
    rows = make_texts(1200, seed=3)
    rare = [row for row in rows if row["label"] == "positive"]
    common = [row for row in rows if row["label"] == "negative"]
    splits = {"train": common[:360] + rare[:18], "validation": common[360:480] + rare[18:138]}
    data = save_dataset(tmp_path / "dataset", splits, "text-classification", LABELS)
    tokenized = save_tokenized(tmp_path / "tokenized", data, base_model)
    recalls = {}
    for weights in ("none", "balanced"):
        _, model = run(tokenized, tmp_path / weights, label_weights=weights, epochs=2, learning_rate=2e-3)
        answers = Predictor(model).respond([row["text"] for row in rare[18:138]])
        recalls[weights] = np.mean([answer[0]["label"] == "positive" for answer in answers])
    assert recalls["balanced"] > recalls["none"] + 0.3


def test_lora_changes_linear_layers_by_its_rank_and_is_merged(base_model, tokenized, home, tmp_path):
    record, model = run(tokenized, tmp_path, lora_rank=3, learning_rate=1e-2, epochs=6)
    assert record.metrics["validation/accuracy"] > 0.75
    assert not list(model.glob("adapter*"))
    before, after = load_file(base_model / "model.safetensors"), load_file(model / "model.safetensors")
    assert not [name for name in after if "lora" in name]
    query = "encoder.layer.0.attention.self.query.weight"
    change = after[f"bert.{query}"] - before[query]
    assert np.linalg.matrix_rank(change, tol=1e-4) == 3
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.1.output.LayerNorm.weight"):
        np.testing.assert_array_equal(after[f"bert.{name}"], before[name])


def test_extra_reaches_the_trainer(tokenized, home, tmp_path):
    record, model = run(tokenized, tmp_path, extra={"max_steps": "7", "logging_steps": 2.0, "eval_strategy": "no"})
    logged = [entry["step"] for entry in history_of(model) if "loss" in entry]
    assert logged == [2, 4, 6]
    assert record.metrics["validation/accuracy"] > 0  # measured at the end


def test_a_classifier_for_other_labels_gets_a_new_head(tagging_model, tokenized, home, tmp_path):
    folder = tmp_path / "tokenized"
    copy_tokenized(tokenized, folder, base_model=str(tagging_model))
    record, model = run(folder, tmp_path)
    assert record.metrics["validation/accuracy"] > 0.8
    assert json.loads((model / "config.json").read_text())["id2label"] == {"0": "negative", "1": "positive"}


def copy_tokenized(source: Path, target: Path, *, rows: dict[str, int] | None = None, **tokenized) -> None:
    """A tokenized folder like another, with some of its manifest changed."""
    import dataclasses
    import shutil

    shutil.copytree(source, target)
    given = manifest.read(source)
    dataset = dataclasses.replace(given.dataset, rows={**given.dataset.rows, **(rows or {})})
    record = dataclasses.replace(given.tokenized, **tokenized)
    dataclasses.replace(given, dataset=dataset, tokenized=record).write(target)


def test_without_validation_rows_the_last_weights_are_kept(tokenized, home, tmp_path):
    copy_tokenized(tokenized, tmp_path / "tokenized", rows={"validation": 0})
    record, model = run(tmp_path / "tokenized", tmp_path, epochs=1)
    assert record.metrics == {}
    assert evaluations(model) == []


def test_early_stopping_needs_validation_rows(tokenized, home, tmp_path):
    copy_tokenized(tokenized, tmp_path / "tokenized", rows={"validation": 0})
    with pytest.raises(ArgumentError, match="early_stopping_patience=2: there are no validation rows"):
        run(tmp_path / "tokenized", tmp_path, early_stopping_patience=2)
    with pytest.raises(ArgumentError, match="there are no validation rows: leave `eval_strategy` out"):
        run(tmp_path / "tokenized", tmp_path, extra={"eval_strategy": "epoch"})
    with pytest.raises(ArgumentError, match="early stopping needs evaluations"):
        run(tokenized, tmp_path, early_stopping_patience=2, extra={"eval_strategy": "no"})


def test_a_data_set_without_training_rows_is_refused(tokenized, home, tmp_path):
    copy_tokenized(tokenized, tmp_path / "tokenized", rows={"train": 0})
    with pytest.raises(DataError, match="has no training rows"):
        run(tmp_path / "tokenized", tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_training_that_diverges_leaves_nothing_half_written(tokenized, home, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match="not finite"):
        run(tokenized, tmp_path / "out", learning_rate=1e30, epochs=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_pickle_weights_are_refused(tokenized, home, tmp_path):
    base = save_base_model(tmp_path / "base")
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    copy_tokenized(tokenized, tmp_path / "tokenized", base_model=str(base))
    with pytest.raises(ModelError, match="only pickle weights"):
        run(tmp_path / "tokenized", tmp_path)


def test_a_checkpoint_uri_that_cannot_be_written_is_refused_before_training(tokenized, home, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match=r"checkpoint_uri=.*nothing can be written there"):
        run(tokenized, tmp_path, checkpoint_uri=str(tmp_path / "file" / "checkpoints"))
    with pytest.raises(ArgumentError, match=r"checkpoint_uri='gopher://x/.*Protocol not known"):
        run(tokenized, tmp_path, checkpoint_uri="gopher://x")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("epochs", 0, "epochs=0: give a number greater than 0"),
        ("epochs", float("nan"), "epochs=nan: give a number greater than 0"),
        ("learning_rate", -1.0, "learning_rate=-1.0: give a number greater than 0"),
        ("batch_size", 0, "batch_size=0: give a whole number of at least 1"),
        ("batch_size", 1.5, "batch_size=1.5: give a whole number of at least 1"),
        ("lora_rank", -1, "lora_rank=-1: give a whole number of at least 0"),
        ("seed", 2**32, "seed=4294967296: give a whole number below"),
        ("precision", "fp8", "precision='fp8': choose one of auto, fp32, bf16, fp16"),
        ("label_weights", "yes", "label_weights='yes': choose one of none, balanced"),
    ],
)
def test_a_configuration_checks_itself(argument, value, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        FinetuneConfig(**{argument: value})
