"""Component: keep a model in Vertex AI's Model Registry."""

from typing import Dict, List

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from hfpc import images
from hfpc.submit.google_artifacts import VertexModel


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register_vertex_model(
    model: Input[Model],
    predictions: Input[Dataset],
    registered: Output[VertexModel],
    name: str,
    project: str,
    location: str,
    staging_uri: str = "",
    image: str = "",
    aliases: List[str] = [],
    labels: Dict[str, str] = {},
    environment: Dict[str, str] = {},
    shared_memory_mb: int = 0,
    startup_seconds: int = 600,
    extra: dict = {},
):
    """Adds a model to Vertex AI's Model Registry as a version of the model of that name.

    Registering the same model for the same container twice gives the same version. The metrics of
    the evaluation are imported, so that the console shows them beside the version.

    Args:
        model: A model from `finetune` or `optimize`.
        predictions: Its predictions from `evaluate`.
        name: Name of the model, and its id: lower case letters, digits and hyphens, at most 50.
        project: Google Cloud project.
        location: Region, e.g. `us-central1`.
        staging_uri: Folder (`gs://`) that a model is copied to which does not lie on Cloud Storage.
        image: Serving image, in Artifact Registry; empty takes this package's own.
        aliases: Aliases that move to this version. `default`, which the first version of a model gets,
            moves with `deploy_vertex_endpoint`.
        labels: Labels, beside the fingerprint of the model.
        environment: Environment variables of the container; no secrets.
        shared_memory_mb: Shared memory of the container in MB; 0 leaves it to Vertex AI.
        startup_seconds: Seconds that the container may take to load the model.
        extra: Rare settings: `kms_key`, resource name of the Cloud KMS key that encrypts what Vertex AI keeps
            of the version.

    Returns:
        registered: The version, as Google's own components take it too.
    """
    from pathlib import Path

    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.vertex_models import RegisterVertexModelConfig, extra_settings, register, resource_uri

    config = RegisterVertexModelConfig(
        name=name,
        project=project,
        location=location,
        staging_uri=staging_uri,
        image=image,
        aliases=tuple(aliases),
        labels=labels,
        environment=environment,
        shared_memory_mb=int(shared_memory_mb),
        startup_seconds=int(startup_seconds),
        **extra_settings(extra),
    )
    version = register(model.path, Path(predictions.path), config)
    set_uri(registered, resource_uri(version.resource))
    registered.metadata.update(version.metadata)
