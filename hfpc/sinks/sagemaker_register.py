"""Amazon SageMaker's model registry: a model package group, and a package in it for each model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hfpc.errors import ArgumentError

PLATFORM = "sagemaker"


@dataclass(frozen=True, kw_only=True)
class ModelPackage:
    """A model in SageMaker's registry, and what it takes to serve it.

    Attributes:
        arn: ARN of the package.
        group: Name of its model package group.
        version: Its number in the group.
        region: AWS region.
        fingerprint: SHA-256 of weights, configuration and tokenizer files.
        task: Task of the model, e.g. "text-classification".
        model_data: `s3://…/model/` or `s3://…/model.tar.gz`.
        staging: `s3://…` that model data is uploaded to; `stage` makes the other form there.
        kms_key: KMS key that model data is encrypted with; "" means the bucket's own encryption.
        family: "hfpc", "huggingface" or "vllm"; "" for another image.
        image: Image in ECR.
        processor: What the image computes on: "cpu", "gpu" or "neuron".
        ami: Machine image for `InferenceAmiVersion`; "" for the instance's own.
        environment: Environment variables of the container.
        approval: "Approved", "PendingManualApproval" or "Rejected".
    """

    arn: str
    group: str
    version: str
    region: str
    fingerprint: str
    task: str
    model_data: str
    staging: str
    kms_key: str = ""
    family: str = ""
    image: str
    processor: str
    ami: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    approval: str

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its artifact."""
        return {"platform": PLATFORM, **asdict(self)}


def registered(metadata: Mapping[str, Any]) -> ModelPackage:
    """The package in the metadata of an artifact.

    Raises:
        ArgumentError: It is no artifact of `register_sagemaker_model`.
    """
    names = ModelPackage.__dataclass_fields__
    try:
        if metadata.get("platform") != PLATFORM:
            raise TypeError
        return ModelPackage(**{name: metadata[name] for name in names if name in metadata})
    except TypeError:
        fix = "give a model from register_sagemaker_model"
        raise ArgumentError("registered", dict(metadata), fix) from None
