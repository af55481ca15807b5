import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from hfpc import golden, manifest
from hfpc.errors import ArgumentError, DataError, ModelError
from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict
from hfpc.inference.predictor import Predictor
from hfpc.optimization.candidates import CANDIDATES, REFERENCE
from hfpc.optimization.machine import computes_bf16
from hfpc.optimization.optimize import OptimizeConfig, optimize
from hfpc.optimization.process import FailedError, Process
from tests.conftest import LABELS, make_texts, save_dataset
from tests.evaluation.models import save_trained

_TELL_CONNECTIONS = """
import os, sys

def tell(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(event, arguments, file=file)

sys.addaudithook(tell)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model, dataset):
    folder = save_trained(tmp_path_factory.mktemp("trained") / "model", base_model, dataset)
    (folder / "README.md").write_text("# A tiny model\n")
    inputs = ["i love this day", "my phone is terrible"]
    golden.write(folder, inputs, Predictor(folder).respond(inputs))
    return folder


@pytest.fixture(scope="module")
def connections(tmp_path_factory):
    """An environment whose Python processes tell every connection that they try; and where they tell it."""
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(_TELL_CONNECTIONS)
    told = folder / "connections.txt"
    told.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("CONNECTIONS", str(told))
        patch.delenv("CI", raising=False)  # it would keep the libraries from sending anything
        yield told


@pytest.fixture(scope="module")
def optimized(tmp_path_factory, trained, dataset, connections):
    folder = tmp_path_factory.mktemp("optimized")
    config = OptimizeConfig(calibration_rows=20, min_agreement=0.9, max_metric_loss=0.1)
    return optimize(config, trained, dataset, folder / "out", folder / "report" / "index.html"), folder


def labels(folder, texts):
    return [response[0]["label"] for response in Predictor(folder).respond(texts)]


@pytest.mark.slow
def test_every_candidate_is_a_row(optimized):
    found, _ = optimized
    assert [row.name for row in found.candidates] == list(CANDIDATES)
    reasons = {row.name: row.reason for row in found.candidates if row.figures is None}
    assert reasons == ({} if computes_bf16() else {"pytorch-bf16": "this processor does not compute in bfloat16"})
    for row in found.candidates:
        if row.figures:
            assert 0 < row.figures.latency_ms_p50 <= row.figures.latency_ms_p95
            assert min(row.figures.rows_per_second, row.figures.processor_ms, row.figures.speedup) > 0
            assert row.figures.memory_mb > 50
            assert 0.5 < row.figures.metric <= 1
            assert row.figures.agreement == 1 - row.figures.changed / 50
            assert row.reason


@pytest.mark.slow
def test_full_precision_gives_the_same_labels_and_int8_files_are_smaller(optimized):
    figures = {row.name: row.figures for row in optimized[0].candidates}
    for name in (REFERENCE, "onnxruntime-fp32", "openvino-fp32"):
        assert (figures[name].agreement, figures[name].metric_loss, figures[name].golden) == (1, 0, 0)
    assert figures[REFERENCE].speedup == 1
    assert figures["onnxruntime-int8-dynamic"].size_mb < figures["onnxruntime-fp32"].size_mb
    assert figures["openvino-int8"].agreement > 0.8


@pytest.mark.slow
def test_what_is_kept_is_the_fastest_that_fits(optimized):
    found, _ = optimized
    fitting = {row.name: row.figures for row in found.candidates if row.fits}
    fastest = max(figures.speedup for figures in fitting.values())
    as_fast = {name: figures.latency_ms_p50 for name, figures in fitting.items() if figures.speedup >= 0.95 * fastest}
    assert found.kept == min(as_fast, key=as_fast.get)
    assert found.kept != REFERENCE, "a tiny model is many times faster without PyTorch"
    assert found.metrics["speedup"] == fitting[found.kept].speedup > 1
    assert found.metrics["candidates_measured"] == sum(row.figures is not None for row in found.candidates)


@pytest.mark.slow
def test_the_folder_is_a_whole_model_in_the_form_that_was_kept(optimized, trained):
    from transformers import AutoModelForSequenceClassification

    found, folder = optimized
    content, before = manifest.read(folder / "out", "model"), manifest.read(trained, "model")
    candidate = CANDIDATES[found.kept]
    record = content.optimization
    assert (record.kept, record.backend, record.file) == (found.kept, candidate.backend, candidate.file)
    assert [row["name"] for row in record.candidates] == list(CANDIDATES)
    assert {row["name"]: row["reason"] for row in record.candidates}[found.kept] == found.reason
    assert record.machine["cores"] == found.machine.cores
    assert content.model.fingerprint != before.model.fingerprint
    assert (folder / "out" / candidate.file).is_file()
    for item in trained.iterdir():
        if item.name not in ("hfpc.json", "README.md"):
            assert (folder / "out" / item.name).read_bytes() == item.read_bytes()
    assert type(Predictor(folder / "out").backend).__module__.endswith(candidate.backend)
    card = (folder / "out" / "README.md").read_text()
    assert "## Optimization" in card and f"`{found.kept}`" in card
    assert AutoModelForSequenceClassification.from_pretrained(folder / "out").config.num_labels == 2


@pytest.mark.slow
def test_it_answers_golden_requests_and_rows_as_before(optimized, trained):
    _, folder = optimized
    predictor, requests = Predictor(folder / "out"), golden.read(folder / "out")
    responses = predictor.respond([request["inputs"] for request in requests])
    assert golden.differences(predictor.task, requests, responses) == []
    texts = [row["text"] for row in make_texts(200, seed=9)]
    same = np.array(labels(folder / "out", texts)) == np.array(labels(trained, texts))
    assert same.mean() > 0.9


@pytest.mark.slow
def test_other_stages_take_it(optimized, dataset, tmp_path):
    _, folder = optimized
    evaluation = evaluate(EvaluateConfig(), folder / "out", dataset, tmp_path / "evaluated", tmp_path / "page.html")
    assert evaluation.metrics["accuracy"] > 0.8
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in make_texts(40)))
    batch_predict(BatchPredictConfig(source=str(source)), folder / "out", tmp_path / "predicted")
    written = pq.read_table(tmp_path / "predicted" / "part-00000.parquet")
    assert written["prediction"].to_pylist() == labels(folder / "out", [row["text"] for row in make_texts(40)])
    for made in ("evaluated", "predicted"):
        record = manifest.read(tmp_path / made, "predictions").predictions
        assert record.model == manifest.read(folder / "out").model.fingerprint


@pytest.mark.slow
def test_the_report_shows_every_candidate(optimized):
    found, folder = optimized
    page = (folder / "report" / "index.html").read_text()
    assert all(name in page for name in CANDIDATES)
    assert f"{found.metrics['speedup']:.2f} times" in page


@pytest.mark.slow
def test_nothing_is_sent_over_the_network(optimized, connections):
    assert connections.read_text() == ""
    with socket.socket() as server:  # it would have been told
        server.bind(("127.0.0.1", 0))
        server.listen()
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert "socket.connect" in connections.read_text()
    connections.write_text("")


@pytest.mark.slow
def test_an_optimized_model_is_optimized_anew_from_its_weights(optimized, trained, dataset, tmp_path):
    """Back to plain PyTorch: what was exported is gone, and it is the model that it was."""
    _, folder = optimized
    config = OptimizeConfig(candidates=[REFERENCE])
    assert optimize(config, folder / "out", dataset, tmp_path / "out", tmp_path / "report.html").kept == REFERENCE
    assert {item.name for item in (tmp_path / "out").iterdir()} == {item.name for item in trained.iterdir()}
    content = manifest.read(tmp_path / "out", "model")
    assert (content.optimization.backend, content.optimization.file) == ("pytorch", "")
    assert content.model.fingerprint == manifest.read(trained).model.fingerprint


@pytest.mark.slow
def test_the_second_task(tagging_model, tagged_dataset, tmp_path):
    config = OptimizeConfig(candidates=["onnxruntime-fp32"], max_rows=30)
    found = optimize(config, tagging_model, tagged_dataset, tmp_path / "out", tmp_path / "report.html")
    assert [row.name for row in found.candidates] == [REFERENCE, "onnxruntime-fp32"]
    figures = found.candidates[1].figures
    assert (found.main_metric, found.rows) == ("entity_f1", 30)
    assert (figures.agreement, figures.changed, figures.metric_loss) == (1, 0, 0)


def test_switched_off_the_model_is_passed_on_as_it_is_without_loading_anything(model, dataset, tmp_path):
    code = f"""
import sys
from pathlib import Path
from hfpc.optimization.optimize import OptimizeConfig, optimize

places = [Path(place) for place in {[str(model), str(dataset), str(tmp_path / "out"), str(tmp_path / "page.html")]}]
found = optimize(OptimizeConfig(enabled=False), *places)
assert (found.enabled, found.kept, found.metrics) == (False, "", {{}})
print(sorted({{"torch", "transformers", "onnxruntime", "openvino"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {item.name: item.read_bytes() for item in (tmp_path / "out").iterdir()} == {
        item.name: item.read_bytes() for item in model.iterdir()
    }
    assert "switched off" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_where_nothing_can_be_made_plain_pytorch_is_kept_and_every_row_says_why(model, tmp_path, monkeypatch):
    """No training rows to calibrate or export with, and no OpenVINO."""
    rows = make_texts(40)
    dataset = save_dataset(tmp_path / "dataset", {"validation": rows}, "text-classification", LABELS)
    broken = tmp_path / "packages" / "optimum"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no module named optimum')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent), prepend=os.pathsep)
    found = optimize(OptimizeConfig(), model, dataset, tmp_path / "out", tmp_path / "report.html")
    assert found.kept == REFERENCE
    reasons = {row.name: row.reason for row in found.candidates if row.name not in (REFERENCE, "pytorch-bf16")}
    assert all(row.figures is None for row in found.candidates if row.name in reasons)
    assert "no module named optimum" in reasons["openvino-fp32"] == reasons["openvino-int8"]
    assert "train" in reasons["onnxruntime-fp32"] == reasons["onnxruntime-int8-static"]
    content = manifest.read(tmp_path / "out", "model")
    assert content.model.fingerprint == manifest.read(model).model.fingerprint
    assert content.optimization.kept == REFERENCE


def test_a_process_that_crashes_is_told():
    with Process() as process:
        os.kill(process._worker.pid, 11)
        with pytest.raises(FailedError, match="its process was ended by SIGSEGV"):
            process.call("time")
    with Process() as process:
        os.kill(process._worker.pid, 9)
        with pytest.raises(FailedError, match=r"SIGKILL \(out of memory\?\)"):
            process.call("time")


def test_an_error_in_a_process_is_told_and_the_next_call_works(model, dataset, tmp_path):
    arguments = {"dataset": str(dataset), "max_rows": 20, "seed": 0, "trust_remote_code": False}
    with Process() as process:
        with pytest.raises(FailedError, match=r"^.* has no hfpc\.json"):
            process.call("load", folder=str(tmp_path), **arguments)
        with pytest.raises(FailedError, match=r"^AttributeError"):
            process.call("time")
        found = process.call("load", folder=str(model), **arguments)
    assert len(found["labels"]) == 20
    assert set(found["labels"]) <= set(LABELS)


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"candidates": ["onnxruntime-int4"]}, "candidates"),
        ({"candidates": "openvino-int8"}, "candidates"),
        ({"max_metric_loss": -0.1}, "max_metric_loss"),
        ({"max_metric_loss": float("nan")}, "max_metric_loss"),
        ({"min_agreement": 1.1}, "min_agreement"),
        ({"min_agreement": 99}, "min_agreement"),
        ({"calibration_rows": 0}, "calibration_rows"),
        ({"max_rows": 0}, "max_rows"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, argument):
    with pytest.raises(ArgumentError) as caught:
        OptimizeConfig(**settings)
    assert caught.value.argument == argument


def test_what_does_not_fit_is_refused_before_anything_slow(model, dataset, tagged_dataset, tmp_path):
    places = (tmp_path / "out", tmp_path / "report.html")
    with pytest.raises(DataError, match="holds a dataset, but a model is needed"):
        optimize(OptimizeConfig(), dataset, dataset, *places)
    with pytest.raises(DataError, match="the model is for text-classification"):
        optimize(OptimizeConfig(), model, tagged_dataset, *places)
    train = save_dataset(tmp_path / "train", {"train": make_texts(20)}, "text-classification", LABELS)
    with pytest.raises(ArgumentError, match="validation"):
        optimize(OptimizeConfig(), model, train, *places)
    silent = shutil.copytree(model, tmp_path / "silent")
    (silent / golden.FILE_NAME).unlink()
    with pytest.raises(DataError, match=r"no golden\.json"):
        optimize(OptimizeConfig(), silent, dataset, *places)
    assert not any(place.exists() for place in places)


def test_a_model_that_does_not_load_is_an_error_and_leaves_nothing(model, dataset, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"cannot be measured: .*does not load"):
        optimize(OptimizeConfig(), broken, dataset, tmp_path / "out", tmp_path / "report.html")
    assert not (tmp_path / "out").exists() and not (tmp_path / "report.html").exists()
