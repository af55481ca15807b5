"""Component: make a registered model the one that serves."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def deploy_local(
    registered: Input[Model],
    endpoint: Output[Artifact],
    alias: str = "champion",
):
    """Moves an alias of the local registry to a version, which `hfpc serve NAME@ALIAS` serves.

    The version first answers its golden requests; if one answer is wrong, the alias stays where it
    was. Deploying the same version twice changes nothing.

    Args:
        registered: A model from `register_local_model`.
        alias: The alias to move.

    Returns:
        endpoint: Its metadata name the registry, the model, the alias, the version, the
            version that served before ("" for none), and whether the alias was moved.
    """
    from hfpc.sinks import local
    from hfpc.sinks.artifact_uri import set_uri

    deployed = local.deploy(**local.registered(registered.metadata), alias=alias)
    set_uri(endpoint, deployed.uri)
    endpoint.metadata.update(
        platform="local",
        registry=deployed.registry,
        name=deployed.name,
        alias=deployed.alias,
        version=deployed.version,
        previous_version=deployed.previous_version,
        moved=deployed.moved,
    )
