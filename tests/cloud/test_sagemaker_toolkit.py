"""A model made here runs in the stock container: AWS's own toolkit and server, started as the container does.

Deployments to it go through a SageMaker on this machine, in which the image of the stock container is that server.

They get an environment of their own, because the toolkit on PyPI needs Transformers 4. It is made of the package
index, and of this environment for what both can share, e.g. torch.
"""

import contextlib
import json
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
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from hfpc import aws, golden
from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
from hfpc.data.preprocess import PreprocessConfig, preprocess
from hfpc.errors import EndpointError
from hfpc.inference.predictor import Predictor
from hfpc.sinks.endpoint_test import TestEndpointConfig, test_endpoint
from hfpc.sinks.sagemaker import predict
from hfpc.sinks.sagemaker_endpoints import SagemakerEndpoint, deploy
from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register
from hfpc.training.export import save_tokenizer
from hfpc.training.finetune import FinetuneConfig, finetune
from tests.serving.processes import serving as our_server
from tests.sinks.sagemaker_place import QUICK, deployment

PACKAGES = [
    "multi-model-server==1.1.11",
    "retrying==1.4.2",
    "sagemaker-huggingface-inference-toolkit==2.6.0",
    "sagemaker-inference==1.10.1",
    "huggingface-hub==0.36.0",
    "tokenizers==0.22.1",
    "transformers==4.57.6",
]
LONG = "no " * 600
"""More than the models here take."""

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
def tweets(tmp_path_factory):
    """Tweets of two labels, split."""
    folder = tmp_path_factory.mktemp("tweets") / "dataset"
    config = LoadDatasetConfig(source="sample:tweets", labels=["negative", "positive"], max_rows=900)
    load_dataset(config, folder)
    return folder


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory, tweets):
    """The embedded MiniLM, fine-tuned by this library in one epoch."""
    folder = tmp_path_factory.mktemp("finetuned")
    preprocess(PreprocessConfig(base_model="sample:minilm", max_length=48), tweets, folder / "tokenized")
    config = FinetuneConfig(epochs=1, learning_rate=3e-4, batch_size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFPC_HOME", str(folder / "home"))
        finetune(config, folder / "tokenized", folder / "model", folder / "curves.html", folder / "tensorboard")
    return folder / "model"


@pytest.fixture(scope="module")
def texts(tweets):
    """Tweets that the model was not trained on, and what is hard to read."""
    rows = pq.read_table(tweets / "test").slice(0, 50).to_pylist()
    assert len(rows) == 50
    return [row["text"] for row in rows] + ["üben, 東京, 😀", "no " * 300]


@pytest.fixture(scope="module")
def classifier(stock, finetuned, texts, tmp_path_factory):
    """The address of the stock server with the fine-tuned model, warm."""
    scratch = tmp_path_factory.mktemp("classifier")
    with serving(stock, finetuned, "text-classification", scratch) as (url, process):
        answer(url, process, texts[:1], scratch)
        yield url


@pytest.fixture(scope="module")
def tags(tmp_path_factory, tagging_model):
    """A tiny model that tags words, with its tokenizer as `finetune` saves it, for Transformers 4 too."""
    folder = shutil.copytree(tagging_model, tmp_path_factory.mktemp("tags") / "model")
    save_tokenizer(AutoTokenizer.from_pretrained(tagging_model), folder)
    return folder


@pytest.fixture(scope="module")
def tagger(stock, tags, tmp_path_factory):
    """The address of the stock server with a model that tags words, warm."""
    scratch = tmp_path_factory.mktemp("tagger")
    with serving(stock, tags, "token-classification", scratch) as (url, process):
        answer(url, process, ["ada"], scratch)
        yield url


def deployed(amazon, url, model, inputs, responses, folder) -> SagemakerEndpoint:
    """The endpoint of a model with these golden requests, registered for the default image."""
    shutil.copytree(model, folder)
    golden.write(folder, inputs, responses)
    aws.client("s3").create_bucket(Bucket="models")
    registered = register(str(folder), None, RegisterSagemakerModelConfig(group="m", staging_uri="s3://models/staged"))
    assert "/huggingface-pytorch-inference:" in registered.image
    amazon.containers[registered.image] = url
    return deploy(registered, deployment(), QUICK)


def invoke(url, texts, **parameters):
    content = {"inputs": texts, "parameters": parameters} if parameters else {"inputs": texts}
    given = httpx.post(f"{url}/invocations", json=content, timeout=240, trust_env=False)
    assert given.is_success, given.text
    return given.json()


def test_a_finetuned_model_gets_the_same_labels_from_the_stock_container_as_from_our_server(
    classifier, finetuned, texts, tmp_path
):
    with our_server(finetuned, tmp_path) as server:
        ours = [response[0] for response in invoke(server.url, texts)]
    theirs = invoke(classifier, texts, truncation=True)  # the toolkit cuts where we do, but only when it is asked to
    labels = [response["label"] for response in ours]
    counts = {label: labels.count(label) for label in ("negative", "positive")}
    assert sum(counts.values()) == len(texts) == 52
    assert min(counts.values()) >= 5, counts
    assert [response["label"] for response in theirs] == labels
    assert [response["score"] for response in theirs] == pytest.approx([each["score"] for each in ours], abs=1e-4)


def test_a_classifier_is_deployed_to_the_stock_container(amazon, classifier, finetuned, texts, tmp_path):
    """One of its golden requests is longer than the model takes: the container refuses it by itself."""
    refused = httpx.post(f"{classifier}/invocations", json={"inputs": [LONG]}, timeout=240, trust_env=False)
    assert refused.is_error and "size" in refused.text
    inputs = [*texts[:5], LONG]
    ours = Predictor(finetuned).respond(inputs)
    endpoint = deployed(amazon, classifier, finetuned, inputs, ours, tmp_path / "model")
    [*given, one] = [*predict(endpoint, inputs), *predict(endpoint, [LONG])]
    assert [each[0]["label"] for each in given] == [each[0]["label"] for each in ours]
    assert one == given[-1]
    assert len(predict(endpoint, inputs[:1], {"top_k": 2})[0]) == 2
    tested = test_endpoint(TestEndpointConfig(requests=2, max_latency_ms=60_000), endpoint.metadata)
    assert tested.metrics["requests"] == 2


@pytest.fixture(scope="module")
def sentences(tagged_dataset):
    """Sentences with names, what is hard to read, and what is too long: the stock container cuts that by itself."""
    rows = pq.read_table(tagged_dataset / "test").slice(0, 20).to_pylist()
    return [*(" ".join(row["tokens"]) for row in rows), "unheard names, e.g. 東京 or O'Hara-Smith", LONG]


def entities(responses):
    return [[(each["entity_group"], each["start"], each["end"]) for each in response] for response in responses]


def test_a_tagger_is_deployed_to_the_stock_container(amazon, tagger, tags, sentences, tmp_path):
    """By itself the container tells a tag for every token; we tell entities, of whole words."""
    ours = Predictor(tags).respond(sentences)
    assert sum(map(len, ours)) > 20
    endpoint = deployed(amazon, tagger, tags, sentences, ours, tmp_path / "model")
    given = predict(endpoint, sentences)
    assert entities(given) == entities(ours)
    assert predict(endpoint, sentences[:1]) == given[:1]
    [words] = predict(endpoint, sentences[:1], {"aggregation_strategy": "none"})
    assert words and all("entity" in each for each in words)
    tested = test_endpoint(TestEndpointConfig(requests=2, max_latency_ms=60_000), endpoint.metadata)
    assert tested.metrics["requests"] == 2


def test_a_model_that_answers_otherwise_is_not_deployed_to_the_stock_container(
    amazon, tagger, tags, sentences, tmp_path
):
    wrong = Predictor(tags).respond(sentences)
    next(response for response in wrong if response)[0]["end"] += 1
    with pytest.raises(EndpointError, match=r"does not answer as the model did when it was made: .* as before"):
        deployed(amazon, tagger, tags, sentences, wrong, tmp_path / "model")


IDS = """
import json, sys, transformers
from transformers import AutoTokenizer
assert transformers.__version__.startswith("4."), transformers.__version__
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps(dict(tokenizer(json.load(sys.stdin), truncation=True))))
"""


def test_a_tokenizer_of_transformers_5_gives_the_same_ids_in_transformers_4(stock, base_model, texts, tmp_path):
    """One of the class that Transformers 5 alone knows."""
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<quote>"]})
    save_tokenizer(tokenizer, tmp_path)
    given = [*texts, "a <quote> here"]
    environment = {**os.environ, "PYTHONPATH": str(stock), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", IDS, str(tmp_path)]
    done = subprocess.run(command, input=json.dumps(given), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict(tokenizer(given, truncation=True))
