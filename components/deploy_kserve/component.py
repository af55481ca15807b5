"""Component: deploy a model with KServe."""

from typing import Dict

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def deploy_kserve(
    model: Input[Artifact],
    endpoint: Output[Artifact],
    name: str,
    namespace: str = "",
    storage_uri: str = "",
    runtime: str = "hfpc",
    resources: Dict[str, str] = {"cpu": "1", "memory": "2Gi"},
    min_replicas: int = 1,
    max_replicas: int = 1,
    scale_target: int = 0,
    canary_percent: int = 0,
    canary_seconds: float = 300.0,
    service_account: str = "",
    ingress: str = "",
    extra: dict = {},
):
    """Deploys a model as an InferenceService that gets traffic once it has answered rightly.

    Where the service serves already, the new model first answers its golden requests at a service
    of its own, named NAME-trial; then it gets a share of the traffic if asked for, then all of it.
    On any failure the service is what it was before, and what was made is removed. Deploying what
    serves already changes nothing. Credentials are those of the pod, or of the kubeconfig.

    Args:
        model: A model from `register_kubeflow_model`, `finetune` or `optimize`.
        name: Name of the InferenceService; it is made if there is none.
        namespace: Namespace; empty for the one that the step runs in.
        storage_uri: What KServe loads, `gs://`, `s3://`, `hf://` or `pvc://`; empty for where the
            model lies, if KServe can read it there.
        runtime: `hfpc` for this package's serving image, `huggingface` for KServe's own runtime.
        resources: What a replica asks for and is limited to, e.g. `{"nvidia.com/gpu": "1"}` too.
            In Standard mode it then puts up with the taint of such nodes; see `tolerations`.
        min_replicas: Replicas that always serve; 0 lets Knative stop them all while nobody asks.
        max_replicas: Most replicas that load may start.
        scale_target: Requests at a time that one replica takes before another is started (or what
            `scale_metric` counts); 0 leaves it to KServe.
        canary_percent: Share of the traffic, 0 to 99, that the new model gets first.
        canary_seconds: How long it has that share.
        service_account: Service account of the pods, which tells KServe how to read the store.
        ingress: `http://HOST:PORT` to send requests to with the service's host name, where that
            name is not known; empty asks the service's address in the cluster, or its URL outside.
        extra: Rare settings by name: `scale_metric`, `image`, `deployment_mode`, `environment`,
            `node_selector`, `tolerations` (taints as Kubernetes has them; Knative takes those two
            only where its features for them are enabled), `labels`, `ready_seconds`.

    Returns:
        endpoint: The service, for `test_endpoint`.
    """
    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.kserve import DeployKserveConfig, deploy, extra_settings, location

    config = DeployKserveConfig(
        name=name,
        namespace=namespace,
        storage_uri=storage_uri,
        runtime=runtime,
        resources=resources,
        min_replicas=int(min_replicas),
        max_replicas=int(max_replicas),
        scale_target=int(scale_target),
        canary_percent=int(canary_percent),
        canary_seconds=canary_seconds,
        service_account=service_account,
        ingress=ingress,
        **extra_settings(extra),
    )
    deployed = deploy(location(model.path, model.uri, model.metadata), config)
    set_uri(endpoint, deployed.url)
    endpoint.metadata.update(deployed.metadata)
