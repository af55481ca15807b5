"""The test of an endpoint, on whatever platform it is."""

from collections.abc import Mapping
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, EndpointError
from hfpc.serving import test_endpoint as on_this_machine
from hfpc.serving.test_endpoint import EndpointTest, TestEndpointConfig
from hfpc.sinks import vertex_predict, vertex_rollout
from hfpc.sinks.vertex_calls import place_of
from hfpc.sinks.vertex_models import PLATFORM as VERTEX

__all__ = ["EndpointTest", "TestEndpointConfig", "test_endpoint"]


def test_endpoint(config: TestEndpointConfig, endpoint: Mapping[str, Any]) -> EndpointTest:
    """Sends a model's golden requests to its endpoint.

    Args:
        config: What is asked of it.
        endpoint: Metadata of an artifact from `deploy_local` or `deploy_vertex_endpoint`.

    Raises:
        ArgumentError: It is no such endpoint, or it cannot be rolled back and this was asked for.
        EndpointError: It does not answer, an answer differs in label, or it is too slow.
        HfpcError: Google Cloud refused or did not answer.
    """
    if endpoint.get("platform") == VERTEX:
        return _test_on_vertex(config, endpoint)
    return on_this_machine.test_endpoint(config, endpoint)


test_endpoint.__test__ = False  # type: ignore[attr-defined]  # pytest takes a function of this name for a test


def _test_on_vertex(config: TestEndpointConfig, endpoint: Mapping[str, Any]) -> EndpointTest:
    if config.roll_back:
        fix = (
            "deploy_vertex_endpoint tests before it moves the traffic, and then takes away what served before: leave it"
        )
        raise ArgumentError("roll_back", True, fix)
    missing = [key for key in ("resourceName", "artifact_uri", "deployed_model") if not endpoint.get(key)]
    if missing:
        fix = f"give an endpoint from deploy_vertex_endpoint; this one has no {', '.join(missing)} in its metadata"
        raise ArgumentError("endpoint", dict(endpoint), fix)
    resource, expected = endpoint["resourceName"], vertex_rollout.golden_of(endpoint["artifact_uri"])
    with google_cloud.reaching(f"testing {resource}"):
        one = vertex_predict.asker(place_of(resource, "endpoint"), resource)

        def ask(inputs: list[Any]) -> list[Any]:
            answers = [one(item, {}) for item in inputs]
            others = {model for _, model in answers} - {endpoint["deployed_model"]}
            if others:
                told = f"is answered by its deployed model {min(others)} and not by {endpoint['deployed_model']} only"
                raise EndpointError(f"{resource} {told}: it was deployed again since")
            return [response for response, _ in answers]

        return on_this_machine.measure(config, ask, expected.task, expected.requests, resource)
