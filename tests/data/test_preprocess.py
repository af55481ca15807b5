"""Tokenizing with a tiny real tokenizer: lengths, cutting, layout, golden inputs."""

import json
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfpc import golden, manifest, tasks
from hfpc.base_model import find
from hfpc.data import lengths
from hfpc.data.preprocess import PreprocessConfig, preprocess
from hfpc.errors import ArgumentError, DataError, ModelError
from tests.conftest import LABELS, make_texts, save_dataset, save_tokenized


def run(dataset, base_model, out, **arguments):
    record = preprocess(PreprocessConfig(base_model=str(base_model), **arguments), dataset, out)
    assert manifest.read(out, "tokenized").tokenized == record
    return record, {split: datasets.load_from_disk(out / split) for split in manifest.read(dataset).dataset.rows}


@pytest.mark.parametrize("kind", ["dataset", "tagged_dataset"])
def test_rows_are_what_the_task_encodes(request, base_model, tmp_path, kind):
    dataset = request.getfixturevalue(kind)
    record, splits = run(dataset, base_model, tmp_path / "out", max_length=12)
    save_tokenized(tmp_path / "expected", dataset, base_model, max_length=12)
    for split, rows in splits.items():
        expected = datasets.load_from_disk(tmp_path / "expected" / split)
        assert rows.column_names == expected.column_names
        assert rows.to_list() == expected.to_list()
        assert max(rows["length"]) <= 12
    assert 0 < record.truncated_share < 1
    assert record.max_length == 12


def full_lengths(dataset, base_model, split):
    tokenizer = find(str(base_model)).tokenizer()
    return np.array([len(tokenizer(row["text"])["input_ids"]) for row in pq.read_table(dataset / split).to_pylist()])


@pytest.fixture
def long_model(base_model, tmp_path):
    """A model that takes 512 tokens; only its tokenizer and its configuration say so."""
    folder = shutil.copytree(base_model, tmp_path / "long_model")
    for name, changed in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        content = json.loads((folder / name).read_text())
        assert changed in content
        (folder / name).write_text(json.dumps(content | {changed: 512}))
    return folder


def test_the_length_is_the_99th_percentile_of_train(long_model, tmp_path):
    rows = [dict(row, text=row["text"] + " love" * (100 + place)) for place, row in enumerate(make_texts(300))]
    dataset = save_dataset(tmp_path / "data", {"train": rows[:200], "test": rows[200:]}, "text-classification", LABELS)
    record, splits = run(dataset, long_model, tmp_path / "out")
    train = np.sort(full_lengths(dataset, long_model, "train"))
    assert 128 < record.max_length == train[int(np.ceil(0.99 * len(train))) - 1] == record.lengths["p99"]
    assert record.lengths["max"] == train[-1]
    every = np.concatenate([full_lengths(dataset, long_model, split) for split in splits])
    assert record.truncated_share == (every > record.max_length).mean() > 0.3


def test_short_rows_do_not_make_a_model_that_reads_short_texts_only(dataset, long_model, tmp_path):
    record, splits = run(dataset, long_model, tmp_path / "out")
    assert record.max_length == 128 > record.lengths["max"] and record.truncated_share == 0
    assert max(splits["train"]["length"]) == record.lengths["max"], "nothing is padded for it"


def test_cut_rows_keep_their_last_special_token(dataset, base_model, tmp_path):
    tokenizer = find(str(base_model)).tokenizer()
    _, splits = run(dataset, base_model, tmp_path / "out", max_length=8)
    for row in splits["train"]:
        assert row["input_ids"][0] == tokenizer.cls_token_id and row["input_ids"][-1] == tokenizer.sep_token_id
        assert row["length"] == len(row["input_ids"]) == len(row["attention_mask"]) <= 8


def long_texts(folder, words):
    rows = [dict(row, text=f"{row['text']} " + "love " * words) for row in make_texts(60)]
    return save_dataset(folder, {"train": rows[:40], "test": rows[40:]}, "text-classification", LABELS)


def test_the_length_is_capped_by_the_model(base_model, tmp_path):
    record, _ = run(long_texts(tmp_path / "long", 100), base_model, tmp_path / "a")
    assert record.max_length == 64 and record.lengths["p99"] > 100 and record.truncated_share == 1.0
    rows = [{"text": word, "label": label} for word, label in (("love", "positive"), ("hate", "negative"))]
    short = save_dataset(tmp_path / "short", {"train": rows}, "text-classification", LABELS)
    record, _ = run(short, base_model, tmp_path / "b")
    assert record.max_length == 64 and record.lengths == {"p50": 3, "p95": 3, "p99": 3, "max": 3}
    assert record.truncated_share == 0.0


def test_a_length_over_the_models_is_refused_before_tokenizing(dataset, base_model, tmp_path):
    with pytest.raises(ArgumentError, match=r"max_length=65: .* takes at most 64 tokens"):
        run(dataset, base_model, tmp_path / "out", max_length=65)
    assert not (tmp_path / "out").exists()


def test_roberta_like_models_take_fewer_tokens_than_positions(base_model, tmp_path):
    folder = shutil.copytree(base_model, tmp_path / "model")
    tokenizer = find(str(folder)).tokenizer()
    config = json.loads((folder / "config.json").read_text())
    tokenizer.model_max_length = 10**30
    assert lengths.limit(folder, tokenizer) == 64
    config |= {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    assert lengths.limit(folder, tokenizer) == 512
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    assert lengths.limit(folder, tokenizer) == 0


def test_a_model_fine_tuned_here_may_take_more_than_its_data_did(model):
    tokenizer = find(str(model)).tokenizer()
    tokenizer.model_max_length = 16
    assert lengths.limit(model, tokenizer) == 64


def test_golden_inputs_cover_labels_and_lengths_and_do_not_change(dataset, base_model, tmp_path):
    run(dataset, base_model, tmp_path / "a")
    run(dataset, base_model, tmp_path / "b")
    inputs = golden.read_inputs(tmp_path / "a")
    assert inputs == golden.read_inputs(tmp_path / "b")
    assert len(inputs) == len(set(inputs)) == 16
    rows = pq.read_table(dataset / "validation").to_pylist()
    texts = {row["text"]: row["label"] for row in rows}
    assert set(inputs) <= set(texts)
    assert {texts[text] for text in inputs} == set(LABELS)
    counts = full_lengths(dataset, base_model, "validation")
    chosen = [counts[[row["text"] for row in rows].index(text)] for text in inputs]
    assert min(chosen) == counts.min() and max(chosen) == counts.max()


def test_golden_inputs_of_tags_cover_each_tag_and_come_from_train_without_validation(
    tagged_dataset, base_model, tmp_path
):
    rows = [{"tokens": ["the", "day"], "tags": ["O", "O"]}] * 3000
    rows[2500] = {"tokens": ["ada", "was"], "tags": ["B-PER", "O"]}
    dataset = save_dataset(tmp_path / "data", {"train": rows, "test": rows[:5]}, "token-classification", ["O", "B-PER"])
    run(dataset, base_model, tmp_path / "out")
    inputs = golden.read_inputs(tmp_path / "out")
    assert "ada was" in inputs and len(inputs) == 16
    run(tagged_dataset, base_model, tmp_path / "tagged")
    task = tasks.get("token-classification")
    requests = {task.request(row): row["tags"] for row in pq.read_table(tagged_dataset / "validation").to_pylist()}
    covered = {tag for text in golden.read_inputs(tmp_path / "tagged") for tag in requests[text]}
    assert covered == {"O", "B-LOC", "B-PER", "I-PER"}


def test_many_files_row_groups_and_long_rows_stay_in_order(base_model, tmp_path):
    rows = [
        dict(row, text=row["text"] + " love" * (3000 if i % 97 == 0 else i % 5))
        for i, row in enumerate(make_texts(2500))
    ]
    dataset = save_dataset(tmp_path / "data", {"train": rows}, "text-classification", LABELS)
    (dataset / "train" / "part-00000.parquet").unlink()
    for part in range(3):
        table = pa.Table.from_pylist(rows[part * 900 : (part + 1) * 900])
        pq.write_table(table, dataset / "train" / f"part-{part:05d}.parquet", row_group_size=250)
    record, splits = run(dataset, base_model, tmp_path / "out", max_length=40)
    ids = {label: index for index, label in enumerate(LABELS)}
    assert splits["train"]["labels"][:] == [ids[row["label"]] for row in rows]
    tokenizer = find(str(base_model)).tokenizer()
    for place in (0, 1, 97, 899, 900, 1940, 2499):
        expected = tokenizer(rows[place]["text"], truncation=True, max_length=40)["input_ids"]
        assert splits["train"][place]["input_ids"] == expected
    assert record.truncated_share == pytest.approx(26 / 2500)


def test_the_cache_of_datasets_is_left_alone(dataset, base_model, tmp_path):
    before = sorted(datasets.config.HF_DATASETS_CACHE.rglob("*")) if datasets.config.HF_DATASETS_CACHE.exists() else []
    run(dataset, base_model, tmp_path / "out")
    after = sorted(datasets.config.HF_DATASETS_CACHE.rglob("*")) if datasets.config.HF_DATASETS_CACHE.exists() else []
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"max_length": 7}, "max_length=7"), ({"max_length": -1}, "max_length=-1"), ({"workers": -1}, "workers=-1")],
)
def test_arguments_are_checked_first(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        PreprocessConfig(**arguments)


def test_wrong_inputs_leave_nothing(dataset, base_model, tmp_path):
    with pytest.raises(DataError, match="holds a tokenized, but a dataset is needed"):
        run(save_tokenized(tmp_path / "tokenized", dataset, base_model), base_model, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no tokenizer that loads"):
        run(dataset, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ArgumentError, match="revision='v1'"):
        run(dataset, base_model, tmp_path / "out", revision="v1")
    assert not (tmp_path / "out").exists()
