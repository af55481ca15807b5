"""The golden requests that are stored with a model, replayed on every route that serves it."""

import pytest

from hfpc import golden, tasks
from hfpc.serving import hosting
from hfpc.serving.contracts import catalog
from tests.serving.apps import serving
from tests.serving.contracts.adapters import ADAPTERS

MODELS = {"text-classification": "model", "token-classification": "tagging_model"}


@pytest.fixture(scope="module", params=MODELS)
def served(request):
    """The task, the golden requests and a client of each model's server."""
    folder = request.getfixturevalue(MODELS[request.param])
    with serving(folder) as client:
        yield tasks.get(request.param), golden.read(folder), client


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_the_golden_requests_are_answered_alike_on_every_route(served, adapter):
    task, requests, client = served
    inputs = [request["inputs"] for request in requests]
    response = client.post(adapter.path, content=adapter.body(inputs), headers=adapter.headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == adapter.accept
    responses = adapter.read(response.text)
    assert golden.differences(task, requests, responses) == []
    for request, given in zip(requests, responses, strict=True):
        scores = [part["score"] for part in request["response"]][: len(given)]
        # The tiny models' answers lie this close to each other: a looser comparison would not see two of them swapped.
        assert [part["score"] for part in given] == pytest.approx(scores, abs=2e-6)


def test_every_contract_of_these_tasks_is_replayed():
    contracts = catalog.contracts(hosting.from_environment({}))
    asked = {contract.path for contract in contracts if not contract.tasks or set(contract.tasks) & set(MODELS)}
    assert asked == {adapter.contract for adapter in ADAPTERS}
