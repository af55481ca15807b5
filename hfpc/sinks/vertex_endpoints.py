"""Vertex AI endpoints: deploying a registered model, asking it, and taking it away again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks import vertex_predict, vertex_rollout
from hfpc.sinks.patience import Patience
from hfpc.sinks.rare_settings import rare_settings
from hfpc.sinks.vertex_calls import MANAGED, Place, check_name, check_place, is_ours, place_of, resource_uri
from hfpc.sinks.vertex_containers import check_accelerator
from hfpc.sinks.vertex_encryption import check_key, encryption
from hfpc.sinks.vertex_machines import check_account, check_machine, machine_spec
from hfpc.sinks.vertex_models import PLATFORM
from hfpc.sinks.vertex_models import registered as registered_name

__all__ = [
    "DeployVertexEndpointConfig",
    "FindVertexChampionConfig",
    "UndeployVertexEndpointConfig",
    "VertexEndpoint",
    "champion",
    "deploy",
    "extra_settings",
    "place_of",
    "predict",
    "registered_name",
    "resource_uri",
    "undeploy",
]

RARE: dict[str, type] = {
    "target_utilization": int,
    "dedicated": bool,
    "canary_seconds": float,
    "drain_seconds": float,
    "kms_key": str,
}
"""Settings that the component takes in `extra`, and what each is."""


@dataclass(frozen=True, kw_only=True)
class DeployVertexEndpointConfig:
    """How a model is deployed.

    Attributes:
        endpoint_name: Name of the endpoint: lower case letters, digits and hyphens, at most 50. It becomes the
            endpoint's id, so that the same name is the same endpoint; it is made if there is none.
        machine_type: Machine type of each replica.
        accelerator_type: Accelerator of each replica, e.g. "NVIDIA_L4"; "" for none.
        accelerator_count: Accelerators a replica.
        min_replicas: Replicas that always serve.
        max_replicas: Most replicas that load may start.
        target_utilization: Percent of CPU (or of the accelerators) above which a replica is added; 0 leaves
            Vertex AI's own 60.
        spot: Use Spot VMs, which cost less and may be taken away.
        service_account: E-mail address of the account that the container runs as; "" for Vertex AI's own.
        dedicated: Make the endpoint with a DNS name of its own, which takes larger and longer requests than the
            region's shared one. An endpoint that exists stays what it is.
        canary_percent: Share of the traffic that the new version gets first; 0 moves all traffic at once.
        canary_seconds: How long it has that share.
        drain_seconds: How long the old version goes on once it has no more traffic. The default is what Google asks
            for: until then all of the region knows, and requests under way have ended.
        kms_key: Resource name of the Cloud KMS key that encrypts the endpoint, in its region; "" for Google's own.
            An endpoint keeps the key that it was made with.

    Raises:
        ArgumentError: A value cannot be used.
    """

    endpoint_name: str
    machine_type: str = "n1-standard-4"
    accelerator_type: str = ""
    accelerator_count: int = 0
    min_replicas: int = 1
    max_replicas: int = 1
    target_utilization: int = 0
    spot: bool = False
    service_account: str = ""
    dedicated: bool = False
    canary_percent: int = 0
    canary_seconds: float = 300.0
    drain_seconds: float = 600.0
    kms_key: str = ""

    def __post_init__(self) -> None:
        check_name(self.endpoint_name, "endpoint_name")
        check_machine(self.machine_type, self.accelerator_type, self.accelerator_count)
        check_account(self.service_account)
        check_key(self.kms_key)
        if self.min_replicas < 1:
            raise ArgumentError("min_replicas", self.min_replicas, "give at least 1: Vertex AI keeps one running")
        if self.max_replicas < self.min_replicas:
            raise ArgumentError("max_replicas", self.max_replicas, f"give at least min_replicas={self.min_replicas}")
        if not 0 <= self.target_utilization <= 100:
            raise ArgumentError("target_utilization", self.target_utilization, "give percent, 0 to 100")
        if not 0 <= self.canary_percent < 100:
            raise ArgumentError("canary_percent", self.canary_percent, "give percent, 0 to 99")
        if not 0 <= self.canary_seconds <= 6 * 3600:
            raise ArgumentError("canary_seconds", self.canary_seconds, "give seconds, 0 to 21600 (six hours)")
        if not 0 <= self.drain_seconds <= 3600:
            raise ArgumentError("drain_seconds", self.drain_seconds, "give seconds, 0 to 3600")

    @property
    def resources(self) -> dict[str, Any]:
        """What Vertex AI calls `dedicated_resources`."""
        resources: dict[str, Any] = {
            "machine_spec": machine_spec(self.machine_type, self.accelerator_type, self.accelerator_count),
            "min_replica_count": self.min_replicas,
            "max_replica_count": self.max_replicas,
            "spot": self.spot,
        }
        if self.target_utilization:
            kind = "accelerator/duty_cycle" if self.accelerator_type else "cpu/utilization"
            metric = f"aiplatform.googleapis.com/prediction/online/{kind}"
            resources["autoscaling_metric_specs"] = [{"metric_name": metric, "target": self.target_utilization}]
        return resources


@dataclass(frozen=True, kw_only=True)
class UndeployVertexEndpointConfig:
    """Which endpoint is meant.

    Attributes:
        endpoint_name: Name of the endpoint, as it was deployed.
        project: Google Cloud project.
        location: Region, e.g. "us-central1".

    Raises:
        ArgumentError: A value cannot be used.
    """

    endpoint_name: str
    project: str
    location: str

    def __post_init__(self) -> None:
        check_name(self.endpoint_name, "endpoint_name")
        check_place(self.project, self.location)

    @property
    def resource(self) -> str:
        """Resource name of the endpoint."""
        return f"projects/{self.project}/locations/{self.location}/endpoints/{self.endpoint_name}"


class FindVertexChampionConfig(UndeployVertexEndpointConfig):
    """Which endpoint is looked at."""


@dataclass(frozen=True, kw_only=True)
class VertexEndpoint:
    """A registered model that serves.

    Attributes:
        resource: Resource name of the endpoint.
        model: Resource name of the model that serves, with its version.
        artifact_uri: Where the model's files are, `gs://…`.
        deployed_model: Id of the model at the endpoint.
        previous: Ids of those that had traffic before.
        moved: Whether deploying moved the traffic; False where the model had all of it already.
    """

    resource: str
    model: str
    artifact_uri: str
    deployed_model: str
    previous: tuple[str, ...]
    moved: bool

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its artifact; `resourceName` is what Google's own components read."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("resource", "previous")}
        return {"platform": PLATFORM, "resourceName": self.resource, "previous": list(self.previous), **kept}


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a deployment.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, RARE)


def deploy(model: str, config: DeployVertexEndpointConfig, patience: Patience | None = None) -> VertexEndpoint:
    """Deploys a registered model to an endpoint, and moves the traffic to it once it has answered rightly.

    Where another version serves already, the new one is first deployed to a trial endpoint of its own and sent the
    golden requests kept with the model: Vertex AI offers no way to ask a deployed model that has no traffic. Then
    it is deployed beside the old one, gets its canary share if there is one, then all traffic, and the old one is
    taken away. On any failure the traffic is what it was before, and what was made is removed. The alias `default`
    moves to the version once it has all traffic and answered rightly, if the model was registered here. Deploying what
    serves already changes nothing; a step that is run again goes on where it stopped. One step at a time may deploy to
    an endpoint: Vertex AI has no lock, and of two each would take away what the other brought.

    Args:
        model: Resource name of a registered model with its version, from `register`.
        config: Where to, and on which machines.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used, also for this model or endpoint: an accelerator that the model's
            server leaves idle, or another key than the endpoint's.
        EndpointError: The model could not be deployed or answered otherwise than when it was made.
        HfpcError: Google Cloud refused or did not answer.
    """
    place = place_of(model, "registered", patience)
    check_key(config.kms_key, place.location)
    with google_cloud.reaching(f"deploying to the endpoint {config.endpoint_name}"):
        version = place.ask(place.models.get_model, {"name": model})
        check_accelerator(version.container_spec.image_uri, config.accelerator_type)
        name = f"{version.name}@{version.version_id}"
        resource = f"{place.parent}/endpoints/{config.endpoint_name}"
        if config.kms_key:
            _check_same_key(place, resource, config.kms_key)
        deployed_id = _deployed_id(name, config)
        deployed_model = {
            "id": deployed_id,
            "model": name,
            "display_name": f"{vertex_rollout.DEPLOYED}{config.endpoint_name}-{version.version_id}",
            "dedicated_resources": config.resources,
            "service_account": config.service_account,
        }
        rollout = vertex_rollout.Rollout(
            place=place,
            endpoint=resource,
            body={
                "display_name": config.endpoint_name,
                "labels": MANAGED,
                "dedicated_endpoint_enabled": config.dedicated,
                **encryption(config.kms_key),
            },
            deployed=deployed_model,
            artifact_uri=version.artifact_uri,
            canary_percent=config.canary_percent,
            canary_seconds=config.canary_seconds,
            drain_seconds=config.drain_seconds,
        )
        previous, moved = vertex_rollout.roll_out(rollout)
    return VertexEndpoint(
        resource=resource,
        model=name,
        artifact_uri=version.artifact_uri,
        deployed_model=deployed_id,
        previous=tuple(previous),
        moved=moved,
    )


def predict(
    resource: str, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None, patience: Patience | None = None
) -> list[Any]:
    """A response for each input from an endpoint.

    Args:
        resource: Resource name of the endpoint.
        inputs: Inputs of the model's task.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`.
        patience: How long is waited; None takes the defaults.

    Raises:
        EndpointError: The endpoint answered in another form.
        HfpcError: Google Cloud or the model refused, or did not answer.
    """
    place = place_of(resource, "endpoint", patience)
    with google_cloud.reaching(f"asking {resource}"):
        return vertex_predict.ask(place, resource, inputs, parameters)[0]


def champion(resource: str, patience: Patience | None = None) -> str:
    """Folder of the model that has most of an endpoint's traffic, `gs://…`; "" where nothing serves.

    Args:
        resource: Resource name of the endpoint.
        patience: How long is waited; None takes the defaults.

    Raises:
        EndpointError: The model that serves has no files.
        HfpcError: Google Cloud refused or did not answer.
    """
    place = place_of(resource, "endpoint", patience)
    with google_cloud.reaching(f"looking at {resource}"):
        endpoint = place.found(place.endpoints.get_endpoint, {"name": resource})
        if endpoint is None or not endpoint.traffic_split or not endpoint.deployed_models:
            return ""
        serving = max(endpoint.deployed_models, key=lambda each: (endpoint.traffic_split.get(each.id, 0), each.id))
        name = f"{serving.model.partition('@')[0]}@{serving.model_version_id}"
        uri = str(place.ask(place.models.get_model, {"name": name}).artifact_uri)
        if not uri:
            raise EndpointError(f"{name}, which serves at {resource}, has no files to compare with")
        return uri


def undeploy(resource: str, patience: Patience | None = None) -> bool:
    """Takes every model that was deployed here from an endpoint, and removes the endpoint if nothing is left.

    What others deployed to it stays, with all the traffic if it had some.

    Args:
        resource: Resource name of the endpoint.
        patience: How long is waited; None takes the defaults.

    Returns:
        Whether there was anything to take away.

    Raises:
        EndpointError: The endpoint was not made by this library.
        HfpcError: Google Cloud refused or did not answer.
    """
    place = place_of(resource, "endpoint", patience)
    with google_cloud.reaching(f"undeploying {resource}"):
        vertex_rollout.remove_trials(place, resource)
        endpoint = place.found(place.endpoints.get_endpoint, {"name": resource})
        if endpoint is None:
            return False
        if not is_ours(endpoint):
            raise EndpointError(f"{resource} was not made by this library: undeploy it where it was made")
        vertex_rollout.remove_models(place, resource, vertex_rollout.is_deployed_here)
    return True


def _check_same_key(place: Place, resource: str, kms_key: str) -> None:
    """Raises ArgumentError where there is an endpoint that another key encrypts: an endpoint keeps its key."""
    endpoint = place.found(place.endpoints.get_endpoint, {"name": resource})
    if endpoint is not None and endpoint.encryption_spec.kms_key_name != kms_key:
        there = endpoint.encryption_spec.kms_key_name or "Google's own key"
        fix = f"{resource} was made with {there}, and keeps it: give that, or another endpoint_name"
        raise ArgumentError("kms_key", kms_key, fix)


def _deployed_id(model: str, config: DeployVertexEndpointConfig) -> str:
    """Nine digits that tell a deployment from others: the version and its machines."""
    text = json.dumps([model, config.resources, config.service_account], sort_keys=True)
    return str(10**8 + int(hashlib.sha256(text.encode()).hexdigest(), 16) % (9 * 10**8))
