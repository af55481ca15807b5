"""A few predictions, wherever the model is: at a URL, in a folder, in the registry, being served."""

from collections.abc import Mapping, Sequence
from typing import Any

from hfpc import registry as local_registry
from hfpc.errors import ArgumentError
from hfpc.inference.plain_model import TEXT_GENERATION, manifest_of
from hfpc.serving.client import Client
from hfpc.serving.running import found_or_started


def predict(
    target: str,
    inputs: Sequence[Any],
    *,
    registry: str = "",
    parameters: Mapping[str, Any] | None = None,
    served: bool = False,
) -> list[Any]:
    """A response for each input, in the shape of the Hub's specification of the task.

    Args:
        target: URL of a server, a model folder, `NAME@ALIAS` or `NAME@VERSION`.
        inputs: What the model's task takes: texts.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`.
        served: Ask a server over HTTP, one that runs or one started for this, instead of loading
            the model into this process. A URL is always asked.

    Raises:
        ArgumentError: There is no such model, or an input or a parameter cannot be used.
        EndpointError: The server did not start, did not answer or refused the request.
    """
    if not inputs:
        raise ArgumentError("inputs", inputs, "give at least one")
    if target.startswith(("http://", "https://")):
        with Client(target) as client:
            return client.ask(inputs, parameters)
    if served:
        with found_or_started(target, registry) as url, Client(url) as client:
            return client.ask(inputs, parameters)
    folder = local_registry.locate(target, registry)
    if manifest_of(folder).task == TEXT_GENERATION:
        from hfpc.inference.generator import Generator

        return Generator(folder).respond(inputs, parameters or {})
    from hfpc.inference.predictor import Predictor

    return Predictor(folder).respond(inputs, parameters)
