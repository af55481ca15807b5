"""Component: predict JSON lines on S3 with a registered model."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def batch_predict_sagemaker(
    registered: Input[Model],
    predictions: Output[Dataset],
    source: str,
    output_uri: str,
    role: str,
    instance_type: str,
    instances: int = 1,
    extra: Dict[str, Any] = {},
):
    """Predicts every line of a source with a transform job of SageMaker, and waits for it.

    The same model, source and settings are the same job, as long as the source's objects stay what they
    are: a step that is run again waits for the job that it started, or takes what that made.

    Args:
        registered: A model from `register_sagemaker_model`.
        source: `s3://…` of one object, or of a prefix: one request as JSON a line, e.g.
            `{"inputs": "I love this"}`.
        output_uri: `s3://…` below which responses are written, a line for each request.
        role: ARN of the role that the job runs as.
        instance_type: Instance type, e.g. `ml.m5.large`.
        instances: Instances that share the objects of the source.
        extra: Rare settings: `max_payload_mb`, `max_concurrency`, `request_seconds`, `request_retries`,
            `kms_key`, `subnets`, `security_groups`, `tags`.

    Returns:
        predictions: Its URI is the folder with one object for each of the source, `.out` added to its name;
            its metadata name the platform, job, region, package and number of objects.
    """
    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.sagemaker_batch import BatchPredictSagemakerConfig, batch_predict, extra_settings
    from hfpc.sinks.sagemaker_batch import registered as package

    config = BatchPredictSagemakerConfig(
        source=source,
        output_uri=output_uri,
        role=role,
        instance_type=instance_type,
        instances=instances,
        **extra_settings(extra),
    )
    predicted = batch_predict(package(registered.metadata), config)
    set_uri(predictions, predicted.uri)
    predictions.metadata.update(predicted.metadata)
