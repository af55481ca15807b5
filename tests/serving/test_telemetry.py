"""What a server tells of itself, through the application on a real tiny model."""

import io
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from hfpc.inference.predictor import Predictor
from hfpc.serving.app import Slot
from tests.serving.apps import application

SECRET = "my address is 1 main street"


def metrics(client: TestClient) -> dict[tuple, float]:
    """Each sample by its name and the values of its labels."""
    response = client.get("/metrics")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


@pytest.fixture
def log():
    return io.StringIO()


def client_of(model, log, **options) -> TestClient:
    return TestClient(application(Predictor(model), log=log, **options), raise_server_exceptions=False)


def test_metrics_count_requests_batches_and_tokens(model, log):
    with client_of(model, log) as client:
        for inputs in ("i love this day", ["a", "b", "c"]):
            assert client.post("/", json={"inputs": inputs}).status_code == 200
        assert client.post("/", json={"inputs": []}).status_code == 400
        found = metrics(client)
    assert found["hfpc_requests_total", "hub", "200"] == 2
    assert found["hfpc_requests_total", "hub", "400"] == 1
    assert found["hfpc_request_seconds_count", "hub"] == 3
    assert found["hfpc_request_seconds_sum", "hub"] > 0
    assert found["hfpc_batch_rows_sum",] == 4
    assert found["hfpc_tokens_total",] == 6 + 3 * 3  # [CLS] and [SEP] around each
    assert found["hfpc_queue_inputs",] == 0
    assert found["hfpc_requests_in_progress",] == 0


def test_the_queue_and_the_requests_in_progress_show_while_the_model_is_busy(model, log):
    """Metrics are read in the middle of a forward pass."""
    seen = {}

    class Watched(Predictor):
        def forward(self, rows, threads=1):
            seen.update(metrics(client))
            return super().forward(rows, threads)

    watched = Watched(model, tokens_per_batch=1)
    with TestClient(application(watched, log=log)) as client:
        client.post("/", json={"inputs": ["a"] * 5})
    assert seen["hfpc_requests_in_progress",] == 1
    assert seen["hfpc_batch_rows_count",] > 0


def test_a_line_of_json_is_logged_for_each_request_without_its_text(model, log):
    with client_of(model, log) as client:
        client.post("/", json={"inputs": [SECRET, "a"]}, headers={"X-Request-ID": "abc"})
        client.post("/", content=b"{")
    first, second = map(json.loads, log.getvalue().splitlines())
    assert {**first, "time": "", "ms": 0} == {
        "time": "",
        "event": "request",
        "contract": "hub",
        "path": "/",
        "status": 200,
        "ms": 0,
        "request_id": "abc",
        "inputs": 2,
    }
    assert first["time"].endswith("Z") and first["ms"] > 0
    assert second["status"] == 400 and "inputs" not in second
    assert SECRET not in log.getvalue()


def test_inputs_are_logged_when_asked_for(model, log):
    with client_of(model, log, log_inputs=True) as client:
        client.post("/", json={"inputs": [SECRET]})
    assert json.loads(log.getvalue())["inputs"] == [SECRET]


@pytest.mark.parametrize("given", ["", "trace-1", "x" * 5000])
def test_a_request_keeps_its_id_or_gets_one(model, log, given):
    with client_of(model, log) as client:
        headers = {"X-Request-ID": given} if given else {}
        first, second = (client.post("/", json={"inputs": "a"}, headers=headers) for _ in range(2))
    assert first.headers["x-request-id"].startswith(given[:128])
    assert len(first.headers["x-request-id"]) <= 128
    assert bool(given) == (first.headers["x-request-id"] == second.headers["x-request-id"])
    assert json.loads(log.getvalue().splitlines()[0])["request_id"] == first.headers["x-request-id"]


def test_a_line_break_in_a_request_id_makes_no_second_line(model, log):
    with client_of(model, log) as client:
        client.post("/", json={"inputs": "a"}, headers={"X-Request-ID": 'a"\\n{"event": "forged"}'})
    assert len(log.getvalue().splitlines()) == 1


def test_a_draining_server_answers_but_is_not_ready(model, log):
    slot = Slot()
    with client_of(model, log, slot=slot) as client:
        assert client.get("/health").status_code == 200
        slot.draining = True
        assert client.get("/health").status_code == 503
        assert client.get("/live").status_code == 200
        response = client.post("/", json={"inputs": "a"})
    assert response.status_code == 200 and response.headers["connection"] == "close"
