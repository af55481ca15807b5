"""Component: take an InferenceService away."""

from typing import NamedTuple

from kfp import dsl

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def undeploy_kserve(name: str, namespace: str = "") -> NamedTuple("Outputs", [("removed", bool)]):
    """Deletes an InferenceService that was made here, and what it was tried at.

    Where there is no such service, nothing is done. The model's files stay.

    Args:
        name: Name of the InferenceService, as `deploy_kserve` was given it.
        namespace: Namespace; empty for the one that the step runs in.

    Returns:
        removed: Whether there was a service.
    """
    from hfpc.sinks.kserve import UndeployKserveConfig, undeploy

    return (undeploy(UndeployKserveConfig(name=name, namespace=namespace)),)
