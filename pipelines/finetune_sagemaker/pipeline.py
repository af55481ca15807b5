"""Raw rows to a tested model on an Amazon SageMaker endpoint."""

from typing import Dict, List

from kfp import dsl

from hfpc.components import (
    compare_models,
    deploy_sagemaker_endpoint,
    register_sagemaker_model,
    test_endpoint,
)
from hfpc.pipelines.continuation import continues
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate


@dsl.pipeline(name="finetune-sagemaker", display_name="Fine-tune and deploy on Amazon SageMaker")
@continues(train_and_evaluate)
def finetune_sagemaker(
    candidate,
    role: str,
    staging_uri: str,
    name: str = "tweets",
    min_metrics: Dict[str, float] = {},
    region: str = "",
    image: str = "",
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
    kms_key: str = "",
    deployment_extra: dict = {},
    max_latency_ms: float = 10000.0,
):
    """Fine-tunes a model, and if it is good enough, registers, deploys and tests it on Amazon SageMaker.

    Args:
        candidate: The trained, measured model; the task `train_and_evaluate`.
        role: ARN of the role that the container of the endpoint runs as.
        staging_uri: Folder (`s3://`) that the model is uploaded to, in the region of the endpoint.
        name: Name of the model package group, and of the endpoint: letters, digits and hyphens, at most 40.
        min_metrics: Metric name to the least value a model must reach to be deployed.
        region: AWS region; empty means the environment's.
        image: `hfpc`, `huggingface` or the URI of an image in ECR; empty chooses by task and instance type. See
            `register_sagemaker_model`.
        mode: `realtime`, `serverless` or `async`. An endpoint keeps its mode.
        instance_type: Instance type, e.g. `ml.m7i.large`; empty for serverless.
        min_instances: Instances that always run; 0, for async only, lets the endpoint scale to none.
        max_instances: Most instances that load may start.
        scaling_target: What autoscaling keeps, if `max_instances` is above `min_instances`: requests a minute
            for an instance, or for async requests that wait for one.
        memory_mb: Memory of a serverless container in MB, 1024 to 6144.
        max_concurrency: Requests at once of a serverless endpoint (0 means 5), or for an async instance.
        output_uri: Folder (`s3://`) that async responses are written to.
        traffic: How an update moves traffic: `all_at_once`, `canary` or `linear`.
        alarms: CloudWatch alarms; one that is raised during an update rolls it back.
        kms_key: KMS key that encrypts the model on S3; empty means the bucket's own encryption. Volumes of
            instances have theirs in `deployment_extra`.
        deployment_extra: Rare settings of `deploy_sagemaker_endpoint` (its `extra`), e.g.
            `{"tags": {"team": "search"}}`.
        max_latency_ms: Most milliseconds that 95 of 100 requests may take, one at a time. The default leaves
            room for async endpoints, which answer by way of S3.
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
        registration = register_sagemaker_model(
            model=candidate.outputs["model"],
            predictions=candidate.outputs["predictions"],
            group=name,
            staging_uri=staging_uri,
            instance_type=instance_type,
            image=image,
            kms_key=kms_key,
            region=region,
        )
        registration.set_display_name("Register").set_caching_options(False)
        deployment = deploy_sagemaker_endpoint(
            registered=registration.outputs["registered"],
            endpoint_name=name,
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
            extra=deployment_extra,
        )
        deployment.set_display_name("Deploy").set_caching_options(False)
        testing = test_endpoint(endpoint=deployment.outputs["endpoint"], max_latency_ms=max_latency_ms)
        testing.set_display_name("Test the endpoint").set_caching_options(False)
