"""Component: deploy a registered model to a SageMaker endpoint."""

from typing import Any, Dict, List

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def deploy_sagemaker_endpoint(
    registered: Input[Model],
    endpoint: Output[Artifact],
    endpoint_name: str,
    role: str,
    mode: str = "realtime",
    instance_type: str = "",
    min_instances: int = 1,
    max_instances: int = 1,
    scaling_target: float = 0.0,
    memory_mb: int = 3072,
    max_concurrency: int = 0,
    output_uri: str = "",
    traffic: str = "all_at_once",
    alarms: List[str] = [],
    extra: Dict[str, Any] = {},
):
    """Deploys a model to an endpoint of SageMaker, which changes once the model has answered rightly.

    Where another model serves, the new one first answers its golden requests at a trial endpoint of its
    own; then the endpoint is updated while the alarms are watched, and asked again. On any failure the
    endpoint is what it was before, and what was made is removed. Deploying what serves already changes
    nothing.

    Args:
        registered: A model from `register_sagemaker_model`.
        endpoint_name: Name of the endpoint: letters, digits and hyphens, at most 40. It is made if there is none.
        role: ARN of the role that the container runs as.
        mode: `realtime`, `serverless` or `async`. An endpoint keeps its mode.
        instance_type: Instance type, e.g. `ml.m7i.large`; empty for serverless.
        min_instances: Instances that always run; 0, for async only, lets it scale to none.
        max_instances: Most instances that load may start.
        scaling_target: What autoscaling keeps, if `max_instances` is above `min_instances`: requests a minute
            for an instance, or for async requests that wait for one.
        memory_mb: Memory of a serverless container in MB, 1024 to 6144.
        max_concurrency: Requests at once of a serverless endpoint (0 means 5), or for an async instance.
        output_uri: `s3://…` that async responses are written to.
        traffic: How an update moves traffic: `all_at_once`, `canary` or `linear`.
        alarms: CloudWatch alarms; one that is raised during an update rolls it back.
        extra: Rare settings: `initial_instances`, `traffic_percent`, `traffic_wait_seconds`,
            `termination_wait_seconds`, `scale_in_seconds`, `scale_out_seconds`, `failure_uri`, `success_topic`,
            `error_topic`, `capture_uri`, `capture_percent`, `kms_key`, `subnets`, `security_groups`,
            `startup_seconds`, `tags`.

    Returns:
        endpoint: Its metadata name the platform, endpoint, region, mode, package, configuration, the
            configuration before ("" for none), and whether the endpoint was changed.
    """
    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.sagemaker_endpoints import DeploySagemakerEndpointConfig, deploy, extra_settings
    from hfpc.sinks.sagemaker_endpoints import registered as package

    config = DeploySagemakerEndpointConfig(
        endpoint_name=endpoint_name,
        role=role,
        mode=mode,
        instance_type=instance_type,
        min_instances=min_instances,
        max_instances=max_instances,
        scaling_target=scaling_target,
        memory_mb=memory_mb,
        max_concurrency=max_concurrency,
        output_uri=output_uri,
        traffic=traffic,
        alarms=alarms,
        **extra_settings(extra),
    )
    deployed = deploy(package(registered.metadata), config)
    set_uri(endpoint, deployed.uri)
    endpoint.metadata.update(deployed.metadata)
