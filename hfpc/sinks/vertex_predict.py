"""Asking a Vertex AI endpoint: at the address of its region, or a dedicated one at its own."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hfpc.errors import EndpointError
from hfpc.sinks.vertex_calls import Place

SPREADING = 900.0
"""Seconds within which all of a region sends requests by a new traffic split: Google asks for 10 to 15 minutes."""

_Answer = tuple[Any, str]
"""The predictions, and the id of the deployed model that gave them."""


def ask(
    place: Place, resource: str, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None
) -> tuple[list[Any], set[str]]:
    """A response for each input, and the ids of the models that gave them.

    Raises:
        EndpointError: The endpoint answered in another form.
    """
    one = asker(place, resource)
    answers = [one(item, parameters or {}) for item in inputs]
    return [response for response, _ in answers], {model for _, model in answers}


def asker(place: Place, resource: str) -> Callable[[Any, Mapping[str, Any]], _Answer]:
    """What sends one input with parameters to an endpoint; gives its response and the id of the model that gave it.

    A dedicated endpoint answers at its own address only, other endpoints at their region's only.
    """
    endpoint = place.ask(place.endpoints.get_endpoint, {"name": resource})
    send: Callable[..., _Answer] = _send
    if endpoint.dedicated_endpoint_enabled:
        send = partial(_send_to, f"https://{endpoint.dedicated_endpoint_dns}/v1/{resource}:predict")

    def one(item: Any, parameters: Mapping[str, Any]) -> _Answer:
        predictions, model = send(place, resource, item, parameters)
        if not isinstance(predictions, list) or len(predictions) != 1:
            raise EndpointError(f"{resource} did not give one prediction for one instance")
        return predictions[0], model

    return one


def answer_of(
    model: str, one: Callable[[Any, Mapping[str, Any]], _Answer], item: Any, place: Place, resource: str
) -> Any:
    """The response of a certain model, which is to have all traffic: while that spreads, another may answer.

    Args:
        model: Id of the deployed model.
        one: From `asker`.
        item: The input.
        place: The region.
        resource: Resource name of the endpoint.

    Raises:
        EndpointError: Another still answered when traffic must have spread.
    """
    for _ in place.patience.polls(SPREADING):
        response, by = one(item, {})
        if by == model:
            return response
    raise EndpointError(
        f"{resource} is answered by its deployed model {by}, and after {SPREADING:g} seconds not by {model}"
    )


def _send(place: Place, resource: str, item: Any, parameters: Mapping[str, Any]) -> _Answer:
    from google.cloud.aiplatform_v1 import PredictRequest
    from google.protobuf import json_format  # type: ignore[import-untyped]

    request = PredictRequest(endpoint=resource)
    json_format.ParseDict(item, request._pb.instances.add())
    if parameters:
        json_format.ParseDict(dict(parameters), request._pb.parameters)
    answer = place.ask(place.predictions.predict, request)
    return json_format.MessageToDict(answer._pb).get("predictions"), answer.deployed_model_id


def _send_to(url: str, place: Place, resource: str, item: Any, parameters: Mapping[str, Any]) -> _Answer:
    from google.api_core.exceptions import from_http_response

    def post(*, request: dict[str, Any], retry: None, timeout: float) -> Any:
        response = place.session.post(url, json=request, timeout=timeout)
        if not response.ok:
            raise from_http_response(response)  # type: ignore[no-untyped-call]
        return response.json()

    content = {"instances": [item], **({"parameters": dict(parameters)} if parameters else {})}
    answer = place.ask(post, content)
    if not isinstance(answer, dict):
        raise EndpointError(f"{resource} did not answer with a JSON object")
    return answer.get("predictions"), str(answer.get("deployedModelId", ""))
