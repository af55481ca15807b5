"""The OpenAPI document is valid and true, and the page that shows it loads nothing from elsewhere."""

import re

import openapi_spec_validator
import pytest
from openapi_schema_validator import OAS30Validator
from starlette.testclient import TestClient

from hfpc.serving.contracts import openai
from tests.serving.apps import application, serving

LINES, CSV, EVENTS = "application/jsonlines", "text/csv", "text/event-stream"


@pytest.fixture(scope="module")
def client(model):
    with serving(model) as client:
        yield client


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").json()


def operations(document, method):
    return [(path, item[method]) for path, item in document["paths"].items() if method in item]


def filled(path, operation):
    """The path with the first value that each placeholder may have."""
    return path.format(**{parameter["name"]: parameter["schema"]["enum"][0] for parameter in operation["parameters"]})


def test_it_is_valid_with_a_model_and_before(document):
    openapi_spec_validator.validate(document)
    cold = TestClient(application(None)).get("/openapi.json").json()
    openapi_spec_validator.validate(cold)
    assert cold["paths"].keys() > document["paths"].keys()


def test_it_has_every_route_but_those_of_other_tasks(document, client):
    routes = {
        (method, route.path)
        for route in client.app.routes
        for method in route.methods - {"HEAD"}
        if not re.match("/docs|/openapi.json", route.path)
    }
    others = {("POST", contract.path) for contract in openai.CONTRACTS}
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert others and documented == routes - others


def test_every_example_fits_its_schema_and_is_answered_as_the_document_says(document, client):
    asked = set()
    for path, operation in operations(document, "post"):
        for media_type, body in operation["requestBody"]["content"].items():
            OAS30Validator(body["schema"]).validate(body["example"])
            content = {"json": body["example"]} if media_type == "application/json" else {"content": body["example"]}
            for accepted, answer in operation["responses"]["200"]["content"].items():
                headers = {"content-type": media_type, "accept": accepted}
                response = client.post(filled(path, operation), headers=headers, **content)
                assert response.status_code == 200, (path, media_type, response.text)
                OAS30Validator(answer["schema"]).validate(response.json() if accepted.endswith("json") else "")
                asked.add((path, media_type))
    assert {media_type for _, media_type in asked} == {"application/json", LINES, CSV}
    assert len({path for path, _ in asked}) >= 7


def test_examples_of_answers_look_as_answers_do(document, client):
    for path, operation in operations(document, "post"):
        example = operation["requestBody"]["content"]["application/json"]["example"]
        answer = client.post(filled(path, operation), json=example).json()
        assert shape(answer) == shape(operation["responses"]["200"]["content"]["application/json"]["example"]), path


def shape(value):
    """The value with every string, and number, replaced by its type."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def test_every_probe_is_answered(document, client):
    for path, operation in operations(document, "get"):
        response = client.get(filled(path, {"parameters": [], **operation}))
        assert response.status_code == 200, path
        [media_type] = operation["responses"]["200"]["content"]
        assert response.headers["content-type"].startswith(media_type)


def test_the_page_is_served_with_all_it_needs(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    needed = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
    assert sorted(needed) == ["docs/swagger-ui-bundle.js", "docs/swagger-ui.css"]
    for name in needed:
        response = client.get(f"/{name}")
        assert response.status_code == 200 and len(response.content) > 10_000
    assert client.get("/docs/index.html").status_code == 404
