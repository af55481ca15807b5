"""No client can make the server fail, whatever it sends: valid requests with parts replaced, and random bytes."""

import json
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfpc.serving import hosting, openapi
from hfpc.serving.contracts import catalog
from tests.serving.contracts.adapters import ADAPTERS, SAGEMAKER

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True, database=None)
INPUTS = ["i love this day", "ada lovelace was in paris"]
WORDS = st.sampled_from(
    "inputs instances parameters text input_data input_string params columns index data id outputs name shape datatype "
    "BYTES FP32 response label score content_type binary_data_size top_k function_to_apply softmax none sigmoid "
    "aggregation_strategy simple first ignore_labels O stream model".split()
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 3)
    | st.floats()
    | st.text(max_size=20)
    | WORDS
    | st.sampled_from(["", " ", "ada", "\x00", "\ud800", "\u200b", "a" * 5000, 10**400, -(10**18), 1e308])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["top_k", "function_to_apply", "aggregation_strategy", "ignore_labels"]), VALUES, max_size=3
)


@st.composite
def changed(draw: Any, valid: Any) -> Any:
    """A valid JSON value with up to three of its parts, or itself, replaced, removed, added or moved a level down."""
    value = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        value = draw(changed_once(value))
    return value


@st.composite
def changed_once(draw: Any, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(VALUES, st.just([value]), st.just({"inputs": value})))
    key = draw(st.sampled_from(sorted(value))) if isinstance(value, dict) else draw(st.integers(0, len(value) - 1))
    made = dict(value) if isinstance(value, dict) else list(value)
    action = draw(st.sampled_from(["change", "change", "change", "remove", "add"]))
    if action == "remove":
        del made[key]
    elif action == "change":
        made[key] = draw(changed_once(value[key]))
    elif isinstance(made, dict):
        made[draw(WORDS)] = draw(PARAMETERS | VALUES)
    else:
        made.insert(key, draw(VALUES))
    return made


@st.composite
def damaged(draw: Any, valid: bytes) -> bytes:
    """A valid body with up to four places of it overwritten, cut out or doubled."""
    body = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 9))
        piece = st.binary(max_size=4) | st.sampled_from([b'"', b"\n", b",", b"{", b"]", b"\\", bytes(body[start:end])])
        body[start:end] = draw(piece)
    return bytes(body)


@cache
def documented(contract: str) -> set[int]:
    """Statuses that the OpenAPI document has for a contract."""
    platform = hosting.from_environment({})
    found = openapi.document(catalog.contracts(platform), catalog.probes(platform))
    return {int(status) for status in found["paths"][contract]["post"]["responses"]}


def check(response: Any, contract: str, context: Any) -> None:
    assert response.status_code in documented(contract) - {503}, (context, response.status_code, response.text)
    if response.status_code != 200:
        assert response.json().keys() == {"error"} and response.json()["error"], context


JSON_ADAPTERS = [adapter for adapter in ADAPTERS if adapter.content_type == "application/json"]


@pytest.mark.parametrize("adapter", JSON_ADAPTERS, ids=lambda adapter: adapter.name)
def test_valid_requests_with_parts_replaced(client, adapter):
    valid = {"parameters": {}, **json.loads(adapter.body(INPUTS))}
    seen = set()

    @EXAMPLES
    @given(changed(valid))
    def ask(content: Any) -> None:
        response = client.post(adapter.path, content=json.dumps(content), headers=adapter.headers)
        check(response, adapter.contract, content)
        seen.add(response.status_code)

    ask()
    assert seen >= {200, 400}


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_damaged_bodies(client, adapter):
    seen = set()

    @EXAMPLES
    @given(st.binary(max_size=200) | damaged(adapter.body(INPUTS).encode()))
    def ask(body: bytes) -> None:
        response = client.post(adapter.path, content=body, headers=adapter.headers)
        check(response, adapter.contract, body)
        seen.add(response.status_code)

    ask()
    assert seen >= {200, 400}


MEDIA_TYPES = st.sampled_from(
    "application/json application/jsonlines text/csv text/* */* application/* image/png ; , q=1 ;q=0 ;q=nan "
    ";q=-1 ;q=1e999 ; charset=latin-1".split()
) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)


def test_any_headers_with_any_form(client):
    bodies = [adapter.body(INPUTS).encode() for adapter in ADAPTERS if adapter.contract == SAGEMAKER]
    header = st.lists(MEDIA_TYPES, max_size=4).map("".join)
    seen = set()

    @EXAMPLES
    @given(st.sampled_from(bodies) | st.binary(max_size=20), header, header)
    def ask(body: bytes, content_type: str, accept: str) -> None:
        response = client.post(SAGEMAKER, content=body, headers={"content-type": content_type, "accept": accept})
        check(response, SAGEMAKER, (body, content_type, accept))
        seen.add(response.status_code)

    ask()
    assert seen == {200, 400, 406, 415}


@pytest.mark.parametrize("adapter", [adapter for adapter in ADAPTERS if "{" in adapter.contract], ids=lambda a: a.name)
def test_any_path(client, adapter):
    body = adapter.body(INPUTS)
    part = st.text(st.characters(codec="ascii") | st.sampled_from("/%:@\u00e9"), max_size=8)

    @EXAMPLES
    @given(part, part)
    def ask(name: str, version: str) -> None:
        path = adapter.contract.format(name=quote(name, safe=":@%"), version=quote(version, safe=""))
        for response in (client.post(path, content=body, headers=adapter.headers), client.get(path)):
            assert response.status_code in (200, 404, 405), path

    ask()


@pytest.mark.parametrize("depth", [30, 62, 63, 64, 65, 100, 300, 900, 980, 990, 1000, 5000])
@pytest.mark.parametrize("adapter", JSON_ADAPTERS, ids=lambda adapter: adapter.name)
def test_deeply_nested_bodies(client, adapter, depth):
    for text in (adapter.body(["DEEP"]), json.dumps({**json.loads(adapter.body(["a"])), "parameters": {"x": "DEEP"}})):
        for left, right in (("[", "]"), ('{"inputs":', "}")):
            body = text.replace('"DEEP"', left * depth + "1" + right * depth)
            response = client.post(adapter.path, content=body, headers=adapter.headers)
            assert response.status_code == 400, response.text
