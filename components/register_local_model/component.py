"""Component: keep a model in the local registry."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register_local_model(
    model: Input[Model],
    predictions: Input[Dataset],
    registered: Output[Model],
    name: str,
    registry: str = "",
):
    """Adds a model to the local registry as a new version.

    Registering the same model twice gives the same version.

    Args:
        model: A model from `finetune`.
        predictions: Its predictions from `evaluate`, whose metrics go onto the model card.
        name: Name of the model in the registry: letters, digits, `-`, `_`, `.`.
        registry: Folder of the local registry; empty means `$HFPC_HOME/registry`.

    Returns:
        registered: The registered copy; its metadata name the registry, the model and its version.
    """
    from pathlib import Path

    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.local import RegisterLocalModelConfig, register

    config = RegisterLocalModelConfig(name=name, registry=registry)
    version = register(Path(model.path), Path(predictions.path), name=config.name, registry=config.registry)
    set_uri(registered, version.uri)
    registered.framework = "transformers"
    registered.metadata.update(
        registry=version.registry, name=version.name, version=version.version, fingerprint=version.fingerprint
    )
