import json

import pytest

import hfpc

URL = "/v2/models/tweets/infer"


def tensor(*data, **changes):
    return {"name": "text", "shape": [len(data)], "datatype": "BYTES", "data": list(data), **changes}


def body(*data, **changes):
    return {"inputs": [tensor(*data)], **changes}


@pytest.mark.parametrize("path", [URL, "/v2/models/tweets@champion/infer", "/v2/models/tweets/versions/3/infer"])
def test_inputs_are_the_elements_of_a_tensor(client, path):
    inputs = ["i love this day", "ada in paris"]
    answer = client.post(path, json=body(*inputs, id="42")).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tweets@champion", "3", "42")
    response = answer["outputs"][0]
    assert (response["name"], response["datatype"], response["shape"]) == ("response", "BYTES", [2])
    assert [json.loads(item) for item in response["data"]] == client.post("/", json={"inputs": inputs}).json()


def test_the_body_may_repeat_what_the_path_says_as_kserves_client_does(client):
    assert client.post(URL, json=body("ada", model_name="tweets", model_version="3")).status_code == 200


def test_the_best_label_has_tensors_of_its_own(texts):
    outputs = texts.post(URL, json=body("i love this day", "my phone is awful")).json()["outputs"]
    response, label, score = outputs
    best = [json.loads(item)[0] for item in response["data"]]
    assert label == {"name": "label", "shape": [2], "datatype": "BYTES", "data": [item["label"] for item in best]}
    assert score == {"name": "score", "shape": [2], "datatype": "FP32", "data": [item["score"] for item in best]}


def test_entities_are_in_the_response_only(tags):
    outputs = tags.post(URL, json=body("ada in paris", "to")).json()["outputs"]
    assert [output["name"] for output in outputs] == ["response"]
    assert any(json.loads(item) for item in outputs[0]["data"])


def test_outputs_that_are_wanted(texts, refused):
    wanted = body("a", outputs=[{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}])
    assert [output["name"] for output in texts.post(URL, json=wanted).json()["outputs"]] == ["score", "label"]
    refused(texts.post(URL, json=body("a", outputs=[{"name": "logits"}])), 400, "logits", "label", "score", "response")


def test_an_output_that_is_wanted_many_times_is_sent_once(texts):
    outputs = texts.post(URL, json=body("a", outputs=[{"name": "label"}] * 1000)).json()["outputs"]
    assert [output["name"] for output in outputs] == ["label"]


def test_parameters_are_the_tasks(texts, refused):
    answer = texts.post(URL, json=body("a", parameters={"top_k": 1, "binary_data_output": True})).json()
    assert len(json.loads(answer["outputs"][0]["data"][0])) == 1
    assert "id" not in answer
    refused(texts.post(URL, json=body("a", parameters={"sequence_id": 1})), 400, "sequence_id")


@pytest.mark.parametrize("data", [["a", "b"], [["a"], ["b"]]])
def test_a_tensor_may_have_a_second_dimension_of_one(texts, data):
    answer = texts.post(URL, json={"inputs": [tensor(*data, shape=[2, 1])]}).json()
    assert answer["outputs"][0]["shape"] == [2]


BAD = {
    "the hub's": {"inputs": "a"},
    "nothing": {},
    "a list": [tensor("a")],
    "no tensor": {"inputs": []},
    "two tensors": {"inputs": [tensor("a"), tensor("b")]},
    "another key": body("a", instances=["a"]),
    "no input": body(),
    "a number as id": body("a", id=1),
    "null as id": body("a", id=None),
    "a shape that is too long": {"inputs": [tensor("a", shape=[2])]},
    "a shape that is too short": {"inputs": [tensor("a", "b", shape=[1])]},
    "a shape of a fraction": {"inputs": [tensor("a", shape=[1.0])]},
    "a shape of a truth": {"inputs": [tensor("a", shape=[True])]},
    "a shape below zero": {"inputs": [tensor("a", shape=[-1])]},
    "a shape of rows": {"inputs": [tensor("a", "b", shape=[1, 2])]},
    "a shape of three": {"inputs": [tensor("a", shape=[1, 1, 1])]},
    "a number as name": {"inputs": [tensor("a", name=1)]},
    "no name": {"inputs": [{"shape": [1], "datatype": "BYTES", "data": ["a"]}]},
    "no shape": {"inputs": [{"name": "text", "datatype": "BYTES", "data": ["a"]}]},
    "another datatype": {"inputs": [tensor(1, datatype="INT64")]},
    "a datatype of a list": {"inputs": [tensor("a", datatype=["BYTES"])]},
    "a number in it": {"inputs": [tensor("a", 1)]},
    "a list in it": {"inputs": [tensor(["a"])]},
    "an object as data": {"inputs": [tensor("a", data={"a": 1})]},
    "no data": {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}]},
    "base64": {"inputs": [tensor("YQ==", parameters={"content_type": "base64"})]},
    "parameters of a list": body("a", parameters=["top_k"]),
    "parameters of a tensor of a list": {"inputs": [tensor("a", parameters=[1])]},
    "outputs of names": body("a", outputs=["label"]),
    "outputs of an object": body("a", outputs={"name": "label"}),
    "outputs of a number": body("a", outputs=0),
    "outputs of nothing": body("a", outputs=[{}]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_the_clients_fault(client, refused, name):
    refused(client.post(URL, json=BAD[name]), 400)


def test_binary_tensors_are_not_supported(texts, refused):
    binary = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    head = json.dumps({"inputs": [binary]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    refused(texts.post(URL, content=head + b"\x01\x00\x00\x00a", headers=headers), 400, "binary")
    refused(texts.post(URL, content=head), 400, "binary")


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/tweets/versions/4", "/v2/models/tweets/versions/"])
def test_another_model_or_version_is_not_served_here(client, path):
    for response in (client.post(f"{path}/infer", json=body("a")), client.get(path), client.get(f"{path}/ready")):
        assert response.status_code == 404 and response.json()["error"]


def test_the_server_and_the_model_describe_themselves(client):
    assert client.get("/v2").json() == {"name": "hfpc", "version": hfpc.__version__, "extensions": []}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/tweets", "/v2/models/tweets/versions/3"):
        assert client.get(f"{path}/ready").json() == {"name": "tweets", "ready": True}
        described = client.get(path).json()
        assert described["versions"] == ["3"] and described["platform"]
        [wanted], [given] = described["inputs"], described["outputs"]
        asked = {"inputs": [tensor("ada", name=wanted["name"], datatype=wanted["datatype"])]}
        answer = client.post(f"{path}/infer", json=asked).json()
        assert given["name"] in {output["name"] for output in answer["outputs"]}
