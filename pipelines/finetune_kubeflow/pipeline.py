"""Raw rows to a tested model that KServe serves."""

from typing import Dict

from kfp import dsl

from hfpc.components import (
    compare_models,
    deploy_kserve,
    register_kubeflow_model,
    test_endpoint,
)
from hfpc.pipelines.continuation import continues
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate


@dsl.pipeline(name="finetune-kubeflow", display_name="Fine-tune and deploy on Kubeflow")
@continues(train_and_evaluate)
def finetune_kubeflow(
    candidate,
    name: str = "tweets",
    min_metrics: Dict[str, float] = {},
    registry: str = "http://model-registry-service.kubeflow.svc.cluster.local:8080",
    staging_uri: str = "",
    namespace: str = "",
    runtime: str = "hfpc",
    resources: Dict[str, str] = {"cpu": "1", "memory": "2Gi"},
    min_replicas: int = 1,
    max_replicas: int = 1,
    canary_percent: int = 0,
    service_account: str = "",
    ingress: str = "",
    serving_extra: dict = {},
    max_latency_ms: float = 1000.0,
):
    """Fine-tunes a model, and if it is good enough, registers, deploys and tests it on Kubeflow.

    Args:
        name: Name of the model in the Model Registry, and of the InferenceService.
        min_metrics: Metric name to the least value a model must reach to be deployed.
        registry: Address of the Model Registry.
        staging_uri: Folder (`gs://`, `s3://`) that a model is copied to which lies in no store, as when
            the steps run on a laptop.
        namespace: Namespace of the service; empty for the one that the steps run in.
        runtime: `hfpc` or `huggingface`; see `deploy_kserve`.
        resources: What a replica asks for and is limited to.
        min_replicas: Replicas that always serve.
        max_replicas: Most replicas that load may start.
        canary_percent: Share of the traffic, 0 to 99, that a new version gets for a while before it
            gets all of it; 0 moves all traffic at once.
        service_account: Service account of the pods, which tells KServe how to read the store.
        ingress: `http://HOST:PORT` to send requests to with the service's host name; empty asks its
            address in the cluster, outside of it its URL.
        serving_extra: Rare settings of `deploy_kserve` (its `extra`).
        max_latency_ms: Most milliseconds that 95 of 100 requests to the service may take.
    """
    # From here on the outcome depends on the registry too, so nothing is taken from a cache.
    comparison = compare_models(
        predictions=candidate.outputs["predictions"],
        dataset=candidate.outputs["dataset"],
        min_metrics=min_metrics,
        trust_remote_code=candidate.inputs["trust_remote_code"],
    )
    comparison.set_display_name("Check the least values").set_caching_options(False)
    with dsl.If(comparison.outputs["decision"] == "promote", name="if good enough"):
        registration = register_kubeflow_model(
            model=candidate.outputs["model"],
            predictions=candidate.outputs["predictions"],
            name=name,
            registry=registry,
            staging_uri=staging_uri,
        )
        registration.set_display_name("Register").set_caching_options(False)
        deployment = deploy_kserve(
            model=registration.outputs["registered"],
            name=name,
            namespace=namespace,
            runtime=runtime,
            resources=resources,
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            canary_percent=canary_percent,
            service_account=service_account,
            ingress=ingress,
            extra=serving_extra,
        )
        deployment.set_display_name("Deploy").set_caching_options(False)
        test = test_endpoint(endpoint=deployment.outputs["endpoint"], max_latency_ms=max_latency_ms)
        test.set_display_name("Test the endpoint").set_caching_options(False)
