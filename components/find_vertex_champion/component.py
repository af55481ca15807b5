"""Component: which model serves now?"""

from typing import NamedTuple

from kfp import dsl

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def find_vertex_champion(endpoint_name: str, project: str, location: str) -> NamedTuple("Outputs", [("champion", str)]):
    """Finds the model that has most of the traffic of a Vertex AI endpoint.

    Args:
        endpoint_name: Name of the endpoint, as `deploy_vertex_endpoint` was given it.
        project: Google Cloud project.
        location: Region, e.g. `us-central1`.

    Returns:
        champion: Folder of its files, `gs://…`, as `compare_models` takes it; empty where nothing
            serves yet.
    """
    from hfpc.sinks.vertex_endpoints import FindVertexChampionConfig, champion

    config = FindVertexChampionConfig(endpoint_name=endpoint_name, project=project, location=location)
    return (champion(config.resource),)
