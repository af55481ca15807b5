"""A model made here runs in the stock container: AWS's own toolkit and server, started as the container does.

They get an environment of their own, because the toolkit on PyPI needs Transformers 4. It is made of the package
index, and of this environment for what both can share, e.g. torch.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time

import httpx
import pytest

from hfpc import samples
from hfpc.inference.predictor import Predictor

PACKAGES = [
    "multi-model-server==1.1.11",
    "retrying==1.4.2",
    "sagemaker-huggingface-inference-toolkit==2.6.0",
    "sagemaker-inference==1.10.1",
    "huggingface-hub==0.36.0",
    "tokenizers==0.22.1",
    "transformers==4.57.6",
]
TEXTS = ["Worth every penny", "I want my money back.", "It is a phone", "üben, 東京, 😀", "no " * 300]
HANDLER = "sagemaker_huggingface_inference_toolkit.handler_service:handle"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="multi-model-server needs Java"),
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """A folder of packages that go before those of this environment."""
    folder = tmp_path_factory.mktemp("stock")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def a_low_port():
    """A free one that the server takes: it reads ports as numbers of 15 bits."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def serving(stock, model, task, scratch):
    """The address of the stock server with a model, and its process."""
    port, management = a_low_port(), a_low_port()
    settings = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{management}",
        "decode_input_request": "false",
        "preload_model": "false",
        "default_workers_per_model": "1",
        "default_service_handler": HANDLER,
    }
    config = scratch / "mms.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    environment = {
        **os.environ,
        "PYTHONPATH": str(stock),
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "HF_TASK": task,
        "HF_HUB_OFFLINE": "1",
        "TEMP": str(scratch),
        "LOG_LOCATION": str(scratch),
        "METRICS_LOCATION": str(scratch),
    }
    start = "import sys; from mms.model_server import start; sys.exit(start())"
    arguments = [
        "--start",
        "--foreground",
        "--mms-config",
        str(config),
        "--model-store",
        "/",
        "--models",
        f"model={model}",
    ]
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", start, *arguments],
            env=environment,
            cwd=scratch,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answer(url, process, inputs, scratch, seconds=240):
    """What the server answers, once it is up."""
    until = time.monotonic() + seconds
    while True:
        try:
            given = httpx.post(f"{url}/invocations", json={"inputs": inputs}, timeout=seconds, trust_env=False)
            if given.is_success:
                return given.json()
            assert given.status_code in (404, 503), given.text
        except httpx.ConnectError:
            pass
        assert process.poll() is None and time.monotonic() < until, (scratch / "log").read_text()[-4000:]
        time.sleep(0.5)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """The embedded MiniLM with a head that tells the texts apart by chance, as Transformers 5 saves it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("minilm") / "model"
    base = samples.model("sample:minilm").locate()
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, initializer_range=0.2)
    network.config.id2label = {0: "negative", 1: "neutral", 2: "positive"}
    network.config.label2id = {name: number for number, name in network.config.id2label.items()}
    tokenizer = AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        encoded = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
        logits = network.eval()(**encoded).logits
        network.classifier.weight *= 10
        network.classifier.bias -= 10 * logits.mean(0)  # so that no label wins for all of them
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_classifier_gets_the_same_labels_from_the_stock_container(stock, minilm, tmp_path):
    expected = [response[0] for response in Predictor(minilm).respond(TEXTS)]
    assert len({response["label"] for response in expected}) > 1
    with serving(stock, minilm, "text-classification", tmp_path) as (url, process):
        given = answer(url, process, TEXTS, tmp_path)
    assert [response["label"] for response in given] == [response["label"] for response in expected]
    assert [response["score"] for response in given] == pytest.approx([each["score"] for each in expected], abs=1e-4)
