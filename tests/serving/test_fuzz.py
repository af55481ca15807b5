"""Thousands of requests that schemathesis makes from the server's own OpenAPI document, over a socket."""

import http.client
import json
from collections import Counter
from contextlib import nullcontext, suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from tests.serving.processes import serving

LEAST_REQUESTS = 2500
"""Requests to the server of each task."""

EXAMPLES = 60
"""Requests of each kind to each route: those that keep to the document, and those that do not."""

FEW = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Client:
    """Sends requests and counts the answers; one connection, made again where the server ended it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.statuses: Counter = Counter()
        self.failures: list[str] = []

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        self.statuses[response.status] += 1
        if response.status >= 500 and response.status != 503:
            self.failures.append(f"{response.status} for {method} {path} {headers} {body!r}")
        if response.status >= 400 and method != "HEAD":
            assert json.loads(content)["error"], (method, path, content)


def send_cases(client: Client, url: str) -> None:
    """Requests to every route of the document."""
    import requests
    import schemathesis
    from schemathesis import GenerationMode

    @schemathesis.serializer("application/jsonlines")
    def as_it_is(context, value) -> dict:
        return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")}

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case) -> None:
                prepared = requests.Request(**case.as_transport_kwargs(base_url=url)).prepare()
                body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
                client.send(prepared.method, prepared.path_url, body, dict(prepared.headers))

            # No request contradicts the document of a route that takes nothing.
            with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():
                send()


def send_damaged(client: Client, url: str, count: int) -> None:
    """The examples of the document with bytes changed, cut, doubled or put in, to every route that takes a body."""
    import requests

    document = requests.get(f"{url}/openapi.json", timeout=60).json()
    asked = []
    for path, item in document["paths"].items():
        for media_type, body in item.get("post", {}).get("requestBody", {}).get("content", {}).items():
            example = body["example"]
            text = example if isinstance(example, str) else json.dumps(example)
            names = {one["name"]: one["schema"].get("enum", ["1"])[0] for one in item["post"]["parameters"]}
            asked.append((path.format(**names), media_type, text.encode()))
    place = st.integers(0, 200)
    change = st.tuples(st.sampled_from(["cut", "double", "insert", "replace"]), place, place, st.binary(max_size=6))

    @settings(FEW, max_examples=count)
    @given(request=st.sampled_from(asked), changes=st.lists(change, min_size=1, max_size=4))
    def send(request, changes) -> None:
        path, media_type, body = request
        client.send("POST", path, damaged(body, changes), {"Content-Type": media_type})

    send()


def damaged(body: bytes, changes) -> bytes:
    for kind, first, length, new in changes:
        first %= len(body) + 1
        last = first + length % 9
        middle = {"cut": b"", "double": body[first:last] * 2, "insert": new + body[first:last], "replace": new}[kind]
        body = body[:first] + middle + body[last:]
    return body


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "tagging_model", "language_model"])
def test_no_request_makes_the_server_fail(request, tmp_path, kind):
    with serving(request.getfixturevalue(kind), tmp_path, "--no-log-requests") as server:
        client = Client(server.port)
        send_cases(client, server.url)
        by_document = client.statuses.total()
        send_damaged(client, server.url, max(500, LEAST_REQUESTS - by_document))
        assert server.process.poll() is None
    print(f"{client.statuses.total()} requests, {by_document} of them from the document: {dict(client.statuses)}")
    assert not client.failures, client.failures[:5]
    assert client.statuses.total() >= LEAST_REQUESTS
    assert client.statuses[200] > 100 and client.statuses[400] > 100
