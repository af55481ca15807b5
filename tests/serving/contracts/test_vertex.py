import pytest

from tests.serving.apps import serving


def test_instances_may_be_texts_or_objects(texts):
    instances = ["i love this day", {"inputs": "i love this day"}, {"text": "i love this day"}]
    instances += [{"inputs": {"text": "i love this day"}}]
    response = texts.post("/predict", json={"instances": instances})
    assert response.status_code == 200 and response.json().keys() == {"predictions"}
    labels = [[item["label"] for item in prediction] for prediction in response.json()["predictions"]]
    assert len(labels) == 4 and labels == [labels[0]] * 4 and set(labels[0]) == {"negative", "positive"}


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ["a", "b"], "parameters": {"top_k": 1.0}},
        {"instances": ["a", "b"], "parameters": {"top_k": 1}},
        {"instances": [{"inputs": text, "parameters": {"top_k": 1.0}} for text in "ab"]},
        {"instances": [{"inputs": text, "parameters": {"top_k": 1}} for text in "ab"], "parameters": {"top_k": 2}},
    ],
)
def test_parameters_of_all_instances(texts, body):
    predictions = texts.post("/predict", json=body).json()["predictions"]
    assert [len(prediction) for prediction in predictions] == [1, 1]


BAD = {
    "the hub's": {"inputs": "a"},
    "a list": ["a"],
    "null": None,
    "no list": {"instances": "a"},
    "nothing": {"instances": []},
    "another key": {"instances": ["a"], "signature_name": "x"},
    "a number": {"instances": [1]},
    "a list in it": {"instances": [["a"]]},
    "null in it": {"instances": ["a", None]},
    "inputs of a list": {"instances": [{"inputs": ["a"]}]},
    "an object of something": {"instances": [{"words": "a"}]},
    "parameters of a list": {"instances": ["a"], "parameters": ["top_k"]},
    "parameters of false": {"instances": ["a"], "parameters": False},
    "parameters of an empty list": {"instances": ["a"], "parameters": []},
    "an unknown parameter": {"instances": ["a"], "parameters": {"deployedModelId": "1"}},
    "parameters of their own": {"instances": [{"inputs": "a", "parameters": {"top_k": 1}}, "b"]},
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_the_clients_fault(client, refused, name):
    refused(client.post("/predict", json=BAD[name]), 400)


@pytest.mark.parametrize("value", [1.5, 1e300, -1.0, 0.0])
def test_fractions_stay_what_they_are(texts, refused, value):
    response = texts.post("/predict", json={"instances": ["a"], "parameters": {"top_k": value}})
    if value == 1e300:
        assert response.status_code == 200 and len(response.json()["predictions"][0]) == 2
    else:
        refused(response, 400, "top_k")


def test_it_answers_where_vertex_asks(model):
    environment = {"AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict", "AIP_HEALTH_ROUTE": "/h"}
    with serving(model, environment=environment) as client:
        assert client.get("/h").status_code == 200
        assert client.post("/predict", json={"instances": ["a"]}).status_code == 404
        response = client.post(environment["AIP_PREDICT_ROUTE"], json={"instances": ["a", "b"]})
        assert len(response.json()["predictions"]) == 2
