"""Loading on real files: what is removed, what is counted, and what the split keeps."""

import json
import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfpc import manifest
from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
from hfpc.errors import ArgumentError, DataError
from tests.conftest import make_tagged, make_texts


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(source, out, *, block_bytes=1 << 20, **arguments):
    record = load_dataset(LoadDatasetConfig(source=str(source), **arguments), out, block_bytes=block_bytes)
    splits = {split: pq.read_table(out / split).to_pylist() for split in record.rows}
    assert {split: len(rows) for split, rows in splits.items()} == record.rows
    assert manifest.read(out, "dataset").dataset == record
    return record, splits


def test_the_tweets(tmp_path):
    record, splits = load("sample:tweets", tmp_path / "out", labels=["negative", "positive"])
    assert record.source == "sample:tweets" and record.licence == "MIT" and record.revision == ""
    assert record.columns == {"text": "text", "label": "sentiment"}
    assert record.label_names == ["negative", "positive"]
    assert record.repairs["rows with other labels left out"] == 15_018
    total = 16_186 + 6_954 - record.repairs["duplicate rows removed"] - record.repairs["contradicting rows removed"]
    assert sum(record.rows.values()) == total
    assert record.rows["validation"] == pytest.approx(total * 0.1, abs=1)
    texts = [row["text"] for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    assert list(splits["train"][0]) == ["text", "label", "confidence"]


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """600 distinct rows, 40 copies, 25 copies with the other label, 10 empty texts, 5 without a label; shuffled."""
    rows = make_texts(600)
    rng = random.Random(1)
    other = {"negative": "positive", "positive": "negative"}
    copies = [dict(row, text=f"  {row['text']} ") for row in rng.sample(rows[:300], 40)]
    contradictions = [dict(row, label=other[row["label"]]) for row in rng.sample(rows[300:], 25)]
    unusable = [{"text": " ", "label": "positive"}] * 10 + [{"text": f"no label {i}", "label": None} for i in range(5)]
    mixed = rows + copies + contradictions + unusable
    rng.shuffle(mixed)
    mixed = [dict(row, place=place) for place, row in enumerate(mixed)]
    return write_jsonl(tmp_path_factory.mktemp("messy") / "rows.jsonl", mixed), mixed


def test_repeats_and_unusable_rows_are_counted_exactly(messy, tmp_path):
    path, mixed = messy
    record, splits = load(path, tmp_path / "out")
    assert record.repairs == {
        "rows with an empty text removed": 10,
        "rows without a label removed": 5,
        "duplicate rows removed": 40,
        "contradicting rows removed": 25,
    }
    first = {}
    for row in mixed:
        if row["text"].strip() and row["label"]:
            first.setdefault(row["text"].strip(), row)
    kept = {row["text"]: row for rows in splits.values() for row in rows}
    assert kept == {text: dict(row, text=text) for text, row in first.items()}


def test_splits_are_disjoint_stratified_and_in_the_order_of_the_source(messy, tmp_path):
    path, _ = messy
    record, splits = load(path, tmp_path / "out", validation_share=0.15, test_share=0.25)
    texts = {split: {row["text"] for row in rows} for split, rows in splits.items()}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert record.rows == {"train": 360, "validation": 90, "test": 150}
    shares = {split: counts["positive"] / record.rows[split] for split, counts in record.label_counts.items()}
    assert max(shares.values()) - min(shares.values()) < 0.02
    for split, rows in splits.items():
        assert [row["place"] for row in rows] == sorted(row["place"] for row in rows)
        assert record.label_counts[split] == Counter(row["label"] for row in rows)


@pytest.mark.parametrize("block_bytes", [300, 5_000, 1 << 20])
@pytest.mark.parametrize("max_rows", [0, 200])
def test_the_result_does_not_depend_on_the_block(messy, tmp_path, block_bytes, max_rows):
    path, _ = messy
    expected = load(path, tmp_path / "a", max_rows=max_rows)
    assert load(path, tmp_path / "b", max_rows=max_rows, block_bytes=block_bytes) == expected


def test_the_result_does_not_depend_on_the_format(messy, tmp_path):
    path, mixed = messy
    pq.write_table(pa.Table.from_pylist(mixed), tmp_path / "rows.parquet", row_group_size=50)
    first, _ = load(path, tmp_path / "a")
    second, _ = load(tmp_path / "rows.parquet", tmp_path / "b")
    assert first.fingerprint == second.fingerprint


def test_the_seed_decides(messy, tmp_path):
    path, _ = messy
    one, _ = load(path, tmp_path / "a", seed=1)
    again, _ = load(path, tmp_path / "b", seed=1)
    other, _ = load(path, tmp_path / "c", seed=2)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.rows == other.rows


def test_a_row_stays_in_its_split_when_others_are_added(tmp_path):
    """The draw hashes the text, so rows do not change sides because of where they stand in the file."""
    rows = make_texts(400)
    _, before = load(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "a")
    _, after = load(write_jsonl(tmp_path / "b.jsonl", rows[::-1]), tmp_path / "b")
    assert [row["text"] for row in after["test"]] == [row["text"] for row in before["test"]][::-1]


def test_max_rows_is_exact_and_stratified(messy, tmp_path):
    path, _ = messy
    whole, _ = load(path, tmp_path / "a")
    record, _ = load(path, tmp_path / "b", max_rows=100)
    assert record.rows == {"train": 80, "validation": 10, "test": 10}
    share = sum(counts["positive"] for counts in whole.label_counts.values()) / sum(whole.rows.values())
    assert sum(counts["positive"] for counts in record.label_counts.values()) == pytest.approx(100 * share, abs=1)


@pytest.fixture
def ready(tmp_path):
    """Splits with 3 texts of train in test, 2 of train in validation, 1 of validation in test, 1 in all three."""
    rows = make_texts(200)
    train, validation, test = rows[:150], rows[150:170], rows[170:200]
    test = test + train[:3] + validation[:1] + train[10:11]
    validation = validation + train[5:7] + train[10:11]
    for name, split in (("train", train), ("dev", validation), ("test", test)):
        write_jsonl(tmp_path / "data" / f"{name}.jsonl", split)
    return tmp_path / "data", {"train": train, "validation": validation, "test": test}


def test_leaks_between_ready_splits_are_removed_from_train_first(ready, tmp_path):
    folder, given = ready
    record, splits = load(folder, tmp_path / "out")
    assert record.repairs == {
        "train rows removed that are also in test": 4,
        "train rows removed that are also in validation": 2,
        "validation rows removed that are also in test": 2,
    }
    assert splits["test"] == given["test"]
    tested = {row["text"] for row in given["test"]}
    held_out = tested | {row["text"] for row in given["validation"]}
    assert splits["validation"] == [row for row in given["validation"] if row["text"] not in tested]
    assert splits["train"] == [row for row in given["train"] if row["text"] not in held_out]


def test_ready_splits_are_kept_and_missing_ones_come_from_train(ready, tmp_path):
    folder, given = ready
    (folder / "dev.jsonl").unlink()
    record, splits = load(folder, tmp_path / "out", validation_share=0.2)
    assert splits["test"] == given["test"]
    assert record.rows["validation"] == pytest.approx(0.2 * 146, abs=1)
    assert record.rows["train"] + record.rows["validation"] == 146
    record, _ = load(folder, tmp_path / "out", max_rows=90)
    assert sum(record.rows.values()) == 90
    assert record.rows["test"] == pytest.approx(90 * 34 / 180, abs=1)


def test_labels_that_train_lacks_are_removed_and_counted(ready, tmp_path):
    folder, given = ready
    strange = [{"text": f"strange {i}", "label": "neutral"} for i in range(3)]
    write_jsonl(folder / "test.jsonl", given["test"][:10] + strange + given["test"][10:])
    record, splits = load(folder, tmp_path / "out")
    assert record.repairs["rows with labels unknown to train removed"] == 3
    assert record.label_names == ["negative", "positive"]
    assert splits["test"] == given["test"]
    plain, _ = load(write_folder_without(folder, given), tmp_path / "plain")
    assert plain.fingerprint == record.fingerprint


def write_folder_without(folder, given):
    write_jsonl(folder / "test.jsonl", given["test"])
    return folder


def test_a_share_of_zero_makes_no_split(messy, tmp_path):
    record, _ = load(messy[0], tmp_path / "out", validation_share=0, test_share=0.5)
    assert record.rows == {"train": 300, "test": 300}
    assert not (tmp_path / "out" / "validation").exists()


def test_many_row_groups_and_whole_numbers_as_labels(tmp_path):
    lines = "".join(f"{i % 11},text number {i}\n" for i in range(50_000))
    (tmp_path / "a.csv").write_text("class,text\n" + lines)
    record, splits = load(tmp_path / "a.csv", tmp_path / "out", columns={"label": "class"})
    assert record.label_names == [str(i) for i in range(11)]
    assert sum(record.rows.values()) == 50_000
    assert pq.ParquetFile(tmp_path / "out" / "train" / "part-00000.parquet").num_row_groups == 2
    assert set(splits["train"][0]) == {"text", "label"}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_token_classification(tmp_path, file_format):
    rows = make_tagged(300)
    rows += [{"tokens": [], "tags": []}, {"tokens": ["a", "b"], "tags": ["O"]}]
    if file_format == "jsonl":
        path = write_jsonl(tmp_path / "a.jsonl", rows)
    else:
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    record, splits = load(path, tmp_path / "out", task="token-classification")
    assert record.label_names == ["O", "B-LOC", "B-PER", "I-PER"]
    assert record.repairs["rows without words removed"] == 1
    assert record.repairs["rows with more or fewer tags than words removed"] == 1
    distinct = {" ".join(row["tokens"]) for row in rows[:300]}
    assert sum(record.rows.values()) == len(distinct)
    for split, kept in splits.items():
        assert record.label_counts[split] == Counter(tag for row in kept for tag in row["tags"])


def test_tags_that_train_lacks_remove_their_rows(tmp_path):
    rows = [{"tokens": ["x", str(i)], "tags": ["O", "B-LOC"]} for i in range(20)]
    write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    test = [{"tokens": ["y", str(i)], "tags": ["O", "B-ORG" if i == 2 else "B-LOC"]} for i in range(5)]
    write_jsonl(tmp_path / "data" / "test.jsonl", test)
    record, splits = load(tmp_path / "data", tmp_path / "out", task="token-classification")
    assert record.repairs == {"rows with labels unknown to train removed": 1}
    assert splits["test"] == [row for row in test if "B-ORG" not in row["tags"]]


def test_columns_that_come_and_go_and_change_type(tmp_path):
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(300)]
    for i, row in enumerate(rows):
        if i >= 100:
            row["late"] = i if i < 200 else f"n{i}"
        row["maybe"] = None if i < 150 else [i]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    results = [load(path, tmp_path / f"{size}", block_bytes=size) for size in (600, 3000, 1 << 20)]
    assert results[0] == results[1] == results[2]
    kept = {row["text"]: row for split in results[0][1].values() for row in split}
    assert kept["text 120"] == {"text": "text 120", "label": "a", "late": "120", "maybe": None}
    assert kept["text 250"]["late"] == "n250" and kept["text 250"]["maybe"] == [250]
    assert kept["text 5"]["late"] is None


def test_a_failed_load_leaves_nothing(messy, tmp_path):
    with pytest.raises(ArgumentError):
        load(messy[0], tmp_path / "out", labels=["negative", "neutral"])
    with pytest.raises(DataError):
        load(messy[0], tmp_path / "out", max_rows=3)
    assert not list(tmp_path.iterdir())


def test_an_unknown_label_is_answered_with_those_found(messy, tmp_path):
    with pytest.raises(ArgumentError, match="no row is labelled 'neutral'; labels found: 'negative', 'positive'"):
        load(messy[0], tmp_path / "out", labels=["negative", "neutral"])


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"text": "", "label": "a"}], {}, "no row of .* can be used .*1 rows with an empty text removed"),
        ([{"text": f"t{i}", "label": "a"} for i in range(50)], {}, "all training rows are labelled 'a'"),
        ([{"text": f"t{i}", "label": "ab"[i % 2]} for i in range(6)], {}, "the split '.*' is empty: .* give a larger"),
        ([{"text": [1], "label": "a"}], {}, "the column for 'text' holds list"),
        ([{"text": "x", "label": "a"}], {"task": "token-classification"}, "no column 'tokens' for 'tokens'"),
    ],
)
def test_data_that_cannot_be_used(tmp_path, rows, arguments, message):
    with pytest.raises((DataError, ArgumentError), match=message):
        load(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "juggling"}, "task='juggling'"),
        ({"max_rows": -1}, "max_rows=-1"),
        ({"validation_share": 1.0}, "validation_share=1.0"),
        ({"validation_share": 0.6, "test_share": 0.4}, "test_share=0.4"),
        ({"labels": ["x"]}, "at least two labels"),
        ({"labels": ["x", "y"], "task": "token-classification"}, "leave it empty"),
        ({"columns": {"tokens": "x"}}, "unknown role 'tokens'"),
        ({"extra": {"formt": "csv"}}, "unknown setting 'formt'"),
        ({"revision": "main"}, "sample:tweets is not on the Hub"),
        ({"source": ""}, "give sample:tweets"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        LoadDatasetConfig(**{"source": "sample:tweets", **arguments})
