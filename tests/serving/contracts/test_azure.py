import pytest

TEXTS = ["i love this day", "ada in paris"]
BODIES = {
    "the hub's": {"inputs": TEXTS},
    "a list": {"input_data": TEXTS, "params": {}},
    "objects": {"input_data": [{"text": text} for text in TEXTS]},
    "input strings": {"input_data": {"input_string": TEXTS}},
    "a table": {"input_data": {"columns": ["input_string"], "index": [0, 1], "data": [[text] for text in TEXTS]}},
    "a table of one dimension": {"input_data": {"columns": [0], "data": TEXTS}},
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_azures_clients_send(client, name):
    response = client.post("/score", json=BODIES[name])
    assert response.status_code == 200, response.text
    assert response.json() == client.post("/", json={"inputs": TEXTS}).json()


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": "a", "parameters": {"top_k": 1}},
        {"input_data": "a", "params": {"top_k": 1}},
        {"input_data": "a", "parameters": {"top_k": 1}},
        {"input_data": {"input_string": "a", "parameters": {"top_k": 1}}},
        {"input_data": {"text": "a"}, "params": {"top_k": 1}},
    ],
)
def test_a_single_input_and_its_parameters(texts, body):
    assert texts.post("/score", json=body).json() == texts.post("/", json=one("a")).json()


def one(text):
    return {"inputs": text, "parameters": {"top_k": 1}}


BAD = {
    "nothing": {},
    "null": {"input_data": None},
    "no input": {"input_data": []},
    "a number": {"input_data": 1},
    "an empty table": {"input_data": {}},
    "a table of two columns": {"input_data": {"columns": ["a", "b"], "data": [["a", "b"]]}},
    "a table without rows": {"input_data": {"columns": ["a"]}},
    "a row of two": {"input_data": {"columns": ["a"], "data": [["a", "b"]]}},
    "rows of objects": {"input_data": {"columns": ["a"], "data": [{"a": "b"}]}},
    "another key": {"input_data": ["a"], "inputs": ["a"]},
    "parameters of a list": {"input_data": ["a"], "params": ["top_k"]},
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_the_clients_fault(client, refused, name):
    refused(client.post("/score", json=BAD[name]), 400)
