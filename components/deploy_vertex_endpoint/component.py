"""Component: deploy a registered model to a Vertex AI endpoint."""

from kfp import dsl
from kfp.dsl import Input, Output

from hfpc import images
from hfpc.submit.google_artifacts import VertexEndpoint, VertexModel


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def deploy_vertex_endpoint(
    registered: Input[VertexModel],
    endpoint: Output[VertexEndpoint],
    endpoint_name: str,
    machine_type: str = "n1-standard-4",
    accelerator_type: str = "",
    accelerator_count: int = 0,
    min_replicas: int = 1,
    max_replicas: int = 1,
    spot: bool = False,
    service_account: str = "",
    canary_percent: int = 0,
    extra: dict = {},
):
    """Deploys a model beside the one that serves, tests it, and moves the traffic to it.

    The new version first answers its golden requests at a trial endpoint of its own, then gets a
    share of the traffic if asked for, then all of it; the old version is taken away last. On any
    failure the traffic is what it was before, and what was made is removed. Once it serves, the
    alias `default` moves to it in the Model Registry. Deploying what serves already changes nothing.

    Args:
        registered: A model from `register_vertex_model`.
        endpoint_name: Name of the endpoint, and its id; it is made if there is none.
        machine_type: Machine type of each replica.
        accelerator_type: Accelerator of each replica, e.g. `NVIDIA_L4`; empty for none, and for a model
            that is registered with this package's own server, which computes on CPUs.
        accelerator_count: Accelerators a replica.
        min_replicas: Replicas that always serve.
        max_replicas: Most replicas that load may start.
        spot: Use Spot VMs, which cost less and may be taken away.
        service_account: Account that the container runs as; empty for Vertex AI's own.
        canary_percent: Share of the traffic, 0 to 99, that the new version gets first.
        extra: Rare settings: `canary_seconds` (300), how long it has that share; `drain_seconds` (600), how
            long the old version goes on without traffic, which Google asks for; `target_utilization`
            (percent), above which a replica is added; `dedicated` (false), to make the endpoint with a
            DNS name of its own; `kms_key`, resource name of the Cloud KMS key that encrypts the endpoint.

    Returns:
        endpoint: The endpoint, as Google's own components take it too.
    """
    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.vertex_endpoints import (
        DeployVertexEndpointConfig,
        deploy,
        extra_settings,
        registered_name,
        resource_uri,
    )

    config = DeployVertexEndpointConfig(
        endpoint_name=endpoint_name,
        machine_type=machine_type,
        accelerator_type=accelerator_type,
        accelerator_count=int(accelerator_count),
        min_replicas=int(min_replicas),
        max_replicas=int(max_replicas),
        spot=spot,
        service_account=service_account,
        canary_percent=int(canary_percent),
        **extra_settings(extra),
    )
    deployed = deploy(registered_name(registered.metadata), config)
    set_uri(endpoint, resource_uri(deployed.resource))
    endpoint.metadata.update(deployed.metadata)
