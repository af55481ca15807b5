"""Component: take a Vertex AI endpoint away."""

from typing import NamedTuple

from kfp import dsl

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def undeploy_vertex_endpoint(endpoint_name: str, project: str, location: str) -> NamedTuple(
    "Outputs", [("removed", bool)]
):
    """Undeploys every model that was deployed here from an endpoint, and deletes it once it holds none.

    What others deployed to it stays, with all the traffic if it had some. Where there is no such
    endpoint, nothing is done. Registered models stay.

    Args:
        endpoint_name: Name of the endpoint, as `deploy_vertex_endpoint` was given it.
        project: Google Cloud project.
        location: Region, e.g. `us-central1`.

    Returns:
        removed: Whether there was an endpoint.
    """
    from hfpc.sinks.vertex_endpoints import UndeployVertexEndpointConfig, undeploy

    config = UndeployVertexEndpointConfig(endpoint_name=endpoint_name, project=project, location=location)
    return (undeploy(config.resource),)
