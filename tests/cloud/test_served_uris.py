"""Servers that download their model themselves: from S3, Google Cloud Storage and a Hub, with the official clients."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from hfpc import golden, manifest, registry
from hfpc.manifest import OptimizationRecord
from tests.cloud.gate import Gate

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
GCSFS = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
ONNX = "onnx/model.onnx"


@pytest.fixture(scope="module")
def optimized(model, tmp_path_factory) -> Path:
    """The tiny model as `optimize` lays it out: an ONNX file in a folder of its own."""
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("optimized") / "tweets"
    shutil.copytree(model, folder)
    (folder / ONNX).parent.mkdir()
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    ids = torch.ones((2, 8), dtype=torch.int64)
    batch, sequence = torch.export.Dim("batch", min=1, max=512), torch.export.Dim("sequence", min=2, max=64)
    inputs = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
    torch.onnx.export(
        network,
        (),
        folder / ONNX,
        kwargs=inputs,
        output_names=["logits"],
        dynamo=True,
        dynamic_shapes={name: {0: batch, 1: sequence} for name in inputs},
        external_data=False,
    )
    kept = OptimizationRecord(
        kept="onnxruntime-fp32", backend="onnxruntime", precision="fp32", file=ONNX, candidates=[], machine={}
    )
    dataclasses.replace(manifest.read(folder), optimization=kept).write(folder)
    return folder


def files_of(folder):
    """Path in a folder to content."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def on_s3(s3, optimized):
    """S3 with the model at `s3://models/tweets`."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket="models")
    for name, content in files_of(optimized).items():
        client.put_object(Bucket="models", Key=f"tweets/{name}", Body=content)
    return s3


@pytest.fixture(scope="module")
def on_gcs(gcs, optimized):
    """Google Cloud Storage with the model at `gs://models/tweets`."""
    post(f"{gcs}/storage/v1/b?project=test", b'{"name": "models"}', "application/json")
    for name, content in files_of(optimized).items():
        place = f"{gcs}/upload/storage/v1/b/models/o?uploadType=media&name=tweets/{name}"
        post(place, content, "application/octet-stream")
    return gcs


def post(url, body, content_type):
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": content_type})).close()


@pytest.fixture(scope="module")
def on_hub(hub, optimized):
    """A Hub with the model at `ann/tweets`, tag v1; `main` has gone on to one that does not load."""
    repository = hub.repository("models", "ann/tweets")
    repository.commit({**files_of(optimized), "pytorch_model.bin": b"pickle"}, "v1")
    repository.commit({"hfpc.json": b"{}"})
    return hub.endpoint


@contextmanager
def server(folder, *arguments, **environment):
    """A process of `hfpc serve`, whose home is in a folder; what it prints is in the folder's `log`."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command(*arguments), stdout=log, stderr=log, env=surroundings(folder, environment))
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def command(*arguments):
    return [sys.executable, "-m", "hfpc.cli", "serve", *arguments]


def surroundings(folder, environment):
    inherited = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    own = {"HFPC_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return {**inherited, **own, "HF_HUB_DISABLE_TELEMETRY": "1", "COLUMNS": "80", **environment}


def a_free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def status(url):
    """The status a server answers with; 0 where there is none yet."""
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return 0


def wait(condition, process, seconds=180):
    """Waits until a condition holds, and fails where the process ends before."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < until
        time.sleep(0.05)


def assert_golden(url, folder, responses=lambda content: content, **body):
    """The golden requests of a model folder get the labels that they had when it was made."""
    requests = golden.read(folder)
    answer = httpx.post(url, json=body or {"inputs": [request["inputs"] for request in requests]})
    assert answer.status_code == 200, answer.text
    given = responses(answer.json())
    assert [response[0]["label"] for response in given] == [request["response"][0]["label"] for request in requests]


@pytest.mark.parametrize(
    ("store", "target", "variable"),
    [
        ("on_gcs", "gs://models/tweets", "STORAGE_EMULATOR_HOST"),
        ("on_s3", "s3://models/tweets", "AWS_ENDPOINT_URL"),
        ("on_hub", "ann/tweets@v1", "HF_ENDPOINT"),
    ],
)
def test_a_model_is_downloaded_once_while_the_server_is_alive(request, tmp_path, optimized, store, target, variable):
    url = f"http://127.0.0.1:{(port := a_free_port())}"
    with Gate(request.getfixturevalue(store), ONNX).serve() as gate:
        environment = {variable: gate.url, **KEYS, **GCSFS}
        with server(tmp_path, target, "--port", str(port), **environment) as process:
            wait(lambda: gate.asked, process)
            assert status(f"{url}/live") == 200
            assert status(f"{url}/health") == 503
            refused = httpx.post(url, json={"inputs": "a"})
            assert refused.status_code == 503 and "being loaded" in refused.json()["error"]
            gate.opened.set()
            wait(lambda: status(f"{url}/health") == 200, process)
            assert_golden(url, optimized)
            described = httpx.get(url).json()
        once = gate.asked
        with server(tmp_path, target, "--port", str(port), **environment) as process:
            wait(lambda: status(f"{url}/health") == 200, process)
            assert httpx.get(url).json() == described
        assert gate.asked == once
    assert described["fingerprint"] == registry.fingerprint(optimized)
    names = {file.name for file in tmp_path.rglob("*")}
    assert "model.onnx" in names and "pytorch_model.bin" not in names


def test_a_hub_model_is_pinned_to_its_commit(hub, on_hub, tmp_path, model):
    """It goes on to be served when the branch moves. It is one that Transformers saved, without `hfpc.json`."""
    repository = hub.repository("models", "ann/moving")
    files = {name: content for name, content in files_of(model).items() if name != "hfpc.json"}
    first = repository.commit(files)
    url = f"http://127.0.0.1:{(port := a_free_port())}"
    environment = {"HF_MODEL_ID": "ann/moving", "HF_ENDPOINT": on_hub, "PORT": str(port)}
    with server(tmp_path, **environment) as process:
        wait(lambda: status(f"{url}/health") == 200, process)
        repository.commit({**files, "README.md": b"# The same, later\n"})
        time.sleep(5)  # longer than a server that follows its target takes to look and to load
        assert httpx.get(url).json()["version"] == first
        assert httpx.get(url).json()["model"] == "ann/moving"
        assert_golden(url, model)


@pytest.mark.parametrize(
    ("store", "target", "variable"),
    [("on_s3", "s3://models/tweets", "AWS_ENDPOINT_URL"), ("on_hub", "ann/tweets@v1", "HF_ENDPOINT")],
)
def test_a_server_that_downloads_ends_when_it_is_told_to(request, tmp_path, store, target, variable):
    port = a_free_port()
    with (
        Gate(request.getfixturevalue(store), ONNX).serve() as gate,
        server(tmp_path, target, "--port", str(port), **{variable: gate.url}, **KEYS) as process,
    ):
        wait(lambda: gate.asked and status(f"http://127.0.0.1:{port}/live") == 200, process)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert not gate.opened.is_set()


def test_what_vertex_says_is_followed(on_gcs, tmp_path, optimized):
    url = f"http://127.0.0.1:{(port := a_free_port())}"
    environment = {
        "AIP_STORAGE_URI": "gs://models/tweets",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/vertex/health",
        "AIP_PREDICT_ROUTE": "/vertex/predict",
        "STORAGE_EMULATOR_HOST": on_gcs,
        **GCSFS,
    }
    instances = [request["inputs"] for request in golden.read(optimized)]
    with server(tmp_path, **environment) as process:
        wait(lambda: status(f"{url}/vertex/health") == 200, process)
        assert_golden(f"{url}/vertex/predict", optimized, lambda content: content["predictions"], instances=instances)


def test_the_folder_that_azure_ml_puts_its_model_into(tmp_path, optimized):
    url = f"http://127.0.0.1:{(port := a_free_port())}"
    with server(tmp_path, "--port", str(port), AZUREML_MODEL_DIR=str(optimized.parent)) as process:
        wait(lambda: status(f"{url}/health") == 200, process)
        assert httpx.get(url).json()["model"] == "tweets"
        assert_golden(url, optimized)


@pytest.mark.parametrize(
    ("store", "target", "variable", "message"),
    [
        ("gcs", "gs://nowhere/model", "STORAGE_EMULATOR_HOST", "check the spelling"),
        ("s3", "s3://nowhere/model", "AWS_ENDPOINT_URL", "check the spelling"),
        ("on_hub", "ann/nowhere", "HF_ENDPOINT", "the Hub has no such model"),
        ("on_hub", "ann/tweets@v9", "HF_ENDPOINT", "no revision 'v9'"),
        ("on_hub", "ann/bare", "HF_ENDPOINT", "it has no hfpc.json and no config.json"),
    ],
)
def test_a_model_that_is_not_there_is_named_in_a_line(request, hub, tmp_path, store, target, variable, message):
    hub.repository("models", "ann/bare").commit({"model.safetensors": b"weights"})
    endpoint = request.getfixturevalue(store)
    environment = surroundings(tmp_path, {variable: getattr(endpoint, "endpoint", endpoint), **KEYS, **GCSFS})
    done = subprocess.run(command(target, "--port", "0"), env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 1
    assert done.stderr.startswith(f"target='{target}': ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert "model.safetensors" not in {file.name for file in tmp_path.rglob("*")}
