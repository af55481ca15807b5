"""OpenAI's own client, and requests that it does not send, against a server at loopback."""

import json

import httpx
import openai
import pytest
from hypothesis import given
from starlette.testclient import TestClient

from hfpc.inference.generator import Generator
from hfpc.serving.generation import GenerationEngine
from hfpc.serving.limits import Limits
from tests.language_models import CHATS, POSITIONS, SENTENCES, save_language_model
from tests.serving.apps import NAME, application, serving
from tests.serving.contracts.test_fuzzing import EXAMPLES, changed
from tests.serving.loopback import listening

HELLO = [{"role": "user", "content": "hello"}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
QUICK = SENTENCES[0].removeprefix("the quick")
GREEDY = {"model": "any", "temperature": 0}


@pytest.fixture(scope="module")
def generator(language_model):
    return Generator(language_model)


@pytest.fixture(scope="module")
def url(generator):
    engine = GenerationEngine(generator, Limits(), lambda tokens: None)
    with listening(application(None, engine=engine)) as server:
        yield server.url


@pytest.fixture(scope="module", params=["/v1", "/openai/v1"])
def client(request, url):
    with openai.OpenAI(base_url=url + request.param, api_key="none", max_retries=0) as client:
        yield client


def test_chat(client, generator):
    for asked, told in CHATS.items():
        messages = [{"role": "user", "content": asked}]
        given = client.chat.completions.create(messages=messages, **GREEDY)
        assert given.object == "chat.completion" and given.id.startswith("chatcmpl-") and given.created > 1e9
        assert given.model == NAME
        [choice] = given.choices
        assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
        assert choice.message.content == told
        prompt = len(generator.prompt({"messages": messages}).ids)
        made = len(generator.prompt({"text": told}).ids) + 1  # and the token that ends it
        assert (given.usage.prompt_tokens, given.usage.completion_tokens) == (prompt, made)
        assert given.usage.total_tokens == prompt + made


def test_chat_is_streamed(client):
    stream = client.chat.completions.create(
        messages=HELLO, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    chunks = list(stream)
    *contents, last, usage = chunks
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert contents[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in contents) == CHATS["hello"]
    assert len(contents) > 5
    assert {chunk.choices[0].finish_reason for chunk in contents} == {None}
    assert last.choices[0].finish_reason == "stop" and last.choices[0].delta.content is None
    whole = client.chat.completions.create(messages=HELLO, **GREEDY)
    assert usage.choices == [] and usage.usage == whole.usage


def test_a_stream_without_usage_has_none(client):
    chunks = list(client.chat.completions.create(messages=HELLO, stream=True, **GREEDY))
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert all(chunk.choices for chunk in chunks)


def test_completions(client, generator):
    given = client.completions.create(prompt="the quick", max_tokens=50, **GREEDY)
    assert given.object == "text_completion" and given.id.startswith("cmpl-")
    [choice] = given.choices
    assert (choice.text, choice.finish_reason) == (QUICK, "stop")
    assert given.usage.prompt_tokens == len(generator.prompt("the quick").ids)
    several = client.completions.create(prompt=["the quick", "one two"], max_tokens=99, **GREEDY)
    assert [choice.index for choice in several.choices] == [0, 1]
    assert [choice.text for choice in several.choices] == [QUICK, SENTENCES[1].removeprefix("one two")]


def test_completions_are_streamed(client):
    chunks = list(client.completions.create(prompt="the quick", max_tokens=50, stream=True, **GREEDY))
    assert "".join(chunk.choices[0].text for chunk in chunks) == QUICK
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_lengths(client, name):
    given = client.chat.completions.create(messages=HELLO, **{name: 3}, **GREEDY)
    assert given.choices[0].finish_reason == "length" and given.usage.completion_tokens == 3
    chunks = list(client.chat.completions.create(messages=HELLO, stream=True, **{name: 3}, **GREEDY))
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_completion_has_sixteen_tokens_unless_told_otherwise(client):
    given = client.completions.create(prompt="one", **GREEDY)
    assert given.usage.completion_tokens == 16 and given.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stop", ["fox", ["fox"], ["over", "fox"]])
def test_stop(client, stop):
    given = client.completions.create(prompt="the quick", stop=stop, **GREEDY)
    assert (given.choices[0].text, given.choices[0].finish_reason) == (" brown ", "stop")


def test_seeds_repeat_a_text_and_drawing_is_the_default(client):
    def text(**options):
        return client.completions.create(model="any", prompt="a", max_tokens=30, **options).choices[0].text

    assert text(seed=1, temperature=1.5) == text(seed=1, temperature=1.5)
    assert len({text(seed=seed, temperature=1.5) for seed in range(5)}) > 1
    assert text(seed=3) == text(seed=3, temperature=1)


def test_what_the_client_may_add_changes_nothing(client):
    given = client.chat.completions.create(
        messages=HELLO, user="me", store=False, metadata={"a": "b"}, n=1, tools=[], logprobs=False, presence_penalty=0,
        response_format={"type": "text"}, service_tier="auto", logit_bias={}, extra_body={"new": [1]}, **GREEDY,
    )  # fmt: skip
    assert given.choices[0].message.content == CHATS["hello"]


REFUSED = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "echo": 1,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "required",
    "response_format": {"type": "json_object"},
    "logit_bias": {"1": 5},
    "presence_penalty": 1,
    "frequency_penalty": -1,
    "reasoning_effort": "high",
    "temperature": 3,
    "top_p": 0,
    "max_tokens": 0,
    "max_completion_tokens": 0,
    "seed": 0.5,
    "stop": [""],
    "stream": "yes",
    "stream_options": [1],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_the_answer_is_refused_by_name(client, name):
    options = {**GREEDY, name: REFUSED[name]}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body={"messages": HELLO, **options}, cast_to=object)
    assert caught.value.body.keys() == {"message", "type", "param", "code"}
    assert name in caught.value.body["message"] and caught.value.type == "invalid_request_error"


def test_a_prompt_that_is_too_long_is_refused_before_the_stream_begins(client):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=f"of 300 tokens.*at most {POSITIONS}"):
            client.completions.create(prompt="a" * 300, stream=stream, **GREEDY)


def test_models(client, url):
    [model] = client.models.list()
    assert (model.id, model.object) == (NAME, "model")
    assert httpx.get(f"{url}/v1/models", trust_env=False).json()["models"] == [NAME]  # KServe's clients


def test_one_model_by_its_name(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert client.models.retrieve(NAME).id == NAME
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")


@pytest.fixture(scope="module")
def plain_client(generator):
    app = application(None, engine=GenerationEngine(generator, Limits(), lambda tokens: None))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


BODIES = {
    "empty": b"",
    "list": b"[]",
    "no messages": b"{}",
    "null messages": b'{"messages": null}',
    "empty messages": b'{"messages": []}',
    "text messages": b'{"messages": "hello"}',
    "no prompt": b'{"messages": 1}',
    "token ids": b'{"prompt": [1, 2], "messages": [1]}',
    "lists of token ids": b'{"prompt": [[1]], "messages": [[1]]}',
    "number": b'{"prompt": 1, "messages": 1}',
    "options": b'{"prompt": "a", "messages": [{"role": "user", "content": "a"}], "stream_options": 1}',
    "usage": b'{"prompt": "a", "messages": [{"role": "user", "content": "a"}], "stream_options": {"include_usage": 1}}',
    "several in a stream": b'{"prompt": ["a", "b"], "messages": [], "stream": true}',
    "no text": b'{"prompt": "", "messages": [{"role": "user"}]}',
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_cannot_be_used(plain_client, path, name):
    response = plain_client.post(path, content=BODIES[name])
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"]


OPTIONS = {
    "max_tokens": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 1, "stop": ["x"], "n": 1, "stream": False,
    "stream_options": {"include_usage": True}, "repetition_penalty": 1.1,
}  # fmt: skip
VALID = {
    CHAT: {"messages": HELLO, **OPTIONS},
    COMPLETIONS: {"prompt": ["the quick", "a"], **OPTIONS},
    "/": {"inputs": "a", "parameters": {"max_new_tokens": 3, "details": True, "stop": ["x"]}, "stream": True},
}


@pytest.mark.parametrize("path", VALID)
def test_valid_requests_with_parts_replaced(plain_client, path):
    seen = set()

    @EXAMPLES
    @given(changed(VALID[path]))
    def ask(content):
        response = plain_client.post(path, content=json.dumps(content))
        assert response.status_code in (200, 400, 413), (content, response.status_code, response.text)
        if response.headers["content-type"].startswith("application/json"):
            assert json.loads(response.content)
        seen.add(response.status_code)

    ask()
    assert seen >= {200, 400}


def test_the_bytes_of_a_stream(plain_client):
    body = {"messages": HELLO, "stream": True, "temperature": 0}
    response = plain_client.post(CHAT, json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, end = response.text.removesuffix("\n\n").split("\n\n")
    assert end == "data: [DONE]"
    assert all(event.startswith("data: {") and "\n" not in event for event in events)
    assert "usage" not in json.loads(events[0].removeprefix("data: "))


def test_other_models_are_no_chat_partners(model):
    with serving(model) as client:
        for path in (CHAT, COMPLETIONS, "/openai/v1/chat/completions"):
            response = client.post(path, json={"messages": HELLO, "prompt": "a"})
            assert response.status_code == 404
            assert "text-classification" in response.json()["error"]["message"]
        assert client.get("/v1/models").json() == {"models": [NAME]}


def test_a_model_without_a_template_takes_part_in_no_conversation(tmp_path):
    generator = Generator(save_language_model(tmp_path, "gpt2"))
    app = application(None, engine=GenerationEngine(generator, Limits(), lambda tokens: None))
    with TestClient(app) as client:
        response = client.post(CHAT, json={"messages": HELLO})
        assert response.status_code == 400 and "no chat template" in response.json()["error"]["message"]
        assert client.post(COMPLETIONS, json={"prompt": "the quick", "temperature": 0}).status_code == 200


def test_nothing_is_answered_before_the_model_is_warm():
    response = TestClient(application(None)).post(CHAT, json={"messages": HELLO})
    assert response.status_code == 503 and response.headers["retry-after"] == "5"
    assert response.json()["error"]["type"] == "server_error"
