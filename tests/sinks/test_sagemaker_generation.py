"""Deploying a model that generates text: behind SageMaker on this machine a server that answers as vLLM does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hfpc import aws
from hfpc.errors import EndpointError
from hfpc.sinks.sagemaker import deployed, predict
from hfpc.sinks.sagemaker_endpoints import deploy
from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register
from tests.sinks.sagemaker_place import EMPTY, NAME, QUICK, deployment, served, state

GPU = "ml.g4dn.xlarge"


class Completions(ThreadingHTTPServer):
    """`/ping` and `/invocations` of vLLM, as far as they take completions.

    Attributes:
        asked: The requests.
        say: Text that follows a prompt.
        answers: What it answers instead, whatever it is asked; None for completions.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Requests)
        self.asked = []
        self.say = lambda prompt: f" after {prompt}"
        self.answers = None

    def answer(self, content):
        """Status and body."""
        prompts = content.get("prompt")
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            return 400, json.dumps({"error": {"message": "Cannot find suitable handler for request."}})
        if content.get("min_tokens", 0) > content.get("max_tokens", 16):
            return 400, json.dumps({"error": {"message": "min_tokens must be less than or equal to max_tokens"}})
        if self.answers is not None:
            return 200, self.answers
        choices = [
            {"index": index, "text": self.say(prompt), "logprobs": None, "finish_reason": "length"}
            for index, prompt in enumerate(prompts)
        ]
        choices.reverse()  # OpenAI's form promises no order but that of `index`
        return 200, json.dumps({"id": "cmpl-1", "object": "text_completion", "choices": choices})


class _Requests(BaseHTTPRequestHandler):
    server: Completions

    def do_GET(self):
        self._reply(200 if self.path == "/ping" else 404, "")

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(content)
        self._reply(*self.server.answer(content))

    def _reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def vllm():
    with Completions() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def registered(amazon, vllm, language_model):
    """Registers the model for vLLM, by the number of a version."""
    aws.client("s3").create_bucket(Bucket="models")

    def step(version=1):
        environment = {"SM_VLLM_SEED": str(version)}
        settings = {"group": "texts", "staging_uri": "s3://models/staged", "instance_type": GPU}
        made = register(str(language_model), None, RegisterSagemakerModelConfig(**settings, environment=environment))
        assert (made.family, made.task) == ("vllm", "text-generation")
        amazon.containers[made.image] = f"http://127.0.0.1:{vllm.server_port}"
        return made

    return step


@pytest.mark.parametrize("mode", [{}, {"mode": "async", "output_uri": "s3://models/async"}], ids=["realtime", "async"])
def test_vllm_is_asked_for_a_text_before_it_serves(registered, vllm, mode):
    endpoint = deploy(registered(), deployment(instance_type=GPU, **mode), QUICK)
    [asked] = vllm.asked
    assert asked["prompt"] == ["Hello"] and asked["max_tokens"] == asked["min_tokens"] == 8
    assert state() == served(endpoint)
    prompts = [f"text {number}" for number in range(40)]
    given = predict(deployed(endpoint.metadata), prompts, {"max_tokens": 4}, QUICK)
    assert given == [[{"generated_text": f" after {prompt}"}] for prompt in prompts]
    assert [(len(each["prompt"]), each["max_tokens"]) for each in vllm.asked[1:]] == [(32, 4), (8, 4)]


def completions(*texts):
    return json.dumps({"choices": [{"index": index, "text": text} for index, text in enumerate(texts)]})


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (completions(""), "endpoint tweets generates no text: it answered 'Hello' with nothing"),
        (completions(), "endpoint tweets did not give one text for each of 1 prompts"),
        (completions("a", "b"), "endpoint tweets did not give one text for each of 1 prompts"),
        (completions(None), "endpoint tweets did not give one text for each of 1 prompts"),
        ('[{"generated_text": "a"}]', "endpoint tweets did not answer in the form of completions"),
        ('{"choices": null}', "endpoint tweets did not answer in the form of completions"),
        ("<html>", "endpoint tweets did not answer in JSON"),
    ],
)
def test_vllm_that_gives_no_text_is_not_left_serving(registered, vllm, answers, told):
    vllm.answers = answers
    with pytest.raises(EndpointError) as caught:
        deploy(registered(), deployment(instance_type=GPU), QUICK)
    assert told in str(caught.value) and "everything is as before" in str(caught.value)
    assert state() == EMPTY


def test_traffic_stays_where_it_is_if_the_new_model_gives_no_text(registered, vllm, amazon):
    old = deploy(registered(), deployment(instance_type=GPU), QUICK)
    vllm.say = lambda prompt: ""
    with pytest.raises(EndpointError, match=r"-trial generates no text: .*; everything is as before"):
        deploy(registered(2), deployment(instance_type=GPU), QUICK)
    assert amazon.control.updates == []
    assert state() == served(old) and NAME in state()["endpoints"]


def test_a_refusal_of_vllm_is_told(registered, vllm):
    endpoint = deploy(registered(), deployment(instance_type=GPU), QUICK)
    with pytest.raises(EndpointError, match=r"endpoint tweets refused: .*min_tokens must be less"):
        predict(endpoint, ["Hello"], {"min_tokens": 9, "max_tokens": 2}, QUICK)
