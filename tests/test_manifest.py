import dataclasses
import json

import pytest

from hfpc import manifest
from hfpc.errors import DataError
from hfpc.manifest import Manifest, ModelRecord, PredictionsRecord

MODEL = ModelRecord(
    base_model="sample:minilm",
    revision="",
    max_length=64,
    parameters={"epochs": 1.0, "extra": {}},
    metrics={"validation/accuracy": 0.9},
    fingerprint="ab" * 32,
)


def test_what_is_written_is_read(tmp_path):
    written = Manifest(kind="model", task="text-classification", model=MODEL)
    written.write(tmp_path)
    assert manifest.read(tmp_path) == manifest.read(tmp_path, "model") == written
    assert written.versions["transformers"]


def test_text_of_any_language_stays_readable(tmp_path):
    record = PredictionsRecord(model="ab", split="été", rows=1, metrics={})
    Manifest(kind="predictions", task="text-classification", predictions=record).write(tmp_path)
    assert "été" in (tmp_path / "hfpc.json").read_text(encoding="utf-8")
    assert manifest.read(tmp_path).predictions == record


def test_another_kind_is_refused(tmp_path):
    Manifest(kind="model", task="text-classification", model=MODEL).write(tmp_path)
    with pytest.raises(DataError, match="holds a model, but a dataset is needed"):
        manifest.read(tmp_path, "dataset")


@pytest.mark.parametrize("place", ["", "missing", "file"])
def test_a_folder_without_a_manifest_is_unfinished(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"has no hfpc\.json"):
        manifest.read(tmp_path / place)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"kind": "model", "task": "t"}',
        b'{"kind": "model", "task": "t", "model": {}}',
        b'{"kind": "model", "task": "t", "model": []}',
        b'{"kind": "model", "task": "t", "model": {"base_model": "b"}}',
        b'{"kind": "nothing", "task": "t", "nothing": {"a": 1}}',
        b'{"kind": ["model"], "task": "t"}',
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "hfpc.json").write_bytes(content)
    with pytest.raises(DataError, match=r"hfpc\.json cannot be read .* make the artifact again"):
        manifest.read(tmp_path)


def test_an_unknown_field_is_an_error_and_not_lost_in_silence(tmp_path):
    content = dataclasses.asdict(Manifest(kind="model", task="text-classification", model=MODEL))
    (tmp_path / "hfpc.json").write_text(json.dumps({**content, "colour": "blue"}))
    with pytest.raises(DataError, match="colour"):
        manifest.read(tmp_path)


def test_a_manifest_of_a_newer_version_says_what_to_install(tmp_path):
    content = dataclasses.asdict(Manifest(kind="model", task="text-classification", model=MODEL))
    newer = {**content, "colour": "blue", "versions": {"hf-pipeline-components": "999.1"}}
    (tmp_path / "hfpc.json").write_text(json.dumps(newer))
    with pytest.raises(DataError, match=r"written by hf-pipeline-components 999\.1, newer .* install that version"):
        manifest.read(tmp_path)
