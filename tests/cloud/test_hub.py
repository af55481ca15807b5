"""Data sets and models from a Hub, with the official clients, at a revision."""

import io

import pytest

CSV = b"text,label\n" + b"".join(b"text %d,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40))
LOAD = """
import dataclasses
from pathlib import Path
from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
from hfpc.errors import HfpcError
result = []
for arguments in {arguments!r}:
    try:
        record = load_dataset(LoadDatasetConfig(**arguments), Path({out!r}))
        result.append(dataclasses.asdict(record))
    except HfpcError as error:
        result.append(type(error).__name__ + ": " + str(error))
"""
FIND = """
from hfpc.base_model import find
found = find({name!r}, {revision!r}, weights={weights})
result = {{"revision": found.revision, "files": sorted(file.name for file in found.folder.iterdir())}}
"""


@pytest.fixture
def load(run, hub, tmp_path):
    """Loads several times in one process; a record or an error each."""

    def load_all(*arguments, endpoint=hub.endpoint):
        return run(LOAD.format(arguments=arguments, out=str(tmp_path / "out")), HF_ENDPOINT=endpoint)

    return load_all


@pytest.fixture
def find(run, hub):
    def find_at(name, revision="", weights=True):
        return run(FIND.format(name=name, revision=revision, weights=weights), HF_ENDPOINT=hub.endpoint)

    return find_at


def parquet_of_classes():
    """A Parquet file whose labels are class ids, named in the metadata that `datasets` writes."""
    import datasets

    features = datasets.Features(
        {
            "words": datasets.Sequence(datasets.Value("string")),
            "ner": datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER"])),
            "topic": datasets.ClassLabel(names=["sport", "art"]),
            "text": datasets.Value("string"),
        }
    )
    rows = [{"words": ["ada", str(i)], "ner": [1, 0], "topic": i % 2, "text": f"text {i}"} for i in range(60)]
    buffer = io.BytesIO()
    datasets.Dataset.from_list(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


def test_a_data_set_at_a_tag_is_pinned_to_its_commit(hub, load):
    repository = hub.repository("datasets", "ann/tweets", licence="cc-by-4.0")
    first = repository.commit({"train.csv": CSV, "test.csv": CSV.replace(b"text ", b"test ")}, "v1")
    second = repository.commit({"train.csv": CSV.replace(b"text ", b"newer ")})
    record, newest, by_sha = load(
        {"source": "ann/tweets", "revision": "v1"},
        {"source": "ann/tweets"},
        {"source": "ann/tweets", "revision": first},
    )
    assert record["revision"] == first
    assert record["licence"] == "cc-by-4.0"
    assert record["rows"] == {"train": 36, "validation": 4, "test": 40}
    assert newest["revision"] == second
    assert newest["rows"] == {"train": 32, "validation": 4, "test": 4}
    assert by_sha == record
    assert hub.unknown_requests == []


def test_class_ids_become_names(hub, load):
    hub.repository("datasets", "ann/classes").commit({"data/train-00000-of-00001.parquet": parquet_of_classes()})
    roles = {"tokens": "words", "tags": "ner"}
    record, tags = load(
        {"source": "ann/classes", "columns": {"label": "topic"}},
        {"source": "ann/classes", "task": "token-classification", "columns": roles},
    )
    assert record["label_names"] == ["art", "sport"] and record["licence"] == "unknown"
    assert tags["label_names"] == ["O", "B-PER"]
    assert tags["label_counts"]["train"] == {"O": 48, "B-PER": 48}


def test_what_the_hub_does_not_have_is_named(hub, load):
    hub.repository("datasets", "ann/known").commit({"train.csv": CSV})
    cases = [
        ({"source": "ann/nothing"}, "source='ann/nothing': there is no such file, and the Hub has no such data set"),
        ({"source": "ann/known", "revision": "v9"}, "revision='v9': the data set ann/known has no such revision"),
        ({"source": "ann/known", "extra": {"config": "large"}}, "'config': 'large'"),
        ({"source": "ann/known", "columns": {"text": "tweet"}}, "no column 'tweet' for 'text'; it has 'text', 'label'"),
    ]
    answers = load(*(arguments for arguments, _ in cases))
    for answer, (_, message) in zip(answers, cases, strict=True):
        assert answer.startswith("ArgumentError: ") and message in answer


def test_a_hub_that_cannot_be_reached_is_named(load):
    (answer,) = load({"source": "ann/tweets"}, endpoint="http://127.0.0.1:9")
    assert answer.startswith("ArgumentError: ") and "the Hub cannot be reached" in answer


def test_a_model_at_a_revision(hub, find, base_model):
    files = {file.name: file.read_bytes() for file in base_model.iterdir()}
    repository = hub.repository("models", "ann/bert")
    sha = repository.commit({**files, "pytorch_model.bin": b"pickle", "code.py": b"raise SystemExit"}, "v1")
    repository.commit({"pytorch_model.bin": b"pickle", "config.json": b"{}"})
    found = find("ann/bert", "v1")
    assert found == {"revision": sha, "files": sorted(files)}
    refused = find("ann/bert")
    assert refused["error"] == "ModelError" and "safetensors" in refused["message"]


def test_a_tokenizer_alone_needs_no_weights(hub, find, base_model):
    files = {file.name: file.read_bytes() for file in base_model.iterdir()}
    hub.repository("models", "ann/small").commit(files)
    assert "model.safetensors" not in find("ann/small", weights=False)["files"]


@pytest.mark.parametrize(
    ("name", "revision", "message"), [("ann/none", "", "base_model='ann/none'"), ("ann/there", "v7", "v7")]
)
def test_a_missing_model_or_revision_is_named(hub, find, name, revision, message):
    hub.repository("models", "ann/there").commit({"config.json": b"{}"})
    answer = find(name, revision)
    assert answer["error"] == "ArgumentError" and message in answer["message"]
