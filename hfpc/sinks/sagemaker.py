"""Amazon SageMaker: asking an endpoint, and taking it away again."""

from collections.abc import Mapping, Sequence
from typing import Any

from hfpc import aws
from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks import sagemaker_scaling as scaling
from hfpc.sinks.patience import Patience
from hfpc.sinks.sagemaker_calls import Place
from hfpc.sinks.sagemaker_changes import remove_endpoint, remove_hosting, remove_made
from hfpc.sinks.sagemaker_endpoints import SagemakerEndpoint
from hfpc.sinks.sagemaker_hosting import check_name
from hfpc.sinks.sagemaker_images import VLLM, request_parameters
from hfpc.sinks.sagemaker_register import PLATFORM
from hfpc.sinks.sagemaker_requests import ask, complete


def deployed(metadata: Mapping[str, Any]) -> SagemakerEndpoint:
    """The endpoint in the metadata of an artifact.

    Raises:
        ArgumentError: It is no artifact of `deploy_sagemaker_endpoint`.
    """
    names = SagemakerEndpoint.__dataclass_fields__
    try:
        if metadata.get("platform") != PLATFORM:
            raise TypeError
        return SagemakerEndpoint(**{name: metadata[name] for name in names if name in metadata})
    except TypeError:
        fix = "give an endpoint from deploy_sagemaker_endpoint"
        raise ArgumentError("endpoint", dict(metadata), fix) from None


def predict(
    endpoint: SagemakerEndpoint,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    patience: Patience | None = None,
) -> list[Any]:
    """A response for each input from an endpoint; an async one is asked by way of S3.

    Args:
        endpoint: The endpoint, from `deploy`.
        inputs: Inputs of the model's task; prompts for one that generates text.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`; they go before those that the container needs. vLLM
            takes those of OpenAI's completions, e.g. `{"max_tokens": 64}`.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: There are no inputs.
        EndpointError: The endpoint refused or answered in another form.
        HfpcError: AWS refused or did not answer.
    """
    if not inputs:
        raise ArgumentError("inputs", inputs, "give at least one")
    place = Place(region=endpoint.region, patience=patience or Patience())
    with aws.reaching(f"asking the endpoint {endpoint.name}"):
        given = {**request_parameters(endpoint.family, endpoint.task), **(parameters or {})}
        send = complete if endpoint.family == VLLM else ask
        return send(place, endpoint.name, inputs, given, output_uri=endpoint.output_uri, kms_key=endpoint.kms_key)


def undeploy(endpoint_name: str, region: str = "", patience: Patience | None = None) -> bool:
    """Removes an endpoint, its scaling, and the configurations and models that were made for it.

    Args:
        endpoint_name: Name of the endpoint.
        region: AWS region; "" means the environment's.
        patience: How long is waited; None takes the defaults.

    Returns:
        Whether there was an endpoint.

    Raises:
        ArgumentError: The name cannot be used, or there is no region.
        EndpointError: The endpoint was not made by this library.
        HfpcError: AWS refused or did not answer.
    """
    check_name(endpoint_name)
    place = Place(region=aws.region(region), patience=patience or Patience())
    with aws.reaching(f"undeploying the endpoint {endpoint_name}"):
        found = place.settled(endpoint_name)
        if found is not None and not place.is_ours(found["EndpointArn"], endpoint_name):
            fix = "undeploy it where it was made"
            raise EndpointError(f"endpoint {endpoint_name} was not made by this library: {fix}")
        scaling.remove(place, endpoint_name)  # also of an endpoint that was deleted elsewhere
        if found is not None:
            remove_endpoint(place, endpoint_name)
            remove_hosting(place, endpoint_name, found["EndpointConfigName"])
        remove_made(place, endpoint_name)
    return found is not None
