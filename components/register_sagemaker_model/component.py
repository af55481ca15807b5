"""Component: keep a model in Amazon SageMaker's model registry."""

from typing import Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register_sagemaker_model(
    model: Input[Model],
    predictions: Input[Dataset],
    registered: Output[Model],
    group: str,
    staging_uri: str,
    instance_type: str = "",
    image: str = "",
    version: str = "",
    environment: Dict[str, str] = {},
    approval: str = "Approved",
    form: str = "",
    kms_key: str = "",
    region: str = "",
    tags: Dict[str, str] = {},
):
    """Uploads a model to S3 and adds it to SageMaker's model registry, with its metrics and card.

    Registering the same model for the same container twice gives the same version. Credentials come from
    the environment: keys, IRSA, or on Vertex AI the role named by `HFPC_AWS_ROLE_ARN`.

    Args:
        model: A model from `finetune` or `optimize`.
        predictions: Its predictions from `evaluate`, whose metrics are kept with the version.
        group: Model package group: letters, digits and hyphens, at most 63. It is made if there is none.
        staging_uri: `s3://BUCKET/PREFIX` for model data and metrics, in the region of the endpoint.
        instance_type: Instance type that it will be served on, e.g. `ml.m7i.large`. It decides between images for
            CPUs, GPUs and Neuron; empty means CPUs, which serverless endpoints have.
        image: `hfpc` (our server), `huggingface` or `vllm` (Deep Learning Containers of AWS), or the URI of an
            image in ECR; empty chooses by task, instance type and what computes the model.
        version: Version of transformers or vLLM of the Deep Learning Container; empty means the newest known.
        environment: Environment variables of the container, beside those the task needs; no secrets.
        approval: `Approved` (default: the gate let the model through), `PendingManualApproval` or `Rejected`.
            A version that exists already keeps its own.
        form: `folder` (endpoints start without unpacking) or `archive` (serverless endpoints take nothing else);
            empty means `archive` where `instance_type` is empty.
        kms_key: KMS key that encrypts model data, metrics and card; empty means the bucket's own encryption.
        region: AWS region; empty means the environment's.
        tags: Tags of the group, if it is made.

    Returns:
        registered: Its metadata name the platform, package, group, version, region, fingerprint, task, model
            data, image, environment and approval.
    """
    from pathlib import Path

    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register

    config = RegisterSagemakerModelConfig(
        group=group,
        staging_uri=staging_uri,
        instance_type=instance_type,
        image=image,
        version=version,
        environment=environment,
        approval=approval,
        form=form,
        kms_key=kms_key,
        region=region,
        tags=tags,
    )
    package = register(model.path, Path(predictions.path), config)
    set_uri(registered, package.model_data)
    registered.framework = "transformers"
    registered.metadata.update(package.metadata)
