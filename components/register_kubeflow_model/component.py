"""Component: keep a model in Kubeflow's Model Registry."""

from typing import Dict

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register_kubeflow_model(
    model: Input[Model],
    predictions: Input[Dataset],
    registered: Output[Artifact],
    name: str,
    registry: str = "http://model-registry-service.kubeflow.svc.cluster.local:8080",
    version: str = "",
    staging_uri: str = "",
    description: str = "",
    properties: Dict[str, str] = {},
):
    """Adds a model to Kubeflow's Model Registry as a version of the model of that name.

    Registering the same model twice gives the same version; what a step left half made is
    completed. The metrics of the evaluation and the model's fingerprint become properties.

    Args:
        model: A model from `finetune`, `finetune_trainjob` or `optimize`.
        predictions: Its predictions from `evaluate`.
        name: Name of the model.
        registry: Address of the registry; the default is where Kubeflow installs it.
        version: Name of the version; empty takes the beginning of the model's fingerprint.
        staging_uri: Folder (`gs://`, `s3://`) that a model is copied to which lies in no store.
        description: Description of the version.
        properties: Properties of the version beside our own; no secrets.

    Returns:
        registered: The version, for `deploy_kserve`.
    """
    from pathlib import Path

    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.kubeflow_registry import RegisterKubeflowModelConfig, location, register

    config = RegisterKubeflowModelConfig(
        name=name,
        registry=registry,
        version=version,
        staging_uri=staging_uri,
        description=description,
        properties=properties,
    )
    made = register(location(model.path, model.uri, model.metadata), Path(predictions.path), config)
    set_uri(registered, made.uri)
    registered.metadata.update(made.metadata)
