"""This machine: the local registry, whose aliases `hfpc serve` follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import golden, manifest
from hfpc import registry as local_registry
from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks import Endpoint, RegisteredModel


@dataclass(frozen=True, kw_only=True)
class RegisterLocalModelConfig:
    """Where a model is registered.

    Attributes:
        name: Name of the model: letters, digits, `-`, `_`, `.`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: A value cannot be used.
    """

    name: str
    registry: str = ""

    def __post_init__(self) -> None:
        local_registry.check_name(self.name)
        local_registry.folder(self.registry)


def register(model: Path, predictions: Path | None, *, name: str, registry: str = "") -> RegisteredModel:
    """Copies a model into the local registry, with its test metrics in `hfpc.json` and on its card.

    Args:
        model: A model folder.
        predictions: The model's predictions from `evaluate`; None adds no metrics.
        name: Name of the model in the registry.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: An argument cannot be used, or the predictions are another model's.
        DataError: A folder does not hold what it should.
        ModelError: The copy differs from the model.
    """
    local_registry.check_name(name)
    fingerprint = local_registry.fingerprint(model)
    metrics = {} if predictions is None else _metrics(predictions, fingerprint)
    version = local_registry.register(model, name=name, registry=registry, metrics=metrics)
    return RegisteredModel(
        uri=str(local_registry.version_folder(name, version, registry)),
        registry=str(local_registry.folder(registry)),
        name=name,
        version=version,
        fingerprint=fingerprint,
    )


def registered(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The registry, name and version in the metadata of an artifact, as `deploy` takes them.

    Raises:
        ArgumentError: It is no artifact of `register_local_model`.
    """
    try:
        return {key: str(metadata[key]) for key in ("registry", "name", "version")}
    except KeyError as error:
        fix = f"give a model from register_local_model; this one has no {error} in its metadata"
        raise ArgumentError("registered", dict(metadata), fix) from None


def deploy(*, registry: str = "", name: str, version: str, alias: str = "champion") -> Endpoint:
    """Moves an alias to a version, once the version has answered its golden requests.

    Args:
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        name: Name of the model.
        version: The version that shall serve.
        alias: The alias to move.

    Raises:
        ArgumentError: An argument cannot be used, or there is no such version.
        EndpointError: A golden request was answered otherwise; the alias stays where it was.
    """
    local_registry.check_name(name)
    local_registry.check_alias(alias)
    local_registry.check_version(name, version, registry)
    _check_golden(local_registry.version_folder(name, version, registry))
    named, moved = local_registry.move_alias(name, alias, version, registry)
    return Endpoint(
        uri=str(local_registry.folder(registry) / name),
        registry=str(local_registry.folder(registry)),
        name=name,
        version=version,
        alias=alias,
        previous_version=named.previous,
        moved=moved,
    )


def predict(endpoint: Endpoint, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """A response for each input from the server of an endpoint; one is started if none runs.

    Raises:
        EndpointError: The server did not start or refused the request.
    """
    from hfpc.serving.predict import predict as ask

    target = f"{endpoint.name}@{endpoint.alias}"
    return ask(target, inputs, registry=endpoint.registry, parameters=parameters, served=True)


def undeploy(endpoint: Endpoint) -> None:
    """Moves the alias back to the version that served before, or removes it where there was none.

    An alias that somebody moved on since stays.
    """
    local_registry.restore_alias(
        endpoint.name, endpoint.alias, endpoint.version, endpoint.previous_version, endpoint.registry
    )


def _metrics(predictions: Path, fingerprint: str) -> dict[str, float]:
    """The metrics of an evaluation, prefixed by its split."""
    record = manifest.read(predictions, "predictions").predictions
    assert record is not None
    if record.model != fingerprint:
        raise ArgumentError("predictions", str(predictions), "they are of another model: evaluate this one")
    return {f"{record.split}/{metric}": value for metric, value in record.metrics.items()}


def _check_golden(model: Path) -> None:
    requests = golden.read(model)

    from hfpc.inference.predictor import Predictor

    predictor = Predictor(model)
    responses = predictor.respond([request["inputs"] for request in requests])
    different = golden.differences(predictor.task, requests, responses)
    if different:
        listed = "\n  ".join(different)
        raise EndpointError(f"{model} does not answer as when it was made, so no alias was moved:\n  {listed}")
