"""The application in this process, on real tiny models; `test_server.py` has it in a process of its own."""

import asyncio
import json
import math
import random
import threading
import time

import pytest
from starlette.testclient import TestClient

from hfpc.inference.predictor import Predictor
from hfpc.serving.limits import Limits
from tests.serving.apps import application

MAX_BODY_BYTES, MAX_INPUTS = Limits().body_bytes, Limits().inputs


def test_a_single_text_is_answered_as_the_hub_does(texts, model):
    response = texts.post("/", json={"inputs": "i love this day"})
    assert response.status_code == 200
    assert response.json() == Predictor(model).respond(["i love this day"])
    [[first, second]] = response.json()
    assert {first["label"], second["label"]} == {"negative", "positive"}
    assert first["score"] >= second["score"] and math.isclose(first["score"] + second["score"], 1, rel_tol=1e-5)


def test_a_single_text_for_tags_is_answered_as_the_hub_does(tags):
    entities = tags.post("/", json={"inputs": "ada lovelace in paris", "parameters": {"ignore_labels": []}}).json()
    assert entities and all({"entity_group", "score", "word", "start", "end"} == entity.keys() for entity in entities)


def test_a_list_gives_a_response_for_each_input_in_order(client):
    inputs = ["i love this day", "my phone is terrible and my car is awful", "ada"]
    together = client.post("/", json={"inputs": inputs}).json()
    apart = [client.post("/", json={"inputs": [text]}).json() for text in inputs]
    assert len(together) == 3 and all(len(one) == 1 for one in apart)
    assert [rounded(response) for response in together] == [rounded(one[0]) for one in apart]


def rounded(response):
    return [{name: value if name != "score" else round(value, 4) for name, value in part.items()} for part in response]


def test_parameters_are_used(texts, tags):
    assert [[len(labels) for labels in texts.post("/", json={"inputs": "a", "parameters": {"top_k": 1}}).json()]] == [
        [1]
    ]
    words = tags.post("/", json={"inputs": "ada", "parameters": {"aggregation_strategy": "none", "ignore_labels": []}})
    assert [entity["word"] for entity in words.json()] == ["ada"]


def test_a_client_that_leaves_within_its_body_is_no_failure_of_the_server(model, caplog):
    sent = []
    parts = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(parts)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "path_params": {}}
    asyncio.run(application(Predictor(model))(scope, receive, send))
    assert sent[0]["status"] == 499 and "failed" not in caplog.text


def test_it_says_what_it_serves(texts):
    assert texts.get("/").json() == {
        "status": "alive",
        "model": "tweets@champion",
        "version": "3",
        "task": "text-classification",
        "fingerprint": "ab",
    }
    assert texts.get("/health").status_code == 200


def test_nothing_is_answered_before_the_model_is_warm():
    cold = TestClient(application(None))
    for response in (cold.get("/health"), cold.get("/"), cold.post("/", json={"inputs": "a"})):
        assert response.status_code == 503
        assert "being loaded" in response.json()["error"]
        assert response.headers["retry-after"] == "5"


DEEP = b"[" * 100_000
BAD = {
    "empty": b"",
    "not json": b"hello",
    "cut": b'{"inputs": "a"',
    "two": b'{"inputs": "a"}{"inputs": "a"}',
    "not utf-8": b'{"inputs": "\xff"}',
    "utf-16": '{"inputs": "\ud800"}'.encode("utf-16", "surrogatepass"),
    "null": b"null",
    "a list": b'["a"]',
    "a string": b'"a"',
    "a number": b"1",
    "no inputs": b"{}",
    "unknown key": b'{"inputs": "a", "input": "b"}',
    "null inputs": b'{"inputs": null}',
    "number inputs": b'{"inputs": 1}',
    "true inputs": b'{"inputs": true}',
    "object inputs": b'{"inputs": {"words": "a"}}',
    "object without text": b'{"inputs": {"text": 1}}',
    "no input": b'{"inputs": []}',
    "nested inputs": b'{"inputs": [["a"]]}',
    "mixed inputs": b'{"inputs": ["a", 1]}',
    "half a pair": b'{"inputs": "\\ud800"}',
    "half a pair in a key": b'{"inputs": "a", "parameters": {"\\udfff": 1}}',
    "deep": b'{"inputs": ' + DEEP,
    "deep and closed": b'{"inputs": ' + DEEP + b"]" * 100_000 + b"}",
    "huge number": b'{"inputs": "a", "parameters": {"top_k": 1' + b"0" * 5000 + b"}}",
    "infinite": b'{"inputs": "a", "parameters": {"top_k": 1e999}}',
    "infinity": b'{"inputs": "a", "parameters": {"top_k": -Infinity}}',
    "not a number": b'{"inputs": "a", "parameters": {"top_k": NaN}}',
    "list of parameters": b'{"inputs": "a", "parameters": [1]}',
    "text of parameters": b'{"inputs": "a", "parameters": "top_k"}',
    "unknown parameter": b'{"inputs": "a", "parameters": {"temperature": 1}}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_the_clients_fault(client, name):
    response = client.post("/", content=BAD[name])
    assert response.status_code == 400, response.text
    assert response.json().keys() == {"error"} and response.json()["error"]


PARAMETERS = {
    "texts": {"top_k": [0, -1, "1", True, [], {}, 0.5], "function_to_apply": ["tanh", 1, ["none"], {"a": 1}, True]},
    "tags": {"aggregation_strategy": ["max", 1, ["simple"], {"a": 1}, True], "ignore_labels": ["O", 1, {}, True]},
}


@pytest.mark.parametrize(
    ("served", "parameter", "value"),
    [(served, *pair) for served in PARAMETERS for name in PARAMETERS[served] for pair in
     [(name, value) for value in PARAMETERS[served][name]]],
)  # fmt: skip
def test_a_parameter_that_cannot_be_used_is_named(request, served, parameter, value):
    response = request.getfixturevalue(served).post("/", json={"inputs": "a", "parameters": {parameter: value}})
    assert response.status_code == 400, response.text
    assert parameter in response.json()["error"]


STRANGE = [
    "\x00",
    "\u200b",
    "\u0301",
    "\ufeff",
    "😀" * 50,
    "a" * 100_000,
    "\uff41",
    "",
    " \n\t\u2003 ",
    "שלום",
    "\U000e0001",
    "\r",
    "'",
    "[MASK]",
]


@pytest.mark.parametrize(
    "parameters", [{}, None, {"top_k": 99}, {"aggregation_strategy": "none", "ignore_labels": [1]}]
)
def test_strange_texts_never_break_the_server(client, parameters):
    for text in [*STRANGE, *(" ".join(STRANGE[:index]) for index in range(2, 12))]:
        response = client.post("/", json={"inputs": [text, "a"], "parameters": parameters})
        assert response.status_code in (200, 400), (text, response.text)
        if response.status_code == 200:
            assert len(response.json()) == 2


def test_random_bodies_never_break_the_server(client):
    """A valid request with random bytes changed, cut or doubled; 400 of them, the same every time."""
    valid = b'{"inputs": ["i love this", "ada \\u00e9"], "parameters": {"top_k": 1, "ignore_labels": ["O"]}}'
    rng = random.Random(0)
    seen = set()
    for _ in range(400):
        body = bytearray(valid)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(body))
            change = rng.randrange(3)
            if change == 0:
                body[place] = rng.choice(b'{}[]",:\\0123456789.eE-+ntfu\x00\xff\xc3' + bytes([rng.randrange(256)]))
            elif change == 1:
                del body[place : place + rng.randint(1, 9)]
            else:
                body[place:place] = body[place : place + rng.randint(1, 9)]
            body = body or bytearray(b"{")
        response = client.post("/", content=bytes(body))
        assert response.status_code in (200, 400), (bytes(body), response.text)
        json.loads(response.content)
        seen.add(response.status_code)
    assert 400 in seen


def test_too_much_at_once_is_refused(client):
    response = client.post("/", json={"inputs": ["a"] * (MAX_INPUTS + 1)})
    assert response.status_code == 413 and str(MAX_INPUTS) in response.json()["error"]
    response = client.post("/", content=b'{"inputs": "' + b"a" * MAX_BODY_BYTES + b'"}')
    assert response.status_code == 413 and str(MAX_BODY_BYTES) in response.json()["error"]
    assert len(client.post("/", json={"inputs": ["a"] * MAX_INPUTS}).json()) == MAX_INPUTS


def test_a_body_without_end_is_not_read_to_its_end(texts):
    sent = []

    def endless():
        while len(sent) < 1000:
            sent.append(b"a" * 100_000)
            yield sent[-1]

    assert texts.post("/", content=endless()).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/none", 404), ("PUT", "/", 405), ("POST", "/health", 405)]
)
def test_other_errors_are_json_too(texts, method, path, status):
    response = texts.request(method, path)
    assert response.status_code == status and response.json()["error"]


def test_the_error_for_a_method_names_those_that_there_are(texts):
    assert {name.strip() for name in texts.put("/").headers["allow"].split(",")} == {"GET", "HEAD", "POST"}


def test_health_answers_while_the_model_is_busy(model):
    """A predictor that takes as long as a large model, so that requests pile up."""

    class Slow(Predictor):
        running = most = 0

        def forward(self, rows, threads=1):
            Slow.running += 1
            Slow.most = max(Slow.most, Slow.running)
            time.sleep(0.3)
            Slow.running -= 1
            return super().forward(rows, threads)

    slow = Slow(model, tokens_per_batch=1)
    with TestClient(application(slow)) as client:
        requests = [
            threading.Thread(target=client.post, args=("/",), kwargs={"json": {"inputs": "a"}}) for _ in range(4)
        ]
        for request in requests:
            request.start()
        time.sleep(0.1)
        start = time.perf_counter()
        assert client.get("/health").status_code == 200
        took = time.perf_counter() - start
        waiting = sum(request.is_alive() for request in requests)
        for request in requests:
            request.join()
    assert waiting >= 2, "health was answered after the requests and not between them"
    assert took < 0.3
    assert Slow.most == slow.workers, "the model computes as many batches at a time as there are workers"
