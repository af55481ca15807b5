import csv
import io
import json

import pytest

URL = "/invocations"
LINES = "application/jsonlines"


def ask(client, body, content_type, accept=None):
    headers = {"content-type": content_type, **({"accept": accept} if accept else {})}
    return client.post(URL, content=body, headers=headers)


def labels(responses):
    return [[item["label"] for item in response] for response in responses]


def test_json_is_answered_as_the_hub_does(client):
    for inputs in ("ada in paris", ["ada in paris", "i love this"]):
        body = {"inputs": inputs}
        assert client.post(URL, json=body).json() == client.post("/", json=body).json()


def test_instances_are_answered_with_predictions(texts):
    response = texts.post(URL, json={"instances": ["a", {"inputs": "b"}], "parameters": {"top_k": 1.0}})
    assert [len(prediction) for prediction in response.json()["predictions"]] == [1, 1]


def test_a_body_without_a_type_is_json(texts):
    response = texts.post(URL, content=b'{"inputs": "a"}')
    assert "content-type" not in response.request.headers and response.status_code == 200


@pytest.mark.parametrize("content_type", [LINES, "application/x-jsonlines", "application/jsonl; charset=utf-8"])
def test_every_line_is_answered_with_a_line(client, content_type):
    body = '{"inputs": "i love this day"}\r\n\n"ada in paris"\n  \n{"text": "my phone is awful"}'
    response = ask(client, body, content_type)
    assert response.headers["content-type"] == content_type.partition(";")[0]
    assert response.text.endswith("\n")
    given = [json.loads(line) for line in response.text.splitlines()]
    expected = client.post("/", json={"inputs": ["i love this day", "ada in paris", "my phone is awful"]}).json()
    assert len(given) == 3 and given == expected


def test_lines_may_have_parameters_if_they_are_the_same(texts, refused):
    same = '{"inputs": "a", "parameters": {"top_k": 1}}\n' * 2
    assert [len(json.loads(line)) for line in ask(texts, same, LINES).text.splitlines()] == [1, 1]
    refused(ask(texts, same + '"b"', LINES), 400, "parameters")


@pytest.mark.parametrize("line", ["", "{", '"a" "b"', '"\\ud800"', "NaN"])
def test_a_bad_line_is_named(texts, refused, line):
    refused(ask(texts, f'"a"\n{line or "nothing"}\n', LINES), 400, "line 2")


CSVS = {
    "inputs": "inputs\ni love this day\nada in paris\n",
    "text": "text\r\ni love this day\r\nada in paris",
    "quoted": '"inputs"\r\n"i love this day"\r\n\r\n"ada in paris"\r\n',
    "several": 'id,inputs,text\r\n1,i love this day,x\r\n2,"ada in paris",y\r\n',
    "marked": "\ufeffinputs\ni love this day\nada in paris\n",
}


@pytest.mark.parametrize("name", CSVS)
def test_csv_is_read_from_the_column_of_inputs(client, name):
    response = ask(client, CSVS[name].encode(), "text/csv")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == client.post("/", json={"inputs": ["i love this day", "ada in paris"]}).json()


def test_quotes_commas_and_line_ends_are_part_of_a_text(tags):
    text = 'ada, "grace"\r\nand\nalan'
    body = 'inputs\r\n"' + text.replace('"', '""') + '"\r\n'
    expected = tags.post("/", json={"inputs": [text], "parameters": {}}).json()
    assert expected[0] and ask(tags, body, "text/csv").json() == expected


def test_csv_has_the_best_label_of_each_record(texts):
    response = ask(texts, CSVS["inputs"], "text/csv", "text/csv")
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    best = [ranking[0] for ranking in ask(texts, CSVS["inputs"], "text/csv").json()]
    assert [{**row, "score": float(row["score"])} for row in rows] == best and len(best) == 2


def test_csv_leaves_no_entity_out(tags):
    response = ask(tags, CSVS["inputs"], "text/csv", "text/csv")
    rows = list(csv.reader(io.StringIO(response.text, newline="")))
    expected = ask(tags, CSVS["inputs"], "text/csv").json()
    assert any(expected) and rows[0] == ["response"]
    assert [json.loads(value) for [value] in rows[1:]] == expected


BAD_CSV = {
    "nothing": ("", "columns"),
    "no header": ("i love this\nday\n", "inputs or text"),
    "no record": ("inputs\n", "no input"),
    "too many fields": ("inputs\na,b\n", "record 2"),
    "too few fields": ("id,inputs\n1\n", "record 2"),
    "open quotes": ('inputs\n"a\n', "RFC 4180"),
    "a quote amid": ('inputs\n"a"b\n', "RFC 4180"),
    "a field that is too long": ("inputs\n" + "a" * 140_000, "field"),
    "latin-1": ("inputs\n\xe9\n".encode("latin-1"), "UTF-8"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_csv_that_cannot_be_read(client, refused, name):
    body, says = BAD_CSV[name]
    refused(ask(client, body, "text/csv"), 400, says)


@pytest.mark.parametrize(
    ("content_type", "accept", "given"),
    [
        ("application/json", None, "application/json"),
        ("application/json", "*/*", "application/json"),
        ("application/json", LINES, LINES),
        ("application/json", "text/csv", "text/csv"),
        ("application/json", "text/html, text/csv;q=0.1", "text/csv"),
        ("application/json", "text/*", "text/csv"),
        ("application/json", "application/JSON;verbose=True", "application/json"),
        ("application/json", "application/json;q=0.1, text/csv;q=0.2", "text/csv"),
        ("application/json", "application/json;q=0, */*;q=0.1", "application/json"),
        (LINES, "*/*", LINES),
        (LINES, "application/*", LINES),
        (LINES, "application/jsonl", "application/jsonl"),
        (LINES, "application/json", "application/json"),
        ("text/csv", "*/*", "application/json"),
        ("text/csv", "text/csv", "text/csv"),
        ("text/csv", LINES, LINES),
    ],
)
def test_accept_chooses_the_form(texts, content_type, accept, given):
    body = {"application/json": '{"inputs": ["a"]}', LINES: '"a"', "text/csv": "inputs\na\n"}[content_type]
    response = ask(texts, body, content_type, accept)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == given


def test_forms_there_are_none_of(client, refused):
    refused(ask(client, "a", "application/x-npy"), 415, "application/x-npy", "application/json", "text/csv")
    refused(ask(client, "a", ";"), 400)
    refused(ask(client, '{"inputs": "a"}', "application/json", "image/png"), 406, "image/png", "text/csv")
    refused(ask(client, '{"inputs": "a"}', "application/json", "application/json;q=0"), 406)


def test_bounds_hold_for_every_form(client, refused):
    many = 300
    refused(ask(client, '"a"\n' * many, LINES), 413, "300")
    refused(ask(client, "inputs\n" + "a\n" * many, "text/csv"), 413, "300")
    refused(ask(client, "inputs\n" + "a," * (1 << 20), "text/csv"), 413, "longer")
