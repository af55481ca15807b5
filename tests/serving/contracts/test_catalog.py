import pytest
from starlette.routing import compile_path

from hfpc.serving import hosting
from hfpc.serving.contracts import catalog
from tests.serving.apps import serving

PREDICT_ROUTES = ["", "/predict_custom", "/", "/invocations", "/score", "/v2/models/tweets/infer", "/health"]
HEALTH_ROUTES = ["", "/h", "/", "/ping", "/v2/health/live", "/live", "/v1/models"]


def platform(predict: str, health: str) -> hosting.Hosting:
    return hosting.from_environment({"AIP_PREDICT_ROUTE": predict, "AIP_HEALTH_ROUTE": health})


@pytest.mark.parametrize("predict", PREDICT_ROUTES)
@pytest.mark.parametrize("health", HEALTH_ROUTES)
def test_no_two_routes_are_the_same(predict, health):
    found = platform(predict, health)
    routes = [("POST", contract.path) for contract in catalog.contracts(found)]
    routes += [("GET", probe.path) for probe in catalog.probes(found)]
    # What placeholders are called makes no difference.
    shapes = [(method, compile_path(path)[1]) for method, path in routes]
    assert len(set(routes)) == len(set(shapes)) == len(routes)


@pytest.mark.parametrize("predict", ["/predict_custom", "/", "/invocations", "/v1/models/tweets:predict"])
def test_vertex_has_the_path_it_was_told(model, predict):
    with serving(model, environment={"AIP_PREDICT_ROUTE": predict, "AIP_HEALTH_ROUTE": "/live"}) as client:
        assert client.post(predict, json={"instances": ["a"]}).json().keys() == {"predictions"}
        assert client.get("/live").status_code == 200


def test_readiness_is_told_where_vertex_asks_even_if_that_is_a_path_of_liveness():
    [asked] = [probe for probe in catalog.probes(platform("", "/live")) if probe.path == "/live"]
    assert asked.needs_model
