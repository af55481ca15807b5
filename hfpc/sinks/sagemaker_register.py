"""Amazon SageMaker's model registry: a model package group, and a package in it for each model."""

import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from hfpc import aws, manifest
from hfpc.errors import ArgumentError
from hfpc.manifest import Manifest
from hfpc.redaction import MASK, redacted
from hfpc.sinks import sagemaker_card, sagemaker_images, sagemaker_packages
from hfpc.sinks.sagemaker_images import Container
from hfpc.sinks.sagemaker_staging import Form, StagedModel, StagingConfig, container_data, record, stage, write_object

PLATFORM = "sagemaker"
Approval = Literal["Approved", "PendingManualApproval", "Rejected"]

_GROUP = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,1023}")
_TAG = re.compile(r"[\w .:/=+@-]{1,128}")
_TASKS = {"text-generation": "TEXT_GENERATION"}


@dataclass(frozen=True, kw_only=True)
class RegisterSagemakerModelConfig:
    """Where a model is registered, and what shall serve it.

    Attributes:
        group: Model package group: letters, digits and hyphens, at most 63. It is made if there is none.
        staging_uri: `s3://BUCKET/PREFIX` that model data and metrics are uploaded to, in the region of the endpoint.
        instance_type: Instance type it will be served on, e.g. "ml.m7i.large"; "" for serverless endpoints or any CPU.
        image: "hfpc", "huggingface", "vllm" or the URI of an image in ECR; "" chooses by task and instance type.
        version: Version of transformers or vLLM of a Deep Learning Container; "" means the newest that is known.
        environment: Environment variables of the container, beside those that the task needs; no secrets.
        approval: "Approved" by default, because a gate let the model through before; "PendingManualApproval" for
            groups in which people decide. A package that exists already keeps its own.
        form: "folder", which endpoints start from without unpacking, or "archive", which everything takes. "" means
            "archive" where `instance_type` is empty, as serverless endpoints take nothing else, and "folder" otherwise.
        kms_key: KMS key that encrypts model data, metrics and card; "" means the bucket's own encryption.
        region: AWS region; "" means the environment's.
        tags: Tags of the group, if it is made.

    Raises:
        ArgumentError: A value cannot be used.
    """

    group: str
    staging_uri: str
    instance_type: str = ""
    image: str = ""
    version: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    approval: Approval = "Approved"
    form: Form | Literal[""] = ""
    kms_key: str = ""
    region: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _GROUP.fullmatch(self.group):
            raise ArgumentError("group", self.group, "use letters, digits and single hyphens between them, at most 63")
        if self.approval not in get_args(Approval):
            raise ArgumentError("approval", self.approval, f"give one of {', '.join(get_args(Approval))}")
        _ = self.place
        sagemaker_images.processor(self.instance_type)
        check_environment(self.environment)
        check_tags(self.tags)

    @property
    def place(self) -> StagingConfig:
        """Where model data goes."""
        form = self.form or ("folder" if self.instance_type else "archive")
        return StagingConfig(uri=self.staging_uri, form=form, kms_key=self.kms_key)


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
        staging_uri: `s3://…` that model data is uploaded to; `stage` makes the other form there.
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
    staging_uri: str
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
        shown = {name: MASK if name == "environment" else value for name, value in metadata.items()}
        raise ArgumentError("registered", shown, fix) from None


def check_environment(environment: Mapping[str, str], argument: str = "environment") -> None:
    """Raises ArgumentError, without values, unless SageMaker takes these variables and none is named like a secret."""
    if len(environment) > 90:  # SageMaker takes 100, and a task needs a few
        raise ArgumentError(argument, sorted(environment), "give at most 90 variables")
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name) or not isinstance(value, str) or len(value) > 1024:
            fix = "give names like MAX_LENGTH, and text of at most 1024 as value"
            raise ArgumentError(argument, {name: MASK}, fix)
        if redacted("secret", name) == MASK:
            fix = f"{name} is named like a secret, and whoever may describe the model could read it: leave it out"
            raise ArgumentError(argument, {name: MASK}, fix)


def check_tags(tags: Mapping[str, str], argument: str = "tags") -> None:
    """Raises ArgumentError unless AWS takes these tags."""
    if len(tags) > 40:
        raise ArgumentError(argument, dict(tags), "give at most 40 tags")
    for name, value in tags.items():
        usable = _TAG.fullmatch(name) and isinstance(value, str) and (value == "" or _TAG.fullmatch(value))
        if not usable or name.lower().startswith("aws:"):
            raise ArgumentError(argument, {name: value}, "use letters, digits, spaces and _ . : / = + - @, at most 128")


def register(model: str, predictions: Path | None, config: RegisterSagemakerModelConfig) -> ModelPackage:
    """Uploads a model to S3 and registers it as a package of a model package group.

    Registering the same model for the same container twice gives the same package.

    Args:
        model: Path or URI (`gs://`, `s3://`, …) of a model folder.
        predictions: The model's predictions from `evaluate`; None adds no metrics to those in its `hfpc.json`.
        config: Where to, and for which container.

    Raises:
        ArgumentError: An argument cannot be used, or the predictions are another model's.
        DataError: A folder does not hold what it should.
        HfpcError: AWS refused, or did not answer.
    """
    region = aws.region(config.region)
    found = record(model)
    assert found.model is not None
    measured = {**found.model.metrics, **_metrics(predictions, found.model.fingerprint)}
    metrics = {name: value for name, value in measured.items() if math.isfinite(value)}  # JSON knows no others
    container = sagemaker_images.choose(
        task=found.task,
        region=region,
        instance_type=config.instance_type,
        image=config.image,
        version=config.version,
        backend=found.optimization.backend if found.optimization else "pytorch",
        max_length=found.model.max_length,
    )
    # Every call here may be made twice: names are unique, and the package has a client token.
    client = aws.client("sagemaker", region, attempts=5)
    with aws.reaching(f"registering the model in {config.group}"):
        sagemaker_packages.make_group(client, config.group, config.tags)
        staged = stage(model, config.place, region)
        specification = _specification(container, staged, config)
        key = _key(found.model.fingerprint, specification)
        package = sagemaker_packages.find(client, config.group, key)
        if package is None:
            document = _write_metrics(metrics, staged.fingerprint, config, region) if metrics else ""
            request = _request(found, metrics, document, specification, key, config)
            package = sagemaker_packages.create(client, config.group, key, request)
        approval = client.describe_model_package(ModelPackageName=package).get("ModelApprovalStatus", "")
    return ModelPackage(
        arn=package,
        group=config.group,
        version=package.rpartition("/")[2],
        region=region,
        fingerprint=staged.fingerprint,
        task=found.task,
        model_data=staged.uri,
        staging_uri=config.staging_uri,
        kms_key=config.kms_key,
        family=container.family,
        image=container.image,
        processor=container.processor,
        ami=container.ami,
        environment={**container.environment, **config.environment},
        approval=approval,
    )


def _specification(container: Container, staged: StagedModel, config: RegisterSagemakerModelConfig) -> dict[str, Any]:
    specification: dict[str, Any] = {
        "Containers": [
            {
                "Image": container.image,
                **container_data(staged.uri),
                "Environment": {**container.environment, **config.environment},
                "Framework": "HUGGINGFACE",
            }
        ],
        "SupportedContentTypes": list(container.content_types),
        "SupportedResponseMIMETypes": list(container.response_types),
    }
    if config.instance_type:
        specification["SupportedRealtimeInferenceInstanceTypes"] = [config.instance_type]
    return specification


def _model_data(specification: Mapping[str, Any]) -> str:
    [container] = specification["Containers"]
    return str(container.get("ModelDataUrl") or container["ModelDataSource"]["S3DataSource"]["S3Uri"])


def _key(fingerprint: str, specification: Mapping[str, Any]) -> str:
    """What tells a package from others of its group: the model, and all that it takes to serve it."""
    text = json.dumps([fingerprint, specification], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _request(
    found: Manifest,
    metrics: Mapping[str, float],
    document: str,
    specification: dict[str, Any],
    key: str,
    config: RegisterSagemakerModelConfig,
) -> dict[str, Any]:
    assert found.model is not None
    name = sagemaker_card.public_name(found.model.base_model)[:400]
    request: dict[str, Any] = {
        "ModelPackageGroupName": config.group,
        "ModelPackageDescription": f"{found.task}, fine-tuned from {name} {sagemaker_packages.mark(key)}",
        "InferenceSpecification": specification,
        "ModelApprovalStatus": config.approval,
        "CustomerMetadataProperties": sagemaker_card.facts(found, key),
        "Domain": "NATURAL_LANGUAGE_PROCESSING",
        "Task": _TASKS.get(found.task, "CLASSIFICATION"),
        "ModelCard": {
            "ModelCardContent": sagemaker_card.card(found, metrics, _model_data(specification)),
            "ModelCardStatus": "Draft",
        },
        "ClientToken": str(uuid.uuid4()),
    }
    if config.kms_key:
        request["SecurityConfig"] = {"KmsKeyId": config.kms_key}
    if document:
        request["ModelMetrics"] = {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": document}}
        }
    return request


def _write_metrics(
    metrics: Mapping[str, float], fingerprint: str, config: RegisterSagemakerModelConfig, region: str
) -> str:
    """Puts the metrics on S3, named after their content; URI."""
    content = sagemaker_card.statistics(metrics)
    uri = f"{config.staging_uri.rstrip('/')}/{fingerprint}/metrics-{hashlib.sha256(content).hexdigest()[:12]}.json"
    write_object(uri, content, config.kms_key, region)
    return uri


def _metrics(predictions: Path | None, fingerprint: str) -> dict[str, float]:
    """The metrics of an evaluation, prefixed by its split."""
    if predictions is None:
        return {}
    measured = manifest.read(predictions, "predictions").predictions
    assert measured is not None
    if measured.model != fingerprint:
        raise ArgumentError("predictions", str(predictions), "they are of another model: evaluate this one")
    return {f"{measured.split}/{metric}": value for metric, value in measured.metrics.items()}
