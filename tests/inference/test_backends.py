"""Exported models behind the same Predictor: same answers, without torch and Transformers."""

import dataclasses
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hfpc import golden, manifest
from hfpc.errors import ModelError
from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict
from hfpc.inference.predictor import Predictor
from hfpc.manifest import OptimizationRecord
from hfpc.optimization import onnx, openvino
from tests.conftest import make_tagged, make_texts

pytestmark = pytest.mark.slow  # it exports four models

FILES = {"onnxruntime": "onnx/model.onnx", "openvino": "openvino/openvino_model.xml"}
TEXTS = {"text": [row["text"] for row in make_texts(60)]}


def export(folder, model, dataset, backend):
    """A copy of a model folder with an exported file, which its `hfpc.json` names."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    if backend == "onnxruntime":
        onnx.export(model, dataset, folder / FILES[backend], trust_remote_code=False)
    else:
        openvino.export(model, folder / FILES[backend], trust_remote_code=False)
    name(folder, backend, FILES[backend])
    return folder


def name(folder, backend, file, precision="fp32"):
    record = OptimizationRecord(
        kept=f"{backend}-{precision}", backend=backend, precision=precision, file=file, candidates=[], machine={}
    )
    dataclasses.replace(manifest.read(folder), optimization=record).write(folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, model, dataset):
    folders = {backend: tmp_path_factory.mktemp(backend) for backend in FILES}
    return {backend: export(folder, model, dataset, backend) for backend, folder in folders.items()}


@pytest.fixture(scope="module")
def tagging(tmp_path_factory, tagging_model, tagged_dataset):
    folders = {backend: tmp_path_factory.mktemp(backend) for backend in FILES}
    return {backend: export(folder, tagging_model, tagged_dataset, backend) for backend, folder in folders.items()}


def equal(one, other) -> bool:
    return all(np.allclose(a, b, atol=1e-4, equal_nan=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("backend", FILES)
def test_logits_are_those_of_pytorch(exported, model, backend):
    expected = Predictor(model).predict(TEXTS)
    for tokens in (1, 40, 100_000):  # one row a batch, some, and all with their padding
        assert equal(Predictor(exported[backend], tokens_per_batch=tokens).predict(TEXTS), expected)


@pytest.mark.parametrize("backend", FILES)
def test_a_row_longer_than_any_it_was_exported_with_is_cut_alike(exported, model, backend):
    rows = {"text": ["love " * 500, "x"]}
    assert equal(Predictor(exported[backend]).predict(rows), Predictor(model).predict(rows))


@pytest.mark.parametrize("backend", FILES)
def test_the_second_task_too(tagging, tagging_model, backend):
    rows = {"tokens": [row["tokens"] for row in make_tagged(60)] + [["love"] * 100, ["Ada", "x" * 90]]}
    assert equal(Predictor(tagging[backend]).predict(rows), Predictor(tagging_model).predict(rows))


@pytest.mark.parametrize("backend", FILES)
def test_golden_requests_are_answered_as_before(exported, tagging, backend):
    for folder in (exported[backend], tagging[backend]):
        predictor, requests = Predictor(folder), golden.read(folder)
        responses = predictor.respond([request["inputs"] for request in requests])
        assert golden.differences(predictor.task, requests, responses) == []


@pytest.mark.parametrize("backend", FILES)
def test_threads_may_call_it_at_once(exported, backend, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    predictor = Predictor(exported[backend])
    encoded = predictor.encode(TEXTS)
    expected = [predictor.forward([row]) for row in encoded]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert equal(pool.map(lambda row: predictor.forward([row]), encoded), expected)


def test_weights_in_bf16_answer_much_alike(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    name(folder, "pytorch", "", "bf16")
    predictor = Predictor(folder)
    assert str(predictor.backend.model.dtype) == "torch.bfloat16"
    found, expected = np.array(predictor.predict(TEXTS)), np.array(Predictor(model).predict(TEXTS))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.05
    assert (found != expected).any()


_WITHOUT_TORCH = """
import json, sys
from pathlib import Path
from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict
from hfpc.inference.predictor import Predictor

answers = Predictor(Path(sys.argv[1])).respond(["i love this day"])
batch_predict(BatchPredictConfig(source=sys.argv[2]), Path(sys.argv[1]), Path(sys.argv[3]))
print(json.dumps([answers, sorted(name for name in sys.modules if "." not in name)]))
"""


@pytest.mark.parametrize("backend", FILES)
def test_neither_torch_nor_transformers_is_imported(exported, model, backend, tmp_path):
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS["text"]))
    arguments = [exported[backend], source, tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    answers, modules = json.loads(done.stdout)
    assert answers[0][0]["label"] == Predictor(model).respond(["i love this day"])[0][0]["label"]
    assert backend in modules
    assert not {"torch", "transformers", "datasets"}.intersection(modules)


@pytest.mark.parametrize("backend", FILES)
def test_batch_predict_gives_the_labels_of_pytorch(exported, model, backend, tmp_path):
    import pyarrow.parquet as pq

    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS["text"]))
    predictions = []
    for number, folder in enumerate((exported[backend], model)):
        batch_predict(BatchPredictConfig(source=str(source)), folder, tmp_path / str(number))
        predictions.append(pq.read_table(tmp_path / str(number) / "part-00000.parquet")["prediction"].to_pylist())
    assert predictions[0] == predictions[1]
    assert len(predictions[0]) == 60


@pytest.mark.parametrize("backend", FILES)
@pytest.mark.parametrize("file", ["none.onnx", "../outside.onnx", "/etc/passwd", ""])
def test_a_file_that_is_not_in_the_folder_is_refused(exported, backend, file, tmp_path):
    """Whoever made the folder wrote its hfpc.json as well."""
    folder = shutil.copytree(exported[backend], tmp_path / "model")
    shutil.copy(folder / FILES[backend], tmp_path / "outside.onnx")
    name(folder, backend, file)
    with pytest.raises(ModelError, match="optimize it again"):
        Predictor(folder)


@pytest.mark.parametrize("backend", FILES)
def test_a_damaged_file_is_an_error(exported, backend, tmp_path):
    folder = shutil.copytree(exported[backend], tmp_path / "model")
    (folder / FILES[backend]).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="does not load"):
        Predictor(folder)


def test_an_unknown_backend_is_an_error(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    name(folder, "abacus", "")
    with pytest.raises(ModelError, match="'abacus', which is not known here"):
        Predictor(folder)
