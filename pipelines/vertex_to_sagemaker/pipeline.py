"""Trained on Vertex AI, served on Amazon SageMaker."""

from kfp import dsl

from hfpc.pipelines.continuation import continues
from hfpc.pipelines.finetune_sagemaker.pipeline import finetune_sagemaker


@dsl.pipeline(name="vertex-to-sagemaker", display_name="Train on Vertex AI, deploy on Amazon SageMaker")
@continues(finetune_sagemaker)
def vertex_to_sagemaker(deployed, region: str):
    """Fine-tunes a model on Vertex AI, and if it is good enough, deploys and tests it on Amazon SageMaker.

    No AWS keys are needed: `hfpc submit` hands `HFPC_AWS_ROLE_ARN` on from its environment, and the Google
    service account that the tasks run as takes that role on. `hfpc submit --profile` chooses the machines that
    train.

    Args:
        deployed: The whole of `finetune_sagemaker`.
        region: AWS region of the endpoint, e.g. `us-east-1`: the environment of a step on Vertex AI names none.
    """
