import csv
import json
import os
import signal
import subprocess
import sys
import time

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfpc import manifest
from hfpc.errors import ArgumentError, DataError
from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict, chunks
from hfpc.inference.predictor import Predictor
from tests.conftest import make_tagged, make_texts, save_model

EMPTY = (3, 17, 18)


def write_csv(file, rows: int, seed: int = 0):
    """A file with a number for each row, and a few rows whose text is empty."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "tweet"])
        for number, row in enumerate(make_texts(rows, seed)):
            writer.writerow([number, " " if number in EMPTY else row["text"]])
    return file


def config(file, **options) -> BatchPredictConfig:
    return BatchPredictConfig(source=str(file), columns={"text": "tweet"}, **options)


def read(folder) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("part-*.parquet"))])


def test_every_row_keeps_its_place_and_bad_ones_have_no_prediction(model, tmp_path):
    file = write_csv(tmp_path / "tweets.csv", 100)
    result = batch_predict(config(file), model, tmp_path / "out", chunk_rows=30)
    rows = read(tmp_path / "out").to_pylist()
    assert [row["id"] for row in rows] == [str(number) for number in range(100)]
    assert [number for number, row in enumerate(rows) if row["prediction"] is None] == list(EMPTY)
    assert all(row["score"] is None and row["probabilities"] is None for row in map(rows.__getitem__, EMPTY))
    texts = [row["text"] for row in rows if row["prediction"]]
    assert [row["prediction"] for row in rows if row["prediction"]] == [
        response[0]["label"] for response in Predictor(model).respond(texts)
    ]
    assert result.metrics["rows"] == 100 and result.metrics["rows_without_prediction"] == 3
    assert result.metrics["rows_per_second"] > 0
    content = manifest.read(tmp_path / "out", "predictions")
    assert content.predictions.rows == 100
    assert content.predictions.model == manifest.read(model).model.fingerprint


def test_chunk_size_changes_nothing_but_the_files(model, tmp_path):
    file = write_csv(tmp_path / "tweets.csv", 100)
    for rows in (7, 100, 1000):
        batch_predict(config(file), model, tmp_path / str(rows), chunk_rows=rows)
    small, exact, large = (read(tmp_path / name) for name in ("7", "100", "1000"))
    assert exact.equals(large)
    assert small.drop_columns(["score", "probabilities"]).equals(exact.drop_columns(["score", "probabilities"]))
    assert len(list((tmp_path / "7").glob("*.parquet"))) == 15


def test_max_rows_takes_the_first(model, tmp_path):
    file = write_csv(tmp_path / "tweets.csv", 100)
    result = batch_predict(config(file, max_rows=33), model, tmp_path / "out", chunk_rows=20)
    assert read(tmp_path / "out")["id"].to_pylist() == [str(number) for number in range(33)]
    assert result.metrics["rows"] == 33


def test_jsonl_of_mixed_types_loses_no_row(model, tmp_path):
    lines = [{"text": "i love it", "n": 1}, {"text": 5, "n": "two"}, {"text": None}, {"n": 4}, {"text": ["a"]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = batch_predict(BatchPredictConfig(source=str(file)), model, tmp_path / "out")
    rows = read(tmp_path / "out").to_pylist()
    assert [row["prediction"] is None for row in rows] == [False, False, True, True, False]
    assert result.metrics["rows"] == 5


def test_token_classification(tagging_model, tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [{"tokens": row["tokens"]} for row in make_tagged(20)]
    rows[4] = {"tokens": []}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch_predict(BatchPredictConfig(source=str(file)), tagging_model, tmp_path / "out", chunk_rows=8)
    found = read(tmp_path / "out").to_pylist()
    assert found[4]["prediction"] is None
    assert all(len(row["prediction"]) == len(row["tokens"]) for row in found if row["prediction"] is not None)
    assert sum(row["prediction"] is not None for row in found) == 19


def test_a_column_named_like_an_output_is_kept_beside_it(model, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("text,score\nlove,7\n")
    batch_predict(BatchPredictConfig(source=str(file)), model, tmp_path / "out")
    row = read(tmp_path / "out").to_pylist()[0]
    assert row["source_score"] == "7" and 0.5 <= row["score"] <= 1


def test_the_same_run_again_predicts_nothing_again(model, tmp_path):
    file = write_csv(tmp_path / "tweets.csv", 100)
    options = {"output_uri": "memory://batch-predict/again"}
    first = batch_predict(config(file, **options), model, tmp_path / "first", chunk_rows=30)
    second = batch_predict(config(file, **options), model, tmp_path / "second", chunk_rows=30)
    assert (first.metrics["rows_found_done"], second.metrics["rows_found_done"]) == (0, 100)
    assert second.metrics["rows_without_prediction"] == 3
    assert read(tmp_path / "second").equals(read(tmp_path / "first"))
    store = fsspec.filesystem("memory")
    names = [path.rpartition("/")[2] for path in store.ls("/batch-predict/again", detail=False)]
    assert sorted(names) == ["hfpc.json", *(f"part-0000{number}.parquet" for number in range(4))]


def test_what_another_model_or_other_rows_gave_is_predicted_again(model, base_model, dataset, tmp_path):
    file, uri = write_csv(tmp_path / "tweets.csv", 90), str(tmp_path / "uri")

    def done(using) -> float:
        result = batch_predict(config(file, output_uri=uri), using, tmp_path / "out", chunk_rows=30)
        return result.metrics["rows_found_done"]

    assert done(model) == 0
    other = save_model(tmp_path / "other", base_model, dataset, seed=7)
    assert done(other) == 0
    lines = file.read_text().splitlines()
    lines[45] = "44,something else"
    file.write_text("\n".join(lines) + "\n")
    assert done(other) == 60  # Only the chunk that the line is in.
    assert read(tmp_path / "uri").equals(read(tmp_path / "out"))


def test_parts_of_a_longer_source_are_removed_and_other_files_stay(model, tmp_path):
    file, uri = write_csv(tmp_path / "tweets.csv", 90), tmp_path / "uri"
    batch_predict(config(file, output_uri=str(uri)), model, tmp_path / "out", chunk_rows=30)
    (uri / "notes.txt").write_text("mine")
    batch_predict(config(file, output_uri=str(uri), max_rows=30), model, tmp_path / "out", chunk_rows=30)
    assert sorted(path.name for path in uri.iterdir()) == ["hfpc.json", "notes.txt", "part-00000.parquet"]


def test_a_part_that_was_cut_short_is_made_again(model, tmp_path):
    file, uri = write_csv(tmp_path / "tweets.csv", 60), tmp_path / "uri"
    batch_predict(config(file, output_uri=str(uri)), model, tmp_path / "out", chunk_rows=30)
    part = uri / "part-00001.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    result = batch_predict(config(file, output_uri=str(uri)), model, tmp_path / "out", chunk_rows=30)
    assert result.metrics["rows_found_done"] == 30
    assert part.read_bytes() == whole


def contents(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_that_holds_something_else_is_left_as_it_is(model, dataset, tmp_path):
    """A model, a split of a data set, what evaluate wrote, and somebody's notes."""
    evaluated, notes = tmp_path / "evaluated", tmp_path / "notes"
    evaluate(EvaluateConfig(bootstrap_samples=100), model, dataset, evaluated, tmp_path / "report.html")
    notes.mkdir()
    (notes / "notes.txt").write_text("mine")
    file, before = write_csv(tmp_path / "tweets.csv", 5), {}
    held = {
        model: "a model",
        dataset / "train": "Parquet files that batch_predict did not write",
        evaluated: "the predictions of evaluate",
        notes: "'notes.txt'",
    }
    for folder, what in held.items():
        before[folder] = contents(folder)
        assert before[folder]
        with pytest.raises(ArgumentError, match=f"output_uri=.*it holds {what}: give an empty folder"):
            batch_predict(config(file, output_uri=str(folder)), model, tmp_path / "out")
    assert {folder: contents(folder) for folder in held} == before
    assert not (tmp_path / "out").exists()


def test_the_rate_covers_reading_and_writing_too(model, tmp_path):
    """Short texts beside long notes: predicting is the least of the work."""
    file, rows = tmp_path / "rows.csv", make_texts(40)
    notes = [os.urandom(500_000).hex() for _ in rows]
    file.write_text(
        "".join(["text,note\n", *(f"{row['text']},{note}\n" for row, note in zip(rows, notes, strict=True))])
    )
    started = time.perf_counter()
    result = batch_predict(BatchPredictConfig(source=str(file)), model, tmp_path / "out")
    taken = time.perf_counter() - started
    predictor = Predictor(model)
    started = time.perf_counter()
    predictor.predict({"text": [row["text"] for row in rows]})
    predicting = time.perf_counter() - started
    assert 3 * predicting < 40 / result.metrics["rows_per_second"] < taken


KILLED = """
import sys
from pathlib import Path
from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict
source, model, out, uri = sys.argv[1:]
batch_predict(
    BatchPredictConfig(source=source, columns={"text": "tweet"}, output_uri=uri), Path(model), Path(out), chunk_rows=10
)
"""


def test_killed_midway_it_goes_on_where_it_was(model, tmp_path):
    file, uri, out = write_csv(tmp_path / "tweets.csv", 1500), tmp_path / "uri", tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(file), str(model), str(out), str(uri)])
    deadline = time.monotonic() + 120
    while len(list(uri.glob("part-*"))) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists() and not (uri / "hfpc.json").exists()
    left = len(list(uri.glob("part-*")))
    assert 4 <= left < 150
    result = batch_predict(config(file, output_uri=str(uri)), model, out, chunk_rows=10)
    assert 10 * (left - 1) <= result.metrics["rows_found_done"] <= 10 * left  # The last may be cut short.
    batch_predict(config(file), model, tmp_path / "whole", chunk_rows=10)
    assert read(out).equals(read(tmp_path / "whole"))
    assert read(uri).equals(read(tmp_path / "whole"))


def test_mistakes_are_told_before_the_model_is_loaded(model, tmp_path):
    file = write_csv(tmp_path / "tweets.csv", 5)
    (tmp_path / "no_weights").mkdir()
    (tmp_path / "no_weights" / "hfpc.json").write_text((model / "hfpc.json").read_text())
    with pytest.raises(ArgumentError, match=r"has no column 'text'"):
        batch_predict(BatchPredictConfig(source=str(file)), tmp_path / "no_weights", tmp_path / "out")
    with pytest.raises(ArgumentError, match="output_uri='nowhere://x'"):
        batch_predict(config(file, output_uri="nowhere://x"), tmp_path / "no_weights", tmp_path / "out")
    with pytest.raises(ArgumentError, match="unknown setting 'colour'"):
        batch_predict(config(file, extra={"colour": "red"}), tmp_path / "no_weights", tmp_path / "out")
    with pytest.raises(ArgumentError, match="max_rows=-1"):
        config(file, max_rows=-1)
    assert not (tmp_path / "out").exists()


def test_a_source_without_rows_is_an_error_and_leaves_nothing(model, tmp_path):
    file = tmp_path / "empty.csv"
    file.write_text("text\n")
    with pytest.raises(DataError, match="has no rows"):
        batch_predict(BatchPredictConfig(source=str(file)), model, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.csv"]


def test_chunks_hold_no_more_than_they_must():
    taken = []

    def tables():
        for number in range(100):
            taken.append(number)
            yield pa.table({"n": [number] * 10})

    for count, chunk in enumerate(chunks(tables(), 25), start=1):
        assert chunk.num_rows == 25
        assert len(taken) <= -(-count * 25 // 10)
    assert count == 40


def test_chunks_end_where_the_columns_change_and_at_the_limit():
    numbers, words = pa.table({"n": [1, 2, 3]}), pa.table({"n": ["a", "b"]})
    found = [chunk["n"].to_pylist() for chunk in chunks(iter([numbers, words, words, numbers]), 2)]
    assert found == [[1, 2], [3], ["a", "b"], ["a", "b"], [1, 2], [3]]
    assert [chunk.num_rows for chunk in chunks(iter([numbers, numbers]), 2, max_rows=4)] == [2, 2]
