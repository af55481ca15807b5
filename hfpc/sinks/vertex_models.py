"""Vertex AI's Model Registry: a model, and a version of it for each model that is registered under its name."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, HfpcError
from hfpc.manifest import Manifest
from hfpc.redaction import MASK, redacted
from hfpc.sinks import model_folder, vertex_evaluation
from hfpc.sinks.patience import Patience
from hfpc.sinks.rare_settings import rare_settings
from hfpc.sinks.vertex_calls import (
    MANAGED,
    Place,
    check_labels,
    check_name,
    check_place,
    is_ours,
    resource_uri,
)
from hfpc.sinks.vertex_containers import container_spec, serving_image
from hfpc.sinks.vertex_encryption import check_key, encryption

__all__ = ["RegisterVertexModelConfig", "VertexModel", "extra_settings", "register", "registered", "resource_uri"]

PLATFORM = "vertex"
RARE: dict[str, type] = {"kms_key": str}
"""Settings that the component takes in `extra`, and what each is."""


@dataclass(frozen=True, kw_only=True)
class RegisterVertexModelConfig:
    """Where a model is registered, and what shall serve it.

    Attributes:
        name: Name of the model: lower case letters, digits and hyphens, at most 50. It becomes the model's id, so
            that the same name is the same model.
        project: Google Cloud project.
        location: Region, e.g. "us-central1".
        staging_uri: `gs://` folder that a model is copied to which does not lie on Cloud Storage yet.
        image: Serving image, in Artifact Registry, that answers as this package's own does; "" means that.
        aliases: Aliases that move to this version. Not by default Vertex AI's own `default`: the first version of a
            model gets it, and then `deploy` moves it to the one that was proven.
        labels: Labels beside our own.
        environment: Environment variables of the container; no secrets.
        shared_memory_mb: Shared memory of the container, in MB; 0 leaves it to Vertex AI (64 MB).
        startup_seconds: Seconds that the container may take to load the model.
        kms_key: Resource name of the Cloud KMS key that encrypts what Vertex AI keeps of the version, in its region;
            "" for Google's own. The model's files on Cloud Storage are encrypted as their bucket is.

    Raises:
        ArgumentError: A value cannot be used.
    """

    name: str
    project: str
    location: str
    staging_uri: str = ""
    image: str = ""
    aliases: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    shared_memory_mb: int = 0
    startup_seconds: int = 600
    kms_key: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        serving_image(self.image)
        check_place(self.project, self.location)
        check_key(self.kms_key, self.location)
        if self.staging_uri and not self.staging_uri.startswith("gs://"):
            raise ArgumentError("staging_uri", self.staging_uri, "give a folder on Cloud Storage, gs://BUCKET/FOLDER")
        for alias in self.aliases:
            check_name(alias, "aliases")
        check_labels(dict(self.labels))
        for variable, value in self.environment.items():
            if not isinstance(value, str) or redacted("secret", variable) == MASK:
                fix = "give text, and no secret: whoever may see the model could read it"
                raise ArgumentError("environment", {variable: MASK}, fix)
        if self.shared_memory_mb < 0:
            raise ArgumentError("shared_memory_mb", self.shared_memory_mb, "give megabytes, or 0")
        if self.startup_seconds < 10:
            raise ArgumentError("startup_seconds", self.startup_seconds, "give at least 10 seconds")


@dataclass(frozen=True, kw_only=True)
class VertexModel:
    """A version of a model in the Model Registry.

    Attributes:
        resource: Resource name with the version, `projects/…/models/NAME@VERSION`.
        name: Name of the model.
        version: Its version, as Vertex AI counts.
        fingerprint: SHA-256 of weights, configuration and tokenizer files.
        uri: Where its files are, `gs://…`.
    """

    resource: str
    name: str
    version: str
    fingerprint: str
    uri: str

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of its artifact; `resourceName` is what Google's own components read."""
        return {
            "platform": PLATFORM,
            "resourceName": self.resource,
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "artifact_uri": self.uri,
        }


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a registration.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, RARE)


def registered(metadata: Mapping[str, Any]) -> str:
    """Resource name of the version in the metadata of an artifact, ours or of Google's own components.

    Raises:
        ArgumentError: It is no `google.VertexModel`.
    """
    name = str(metadata.get("resourceName", ""))
    if "/models/" not in name:
        fix = "give a model from register_vertex_model, or another google.VertexModel"
        raise ArgumentError("registered", dict(metadata), fix)
    return name


def register(
    model: str, predictions: Path | None, config: RegisterVertexModelConfig, patience: Patience | None = None
) -> VertexModel:
    """Registers a model as a version of the model of that name, which is made if there is none.

    Registering the same model for the same container twice gives the same version.

    Args:
        model: Path or URI of a model folder.
        predictions: The model's predictions from `evaluate`, whose metrics are shown beside the version; None
            imports no evaluation.
        config: Where to, and for which container.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used, or the predictions are another model's.
        DataError: A folder does not hold what it should.
        HfpcError: Google Cloud refused or did not answer, or the model of that name was not made by this library.
    """
    record = model_folder.record(model)
    assert record.model is not None
    evaluation = None if predictions is None else vertex_evaluation.read(predictions, record.model.fingerprint)
    uri = model_folder.staged(model, record.model.fingerprint, config.staging_uri, ("gs://",))
    place = Place(project=config.project, location=config.location, patience=patience or Patience())
    key = _key(record.model.fingerprint, uri, config)
    with google_cloud.reaching(f"registering the model {config.name}"):
        version = _ensure_version(place, config, _model(config, record, uri, key), key)
        if evaluation is not None:
            vertex_evaluation.ensure(place, f"{version.name}@{version.version_id}", evaluation)
    return VertexModel(
        resource=f"{version.name}@{version.version_id}",
        name=config.name,
        version=version.version_id,
        fingerprint=record.model.fingerprint,
        uri=uri,
    )


def _key(fingerprint: str, uri: str, config: RegisterVertexModelConfig) -> str:
    """What tells a version from the others: the model, all that it takes to serve it, and its key."""
    serving = [serving_image(config.image), dict(config.environment), config.shared_memory_mb, uri]
    serving += [config.kms_key] if config.kms_key else []
    return hashlib.sha256(json.dumps([fingerprint, serving], sort_keys=True).encode()).hexdigest()[:40]


def _model(config: RegisterVertexModelConfig, record: Manifest, uri: str, key: str) -> dict[str, Any]:
    assert record.model is not None
    image = serving_image(config.image)
    return {
        "display_name": config.name,
        "version_description": f"{record.task}, fine-tuned from {redacted(record.model.base_model)}"[:500],
        "artifact_uri": uri,
        "container_spec": container_spec(image, config.environment, config.shared_memory_mb, config.startup_seconds),
        "labels": {**config.labels, **MANAGED, "hfpc-fingerprint": record.model.fingerprint[:40]},
        "version_aliases": list(dict.fromkeys([f"hfpc-{key}", *config.aliases])),
        **encryption(config.kms_key),
    }


def _ensure_version(place: Place, config: RegisterVertexModelConfig, model: dict[str, Any], key: str) -> Any:
    """The version with that key, which an alias of its own finds; aliases move to it.

    An alias, unlike a label, is looked up by name: a list may not show yet what was just made. A version that is on
    its way, as a killed step or a lost answer leaves one, has none yet: before one is made, every upload is waited for.
    """
    name = f"{place.parent}/models/{config.name}"

    def find() -> Any:
        return place.found(place.models.get_model, {"name": f"{name}@hfpc-{key}"})

    def make() -> Any:
        place.wait_for_operations(place.models, name)
        if (there := find()) is not None:
            return there
        parent = place.found(place.models.get_model, {"name": name})
        if parent is not None and not is_ours(parent):
            raise HfpcError(f"{name} was not made by this library: give another name")
        target = {"model_id": config.name} if parent is None else {"parent_model": name}
        request = {"parent": place.parent, "model": model, **target}
        place.wait(place.models, place.models.upload_model(request=request, retry=None, timeout=place.patience.call))
        return None

    version = place.ensure(find, make)
    missing = [alias for alias in config.aliases if alias not in version.version_aliases]
    if missing:
        request = {"name": f"{name}@{version.version_id}", "version_aliases": missing}
        version = place.ask(place.models.merge_version_aliases, request)
    return version
