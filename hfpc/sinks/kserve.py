"""KServe: deploying a model as an InferenceService, asking it, and taking it away again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hfpc import storage
from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks import kserve_predict, kserve_rollout, kserve_status
from hfpc.sinks.kserve_service import (
    DEPLOYMENT,
    INFERENCE_SERVICE,
    DeployKserveConfig,
    extra_settings,
    service,
)
from hfpc.sinks.kubeflow_registry import location
from hfpc.sinks.kubernetes_calls import check_name, namespace, reaching
from hfpc.sinks.patience import Patience

__all__ = [
    "DeployKserveConfig",
    "KserveEndpoint",
    "UndeployKserveConfig",
    "check_serves",
    "deploy",
    "extra_settings",
    "location",
    "predict",
    "undeploy",
]

PLATFORM = "kserve"


@dataclass(frozen=True, kw_only=True)
class UndeployKserveConfig:
    """Which service is meant.

    Attributes:
        name: Name of the InferenceService, as it was deployed.
        namespace: Namespace; "" for the one that this code runs in, or that the kubeconfig names.

    Raises:
        ArgumentError: A value cannot be used.
    """

    name: str
    namespace: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "name", 40)
        if self.namespace:
            check_name(self.namespace, "namespace", 63)


@dataclass(frozen=True, kw_only=True)
class KserveEndpoint:
    """A model that an InferenceService serves.

    Attributes:
        name: Name of the InferenceService, and of the model in it.
        namespace: Its namespace.
        url: Where it answered when it was deployed: in a pod its address in the cluster, unless an ingress was given.
        ingress: `http://HOST:PORT` that requests are sent to with the host name of `url`; "" for `url` itself.
        runtime: What serves it, "hfpc" or "huggingface".
        artifact_uri: The model's folder, with its golden requests.
        storage_uri: What KServe loads.
        fingerprint: SHA-256 of weights, configuration and tokenizer files.
        deployment: What tells this deployment from others.
        previous: The same of what served before; "" for none.
        moved: Whether deploying changed the service.
    """

    name: str
    namespace: str
    url: str
    ingress: str
    runtime: str
    artifact_uri: str
    storage_uri: str
    fingerprint: str
    deployment: str
    previous: str
    moved: bool

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its artifact."""
        return {"platform": PLATFORM, **asdict(self)}


def deploy(model: str, config: DeployKserveConfig, patience: Patience | None = None) -> KserveEndpoint:
    """Deploys a model as an InferenceService that gets traffic once the model has answered rightly.

    Where the service serves already, the new model is first tried at a service of its own, named NAME-trial, and sent
    the golden requests kept with it. Then the service is changed, with a share of the traffic first if that is asked
    for. On any failure the service is what it was before, and what was made is removed. Deploying what serves already
    changes nothing; a step that is run again goes on where it stopped.

    Args:
        model: Path or URI of the model's folder, from which its golden requests are read.
        config: Where to, and how.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used, or the model does not lie where KServe can read it.
        DataError: The folder holds no model, or no golden requests.
        EndpointError: The model could not be loaded, or answered otherwise than when it was made.
        HfpcError: The cluster refused or did not answer.
    """
    storage_uri = config.storage_uri or _stored(model)
    fingerprint, expected = kserve_predict.read_model(model)
    kserve_predict.check_runtime(config.runtime, expected)
    space = namespace(config.namespace, patience)
    body = service(config, storage_uri, fingerprint)
    rollout = kserve_rollout.Rollout(namespace=space, config=config, body=body, expected=expected)
    with reaching(f"deploying {config.name}", INFERENCE_SERVICE):
        outcome = kserve_rollout.roll_out(rollout)
    return KserveEndpoint(
        name=config.name,
        namespace=space.name,
        url=outcome.url,
        ingress=config.ingress,
        runtime=config.runtime,
        artifact_uri=model,
        storage_uri=storage_uri,
        fingerprint=fingerprint,
        deployment=body["metadata"]["labels"][DEPLOYMENT],
        previous=outcome.previous,
        moved=outcome.moved,
    )


def predict(
    endpoint: Mapping[str, Any],
    inputs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    patience: Patience | None = None,
) -> list[Any]:
    """A response for each input from a service.

    Args:
        endpoint: Metadata of an endpoint from `deploy`.
        inputs: Inputs of the model's task.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`.
        patience: How long is waited; None takes the defaults.

    Raises:
        EndpointError: The service refused, did not answer, or answered in another form.
    """
    url, name, ingress = (str(endpoint[key]) for key in ("url", "name", "ingress"))
    return kserve_predict.ask(url, name, inputs, parameters, ingress=ingress, patience=patience)


def check_serves(endpoint: Mapping[str, Any], patience: Patience | None = None) -> None:
    """Raises EndpointError unless a service still serves what it was deployed with, and that alone.

    Args:
        endpoint: Metadata of an endpoint from `deploy`.
        patience: How long is waited; None takes the defaults.

    Raises:
        EndpointError: It is gone, or was deployed again since.
        HfpcError: The cluster refused or did not answer.
    """
    name, space = str(endpoint["name"]), namespace(str(endpoint["namespace"]), patience)
    with reaching(f"testing {name}", INFERENCE_SERVICE):
        found = space.get(INFERENCE_SERVICE, name)
    if found is None:
        raise EndpointError(f"{name} is gone: it was undeployed since")
    if kserve_status.deployment_of(found) != endpoint["deployment"] or not kserve_status.is_tested(found):
        raise EndpointError(f"{name} serves another deployment, or is on its way to one: it was deployed again since")


def undeploy(config: UndeployKserveConfig, patience: Patience | None = None) -> bool:
    """Deletes an InferenceService that was made here, with what it was tried at.

    Args:
        config: Which one.
        patience: How long is waited; None takes the defaults.

    Returns:
        Whether there was one.

    Raises:
        EndpointError: It was not made by this library.
        HfpcError: The cluster refused or did not answer.
    """
    space = namespace(config.namespace, patience)
    with reaching(f"undeploying {config.name}", INFERENCE_SERVICE):
        return kserve_rollout.remove_service(space, config.name)


def _stored(model: str) -> str:
    """The model's own URI, if KServe can read it."""
    if (uri := storage.store_uri(model)).startswith(("gs://", "s3://")):
        return uri.rstrip("/")
    fix = f"the model lies at {model}, which KServe cannot read: register it, or say where a copy of it lies"
    raise ArgumentError("storage_uri", "", fix)
