"""Text generation behind real servers at loopback, asked with the Hub's client and with plain HTTP."""

import asyncio
import json
import signal
import threading
import time

import httpx
import openai
import pytest

from hfpc import golden
from hfpc.errors import ArgumentError
from hfpc.inference.generator import Generator
from hfpc.serving.engine import PredictionEngine
from hfpc.serving.generation import GenerationEngine
from hfpc.serving.limits import Limits
from hfpc.serving.loading import engine_for
from hfpc.serving.refusals import RefusedError
from hfpc.serving.telemetry import Telemetry
from tests.language_models import CHATS, SENTENCES
from tests.serving.apps import application, serving
from tests.serving.contracts.adapters import ADAPTERS
from tests.serving.loopback import listening
from tests.serving.processes import serving as serving_process

QUICK = SENTENCES[0].removeprefix("the quick")
LONG = {"max_new_tokens": 4000}


@pytest.fixture(scope="module")
def generator(language_model):
    return Generator(language_model)


@pytest.fixture(scope="module")
def endless(endless_model):
    return Generator(endless_model)


@pytest.fixture(scope="module")
def url(generator):
    with listening(application(None, engine=engine(generator))) as server:
        yield server.url


@pytest.fixture
def hub(url, monkeypatch):
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it refuses even this machine's own address
    return InferenceClient(model=url)


class Counter:
    """Tokens that an engine told of."""

    def __init__(self):
        self.total = self.generations = 0

    def __call__(self, tokens):
        self.total += tokens
        self.generations += 1


def engine(generator, counter=None, *, at_once=None, **limits):
    return GenerationEngine(generator, Limits(**limits), counter or Counter(), at_once=at_once)


def wait(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)


def test_the_hubs_client_generates_text(hub, generator):
    assert hub.text_generation("the quick") == QUICK
    assert hub.text_generation("the quick", return_full_text=True) == SENTENCES[0]
    assert hub.text_generation("the quick", stop=["fox"], max_new_tokens=50) == " brown "
    assert hub.text_generation("the quick", max_new_tokens=1) == " brown"
    detailed = hub.text_generation("the quick", details=True, seed=4)
    assert detailed.generated_text == QUICK
    assert (detailed.details.finish_reason, detailed.details.seed) == ("eos_token", 4)
    assert len(detailed.details.tokens) == detailed.details.generated_tokens
    drawn = {"do_sample": True, "temperature": 1.5, "top_k": 50, "top_p": 0.95, "repetition_penalty": 1.1, "seed": 1}
    assert hub.text_generation("a", **drawn) == hub.text_generation("a", **drawn)


def test_the_hubs_client_streams_text(hub):
    assert "".join(hub.text_generation("the quick", stream=True)) == QUICK
    parts = list(hub.text_generation("the quick", stream=True, details=True, return_full_text=True))
    assert "".join(part.token.text for part in parts) == QUICK
    assert [part.index for part in parts] == list(range(1, len(parts) + 1))
    assert [part.generated_text for part in parts] == [None] * (len(parts) - 1) + [SENTENCES[0]]
    assert parts[-1].details.finish_reason == "eos_token"
    assert parts[-1].details.generated_tokens == len(parts)
    assert all(part.token.logprob <= 0 for part in parts)


def test_the_hubs_client_chats(hub):
    messages = [{"role": "user", "content": "bye"}]
    given = hub.chat_completion(messages, temperature=0)
    assert given.choices[0].message.content == CHATS["bye"]
    chunks = list(hub.chat_completion(messages, temperature=0, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CHATS["bye"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_hubs_client_is_told_what_is_wrong(hub):
    from huggingface_hub.errors import HfHubHTTPError

    for stream in (False, True):
        with pytest.raises(HfHubHTTPError, match="temperature=9: give a number from 0 to 2"):
            hub.text_generation("a", temperature=9, stream=stream)
        with pytest.raises(HfHubHTTPError, match="unknown parameter"):
            hub.text_generation("a", typical_p=0.5, stream=stream)


def test_several_inputs_are_answered_in_order_and_one_alone_as_the_hub_does(url):
    def ask(**body):
        return httpx.post(url, json=body, trust_env=False).json()

    assert ask(inputs="the quick") == [{"generated_text": QUICK}]
    expected = [{"generated_text": QUICK}, {"generated_text": SENTENCES[1].removeprefix("one two")}]
    assert ask(inputs=["the quick", "one two"]) == expected
    assert ask(inputs={"messages": [{"role": "user", "content": "hello"}]}) == [{"generated_text": CHATS["hello"]}]
    assert "give one input and not 2" in ask(inputs=["a", "b"], stream=True)["error"]
    assert "stream must be true or false" in ask(inputs="a", stream=1)["error"]


def test_text_is_streamed_at_the_hubs_route_only_by_models_that_generate(model):
    with serving(model) as client:
        response = client.post("/", json={"inputs": "a", "stream": True})
        assert response.status_code == 400 and "stream" in response.json()["error"]
        assert client.post("/", json={"inputs": "a", "stream": False}).status_code == 200


def test_golden_requests_are_answered_alike_by_every_route(language_model, generator, tmp_path, url):
    inputs = ["the quick", "one two three", "une"]
    golden.write(tmp_path, inputs, generator.respond(inputs))
    requests = golden.read(tmp_path)
    seen = 0
    for adapter in ADAPTERS:
        if adapter.accept != "application/json":
            continue
        asked = [request["inputs"] for request in requests]
        response = httpx.post(
            url + adapter.path, content=adapter.body(asked), headers=dict(adapter.headers), trust_env=False
        )
        assert response.status_code == 200, (adapter, response.text)
        assert adapter.read(response.text) == [request["response"] for request in requests], adapter
        seen += 1
    assert seen >= 6


def test_two_streams_go_on_at_the_same_time(endless):
    """Each waits for the other one's tokens; neither is all made by then."""
    counts, counter, done = [0, 0], Counter(), []

    def read(url, mine):
        body = {"inputs": "a", "parameters": {"max_new_tokens": 1500}, "stream": True}
        with httpx.stream("POST", url, json=body, timeout=60, trust_env=False) as response:
            for line in response.iter_lines():
                counts[mine] += line.startswith("data:")
                if counts[mine] == 20:
                    wait(lambda: counts[1 - mine] >= 20)
                    done.append(counter.generations)

    with listening(application(None, engine=engine(endless, counter))) as server:
        threads = [threading.Thread(target=read, args=(server.url, mine)) for mine in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == [1500, 1500]
    assert done[0] == 0


def test_a_short_request_is_answered_while_long_ones_go_on(endless):
    generation = engine(endless, at_once=2)
    with listening(application(None, engine=generation)) as server:
        body = {"inputs": ["a"] * 8, "parameters": LONG}
        long = threading.Thread(target=lambda: httpx.post(server.url, json=body, timeout=60, trust_env=False))
        long.start()
        wait(lambda: generation.waiting == 7)
        short = {"inputs": "a", "parameters": {"max_new_tokens": 3}}
        assert httpx.post(server.url, json=short, timeout=60, trust_env=False).status_code == 200
        assert long.is_alive() and generation.waiting >= 6
        server.server.force_exit = True
        server.server.should_exit = True
        long.join()


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_generated_for_a_client_that_leaves_ends(endless, stream):
    counter = Counter()
    generation = engine(endless, counter, at_once=1)
    with listening(application(None, engine=generation)) as server:
        body = {"inputs": "a", "parameters": LONG, "stream": stream}
        with httpx.Client(trust_env=False, timeout=httpx.Timeout(20, read=0.5 if not stream else 20)) as client:
            if stream:
                with client.stream("POST", server.url, json=body) as response:
                    assert next(response.iter_lines()).startswith("data:")
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(server.url, json=body)
        wait(lambda: counter.generations == 1)
        assert counter.total < 3000
        following = {"inputs": "a", "parameters": {"max_new_tokens": 2}}
        assert httpx.post(server.url, json=following, timeout=20, trust_env=False).status_code == 200


def test_a_queue_that_is_full_refuses_at_once(endless):
    generation = engine(endless, at_once=1, queue=2, inputs=2)
    app = application(None, engine=generation)
    with listening(app) as server:
        body = {"inputs": "a", "parameters": LONG, "stream": True}

        def ask():
            with httpx.stream("POST", server.url, json=body, timeout=60, trust_env=False) as response:
                list(zip(response.iter_lines(), range(3), strict=False))

        with httpx.stream("POST", server.url, json=body, timeout=60, trust_env=False) as first:
            assert first.status_code == 200
            others = [threading.Thread(target=ask) for _ in range(2)]
            for thread in others:
                thread.start()
            wait(lambda: generation.waiting == 2)
            for path, content in (("/", body), ("/v1/completions", {"prompt": "a"})):
                refused = httpx.post(server.url + path, json=content, trust_env=False)
                assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
            with (
                openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
                pytest.raises(openai.InternalServerError, match="all the requests it can queue"),
            ):
                client.completions.create(model="any", prompt="a")
        for thread in others:
            thread.join()


def test_time_that_runs_out_ends_a_text_with_what_there_is(endless):
    # The application itself waits longer here, so that a busy machine changes nothing.
    with listening(application(None, engine=engine(endless, seconds=1))) as server:
        body = {"inputs": "a", "parameters": {**LONG, "details": True}}
        [given] = httpx.post(server.url, json=body, timeout=20, trust_env=False).json()
        assert given["details"]["finish_reason"] == "length"
        assert 0 < given["details"]["generated_tokens"] < 4000
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            chunks = list(client.completions.create(model="any", prompt="a", max_tokens=4000, stream=True))
        assert chunks[-1].choices[0].finish_reason == "length" and 1 < len(chunks) < 4000


def test_a_request_that_gets_no_turn_in_time_is_refused(endless):
    async def ask():
        generation = engine(endless, at_once=1, seconds=1)
        first = generation.stream(["a"], LONG)
        await anext(first)
        generation._limits = Limits(seconds=0.2)
        with pytest.raises(RefusedError, match=r"within 0\.2 seconds"):
            await generation.respond(["a"], {})
        with pytest.raises(RefusedError, match=r"within 0\.2 seconds"):
            await anext(generation.stream(["a"], {}))
        assert generation.waiting == 0
        await first.aclose()

    asyncio.run(ask())


def test_what_cannot_be_used_is_told_before_anything_is_generated(generator):
    counter = Counter()

    async def ask():
        generation = engine(generator, counter)
        for inputs, parameters in ((["a", 1], {}), (["a"], {"top_k": 0}), (["a", "b" * 300], {})):
            with pytest.raises(ArgumentError):
                await generation.respond(inputs, parameters)
            with pytest.raises(ArgumentError):
                await anext(generation.stream(inputs, parameters))

    asyncio.run(ask())
    assert counter.generations == 0


def test_tokens_are_counted(generator):
    counter = Counter()

    async def ask():
        return await engine(generator, counter).respond(["the quick", "one two"], {"details": True})

    details = [response["details"] for response in asyncio.run(ask())]
    assert counter.total == sum(one["input_length"] + one["generated_tokens"] for one in details)


def test_a_stream_that_goes_on_when_the_server_ends_comes_to_its_end(endless):
    with listening(application(None, engine=engine(endless))) as server:
        body = {"prompt": "a", "max_tokens": 500, "stream": True}
        lines = []
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60, trust_env=False) as response:
            for line in response.iter_lines():
                lines += [line] if line else []
                server.server.should_exit = True
        assert lines[-1] == "data: [DONE]"
        assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        server.thread.join(10)
        assert not server.thread.is_alive()


def test_health_is_answered_while_texts_are_generated(endless):
    generation = engine(endless)
    with listening(application(None, engine=generation)) as server:
        body = {"inputs": ["a"] * 8, "parameters": {"max_new_tokens": 300}}
        long = threading.Thread(target=lambda: httpx.post(server.url, json=body, timeout=60, trust_env=False))
        long.start()
        wait(lambda: generation.waiting > 0)
        for _ in range(5):
            assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        assert long.is_alive(), "the texts were done before health was asked"
        long.join()


def test_loading_takes_the_engine_of_the_task(language_model, model, tagging_model, tmp_path):
    telemetry = Telemetry()
    for folder, kind, task in (
        (language_model, GenerationEngine, "text-generation"),
        (model, PredictionEngine, "text-classification"),
        (tagging_model, PredictionEngine, "token-classification"),
    ):
        found = engine_for(folder, Limits(), telemetry)
        assert isinstance(found, kind) and found.task == task
        [response] = asyncio.run(found.respond(["one two"], {}))
        assert response


def test_a_server_process_ends_its_streams_when_it_is_told_to_stop(endless_model, tmp_path):
    with serving_process(endless_model, tmp_path) as server:
        body = {"prompt": "a", "max_tokens": 500, "stream": True}
        lines = []
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60, trust_env=False) as response:
            for line in response.iter_lines():
                if not lines:
                    server.process.send_signal(signal.SIGTERM)
                lines += [line] if line else []
        assert lines[-1] == "data: [DONE]"
        assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        server.process.wait(60)
        assert "(text-generation)" in server.log.read_text()
