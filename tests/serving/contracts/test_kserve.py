import pytest
from starlette.testclient import TestClient

from hfpc.inference.predictor import Predictor
from hfpc.serving.app import Slot
from hfpc.serving.engine import ServedModel
from tests.serving.apps import application

NAMES = ["tweets@champion", "tweets"]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_asked_by_its_name(client, name):
    body = {"instances": ["ada in paris", {"inputs": "i love this"}]}
    response = client.post(f"/v1/models/{name}:predict", json=body)
    assert response.json() == client.post("/predict", json=body).json()
    assert len(response.json()["predictions"]) == 2
    ready = client.get(f"/v1/models/{name}").json()
    assert ready["name"] == name and ready["ready"] is True


@pytest.mark.parametrize("name", ["other", "tweets@3", "TWEETS", "tweets@", "tweets:predict", "%ff"])
def test_another_model_is_not_served_here(client, refused, name):
    refused(client.post(f"/v1/models/{name}:predict", json={"instances": ["a"]}), 404, *NAMES)
    refused(client.get(f"/v1/models/{name}"), 404, *NAMES)


def test_models_are_listed(client):
    assert client.get("/v1/models").json()["models"] == ["tweets@champion"]


def test_nothing_is_ready_before_the_model_is_warm(refused):
    cold = TestClient(application(None))
    for path in ("/v1/models", "/v1/models/tweets", "/v2/health/ready", "/v2/models/tweets", "/v2/models/x/ready"):
        refused(cold.get(path), 503, "loaded")
    refused(cold.post("/v1/models/tweets:predict", json={"instances": ["a"]}), 503, "loaded")
    assert cold.get("/v2/health/live").status_code == cold.get("/v2").status_code == 200


@pytest.mark.parametrize(
    ("called", "names"), [("reviews", ["reviews"]), ("owner/reviews@refs/pr/1", ["reviews"]), ("a@1", ["a@1", "a"])]
)
def test_names_that_a_path_can_have(model, refused, called, names):
    slot = Slot()
    app = application(Predictor(model), slot=slot)
    slot.model = ServedModel(engine=slot.model.engine, name=called, version="", fingerprint="ab")
    with TestClient(app) as client:
        for name in names:
            assert client.get(f"/v1/models/{name}").status_code == 200
            refused(client.get(f"/v2/models/{name}/versions/1"), 404, "no version")
        refused(client.get("/v1/models/x"), 404, *names)
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
        assert "model_version" not in client.post(f"/v2/models/{names[0]}/infer", json=body).json()
