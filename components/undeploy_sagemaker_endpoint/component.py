"""Component: take a SageMaker endpoint away."""

from typing import NamedTuple

from kfp import dsl

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def undeploy_sagemaker_endpoint(endpoint_name: str, region: str = "") -> NamedTuple("Outputs", [("removed", bool)]):
    """Deletes an endpoint of SageMaker that was made here, its scaling, configurations and models.

    Where there is no such endpoint, only what is left of one is removed. Registered models stay.

    Args:
        endpoint_name: Name of the endpoint, as `deploy_sagemaker_endpoint` was given it.
        region: AWS region; empty means the environment's.

    Returns:
        removed: Whether there was an endpoint.
    """
    from hfpc.sinks.sagemaker import undeploy

    return (undeploy(endpoint_name, region),)
