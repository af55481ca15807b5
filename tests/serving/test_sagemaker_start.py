"""The serving image as SageMaker starts it: the executable `serve`, without arguments, told the rest by variables."""

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import httpx
import pytest

from hfpc import golden
from tests.serving.ports import free_port

EXECUTABLE = Path(__file__).parents[2] / "containers" / "serve"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the image is one of Linux")


@pytest.fixture
def started(tmp_path, model, request):
    """The process, its address and its log; a test may add variables.

    On SageMaker the model is in /opt/ml/model; here a variable says where.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(EXECUTABLE, folder / "serve")
    port = free_port()
    environment = {
        "PATH": f"{folder}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_MODEL_ID": str(model),
        "HF_TASK": "text-classification",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_SAFE_PORT_RANGE": "21000-21999",
        "SM_MODEL_DIR": "/opt/ml/model",
        "AWS_REGION": "us-east-1",
        **getattr(request, "param", {}),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["serve"], env=environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            yield process, f"http://127.0.0.1:{port}", tmp_path / "log"
        finally:
            process.kill()
            process.wait()


def healthy(process, url, log):
    """Waits until it is."""
    until = time.monotonic() + 180
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        try:
            if httpx.get(f"{url}/ping", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)


@pytest.mark.parametrize("started", [{"SAGEMAKER_BATCH": "true", "HFPC_TIMEOUT": "3600"}], indirect=True)
def test_a_transform_job_sends_as_many_lines_as_it_likes(started, model):
    process, url, log = started
    healthy(process, url, log)
    inputs = [request["inputs"] for request in golden.read(model)] * 200
    assert len(inputs) > 512
    body = "".join(json.dumps({"inputs": each + " " * 5000}) + "\n" for each in inputs)
    media_type = "application/jsonlines"
    headers = {"content-type": media_type, "accept": media_type}
    given = httpx.post(f"{url}/invocations", content=body, headers=headers, trust_env=False, timeout=60)
    assert given.is_success, given.text
    assert len(given.text.splitlines()) == len(inputs)


def test_it_is_healthy_answers_and_ends(started, model):
    process, url, log = started
    healthy(process, url, log)
    requests = golden.read(model)
    body = {"inputs": [request["inputs"] for request in requests]}
    given = httpx.post(f"{url}/invocations", json=body, trust_env=False, timeout=60)
    assert given.is_success, given.text
    labels = [response[0]["label"] for response in given.json()]
    assert labels == [request["response"][0]["label"] for request in requests]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()  # it reached the server, not a shell before it
