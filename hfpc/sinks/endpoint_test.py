"""The test of an endpoint, on whatever platform it is."""

from collections.abc import Mapping
from typing import Any

from hfpc import aws, google_cloud
from hfpc.errors import ArgumentError, EndpointError
from hfpc.serving import test_endpoint as on_this_machine
from hfpc.serving.test_endpoint import EndpointTest, TestEndpointConfig
from hfpc.sinks import kserve, kserve_predict, sagemaker, vertex_predict, vertex_rollout
from hfpc.sinks.patience import Patience
from hfpc.sinks.sagemaker_calls import Place as Region
from hfpc.sinks.sagemaker_endpoints import SagemakerEndpoint
from hfpc.sinks.sagemaker_register import PLATFORM as SAGEMAKER
from hfpc.sinks.sagemaker_requests import ask, golden_requests
from hfpc.sinks.vertex_calls import place_of
from hfpc.sinks.vertex_models import PLATFORM as VERTEX

__all__ = ["EndpointTest", "TestEndpointConfig", "test_endpoint"]

_ASYNC = Patience(total=1800.0, pause=0.25)
"""For one answer of an asynchronous endpoint: one that has scaled to no instance takes minutes to start one, and what
has answered is looked for often, as the looks are part of the time that is measured."""


def test_endpoint(
    config: TestEndpointConfig,
    endpoint: Mapping[str, Any],
    patience: Patience | None = None,  # noqa: PT028 this is no test of pytest's
) -> EndpointTest:
    """Sends a model's golden requests to its endpoint.

    Args:
        config: What is asked of it.
        endpoint: Metadata of an artifact from `deploy_local`, `deploy_vertex_endpoint`, `deploy_sagemaker_endpoint` or
            `deploy_kserve`.
        patience: How long SageMaker and KServe are waited for; None takes the defaults, and means at most half an hour
            for an answer of an asynchronous endpoint of SageMaker.

    Raises:
        ArgumentError: It is no such endpoint, it cannot be rolled back and this was asked for, or its task has no
            golden requests.
        EndpointError: It does not answer, an answer differs in label, or it is too slow.
        HfpcError: The cloud refused or did not answer.
    """
    if endpoint.get("platform") == SAGEMAKER:
        return _test_on_sagemaker(config, sagemaker.deployed(endpoint), patience or _ASYNC)
    if endpoint.get("platform") == VERTEX:
        return _test_on_vertex(config, endpoint)
    if endpoint.get("platform") == kserve.PLATFORM:
        return _test_on_kserve(config, endpoint, patience)
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
        place, model = place_of(resource, "endpoint"), endpoint["deployed_model"]
        traffic = dict(place.ask(place.endpoints.get_endpoint, {"name": resource}).traffic_split)
        if traffic.get(model) != 100:
            raise EndpointError(
                f"{resource} has the traffic {traffic}, not all at {model}: it was deployed again since"
            )
        one = vertex_predict.asker(place, resource)

        def ask(inputs: list[Any]) -> list[Any]:
            return [vertex_predict.answer_of(model, one, item, place, resource) for item in inputs]

        return on_this_machine.measure(config, ask, expected.task, expected.requests, resource)


def _test_on_sagemaker(config: TestEndpointConfig, endpoint: SagemakerEndpoint, patience: Patience) -> EndpointTest:
    if config.roll_back:
        fix = (
            "deploy_sagemaker_endpoint tests before it moves the traffic, and then takes away what served before: "
            "leave it"
        )
        raise ArgumentError("roll_back", True, fix)
    place, target = Region(region=endpoint.region, patience=patience), f"endpoint {endpoint.name}"
    with aws.reaching(f"testing the {target}"):
        expected = golden_requests(place, endpoint.model_data, endpoint.task, endpoint.family)
        if expected is None:
            fix = f"models for {endpoint.task} have no golden requests to test an endpoint with: leave the test out"
            raise ArgumentError("endpoint", endpoint.name, fix)
        _check_serves(place, endpoint)
        result = on_this_machine.measure(
            config,
            lambda inputs: ask(
                place,
                endpoint.name,
                inputs,
                expected.parameters,
                output_uri=endpoint.output_uri,
                kms_key=endpoint.kms_key,
            ),
            expected.task,
            expected.requests,
            target,
        )
        _check_serves(place, endpoint)  # SageMaker does not say which configuration gave an answer
    return result


def _check_serves(place: Region, endpoint: SagemakerEndpoint) -> None:
    """Raises EndpointError unless the endpoint still has the configuration that is tested."""
    found = place.endpoint(endpoint.name)
    if found is None:
        raise EndpointError(f"endpoint {endpoint.name} is gone: it was undeployed since")
    if found["EndpointConfigName"] != endpoint.config:
        told = f"has the configuration {found['EndpointConfigName']} by now and not {endpoint.config}"
        raise EndpointError(f"endpoint {endpoint.name} {told}: it was deployed again since")


def _test_on_kserve(config: TestEndpointConfig, endpoint: Mapping[str, Any], patience: Patience | None) -> EndpointTest:
    if config.roll_back:
        fix = "deploy_kserve tests before it moves the traffic: leave it"
        raise ArgumentError("roll_back", True, fix)
    wanted = ("name", "namespace", "url", "runtime", "artifact_uri", "deployment")
    missing = [key for key in (*wanted, "ingress") if key not in endpoint or (key in wanted and not endpoint[key])]
    if missing:
        fix = f"give an endpoint from deploy_kserve; this one has no {', '.join(missing)} in its metadata"
        raise ArgumentError("endpoint", dict(endpoint), fix)
    _, expected = kserve_predict.read_model(endpoint["artifact_uri"])
    if expected is None:
        raise ArgumentError("endpoint", endpoint["name"], "give one whose model has golden requests")
    numbers = endpoint["runtime"] == "huggingface"

    def ask(inputs: list[Any]) -> list[Any]:
        responses = kserve.predict(endpoint, inputs, patience=patience)
        return kserve_predict.labelled(responses, expected) if numbers else responses

    kserve.check_serves(endpoint, patience)
    result = on_this_machine.measure(config, ask, expected.task, expected.requests, endpoint["url"])
    kserve.check_serves(endpoint, patience)  # an answer does not say which deployment gave it
    return result
