"""Amazon SageMaker batch transform: predicting JSON lines on S3 with a registered model."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from hfpc import aws
from hfpc.errors import ArgumentError, HfpcError
from hfpc.progress import Reporter
from hfpc.sinks import sagemaker_images
from hfpc.sinks.patience import Patience
from hfpc.sinks.rare_settings import rare_settings
from hfpc.sinks.sagemaker_calls import Place, tag_list
from hfpc.sinks.sagemaker_hosting import check_network, check_role, model_request, volume_key
from hfpc.sinks.sagemaker_register import PLATFORM, ModelPackage, check_tags, registered
from hfpc.sinks.sagemaker_staging import StagingConfig, as_archive, bucket_and_key, check_kms_key

__all__ = ["BatchPredictSagemakerConfig", "BatchPrediction", "batch_predict", "extra_settings", "registered"]

_LONGEST = 5 * 24 * 3600
_MOST_RUNS = 50
_JOB = "hfpc-"
"""What the names of jobs begin with."""

_RARE: dict[str, type] = {
    "max_payload_mb": int,
    "max_concurrency": int,
    "request_seconds": int,
    "request_retries": int,
    "kms_key": str,
    "subnets": list,
    "security_groups": list,
    "tags": dict,
}


@dataclass(frozen=True, kw_only=True)
class BatchPredictSagemakerConfig:
    """What is predicted, and where.

    Attributes:
        source: `s3://…` of one object, or of a prefix: one request as JSON a line, e.g. `{"inputs": "I love this"}`.
        output_uri: `s3://…` below which responses are written, a line for each request.
        role: ARN of the role that the job runs as. It may read model and source, and write responses.
        instance_type: Instance type, e.g. "ml.m5.large".
        instances: Instances that share the objects of the source.
        max_payload_mb: Most MB that the container is sent at once, 1 to 100. The default holds some ten thousand short
            texts: our server gets as many lines as fit, and of more it might not answer all within `request_seconds`.
        max_concurrency: Requests at once for an instance; 0 lets SageMaker choose. With more than 1,
            `max_payload_mb` times it may be at most 100.
        request_seconds: Seconds that a request may take, 1 to 3600. The default is SageMaker's most, as a request may
            hold many lines.
        request_retries: How often a request that failed is sent again.
        kms_key: KMS key that encrypts volumes and responses; "" for AWS's own. Volumes of instance types with NVMe
            disks take none: the instance itself encrypts them.
        subnets: Subnets of the VPC that containers are connected to.
        security_groups: Security groups of the VPC.
        tags: Tags of the job and its model.

    Raises:
        ArgumentError: A value cannot be used.
    """

    source: str
    output_uri: str
    role: str
    instance_type: str
    instances: int = 1
    max_payload_mb: int = 1
    max_concurrency: int = 0
    request_seconds: int = 3600
    request_retries: int = 1
    kms_key: str = ""
    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not bucket_and_key(self.source, "source")[1]:
            raise ArgumentError("source", self.source, "give an object or a prefix, not a whole bucket")
        bucket_and_key(self.output_uri, "output_uri")
        # As S3 reads a prefix: `s3://b/in` is the beginning of `s3://b/in-out/…` too.
        if _output(self, _JOB).startswith(self.source):
            fix = "responses would be predicted in turn: give a place that does not begin with source"
            raise ArgumentError("output_uri", self.output_uri, fix)
        check_role(self.role)
        if not self.instance_type:
            raise ArgumentError("instance_type", "", "name an instance type, e.g. ml.m5.large")
        sagemaker_images.processor(self.instance_type)
        for argument, least, most in (
            ("instances", 1, 100),
            ("max_payload_mb", 1, 100),
            ("max_concurrency", 0, 100),
            ("request_seconds", 1, 3600),
            ("request_retries", 0, 3),
        ):
            if not least <= getattr(self, argument) <= most:
                raise ArgumentError(argument, getattr(self, argument), f"give {least} to {most}")
        if self.max_concurrency * self.max_payload_mb > 100:
            fix = f"times max_payload_mb={self.max_payload_mb} it may be at most 100 MB"
            raise ArgumentError("max_concurrency", self.max_concurrency, fix)
        check_kms_key(self.kms_key)
        check_network(self.subnets, self.security_groups)
        check_tags(self.tags)


@dataclass(frozen=True, kw_only=True)
class BatchPrediction:
    """A batch that was predicted.

    Attributes:
        job: Name of the transform job.
        uri: `s3://…` below which the responses are: one object for each of the source, with `.out` added.
        objects: How many there are.
        region: AWS region.
        package: ARN of the model package.
        found: Whether an earlier run of the step had made the job already.
    """

    job: str
    uri: str
    objects: int
    region: str
    package: str
    found: bool

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its artifact."""
        return {"platform": PLATFORM, **asdict(self)}


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a batch.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, _RARE)


def batch_predict(
    package: ModelPackage, config: BatchPredictSagemakerConfig, patience: Patience | None = None
) -> BatchPrediction:
    """Predicts every line of a source with a registered model.

    A job is named after the model, the content of the source and the settings, so that a step that is run again
    waits for the job that it started before, or takes its responses. A job that failed is followed by another one.

    Args:
        package: A registered model, from `register`.
        config: What is predicted, and where.
        patience: How long is waited; None takes the defaults, and up to five days for the job.

    Raises:
        ArgumentError: An argument cannot be used, the source is empty, or transform jobs do not have what the package's
            container runs on.
        HfpcError: The job failed, or AWS refused or did not answer.
    """
    patience = patience or Patience(total=_LONGEST, pause=30.0)
    place = Place(region=aws.region(package.region), patience=patience)
    _check_machines(place, package, config)
    with aws.reaching(f"predicting {config.source}"):
        objects = _objects(place, config.source)
        if not objects:
            raise ArgumentError("source", config.source, "there is no object: give JSON lines on S3")
        request = _request(package, config)
        model = _model(package, config)
        base = _name([package.arn, package.fingerprint, model, request, config.output_uri, objects])
        job, found = _job(place, base, config, len(objects))
        if not found:
            _start(place, job, base, model, config, request)
        # The job may use the model until it ends.
        described = _ended(place, job)
        place.remove(place.sagemaker.delete_model, ModelName=base)
    if described["TransformJobStatus"] != "Completed":
        reason = " ".join(described.get("FailureReason", "SageMaker gives no reason").split())
        raise HfpcError(f"transform job {job} is {described['TransformJobStatus']}: {reason}")
    uri = _output(config, job)
    return BatchPrediction(
        job=job, uri=uri, objects=len(objects), region=place.region, package=package.arn, found=found
    )


def _check_machines(place: Place, package: ModelPackage, config: BatchPredictSagemakerConfig) -> None:
    """Raises ArgumentError where transform jobs do not have what the container runs on; asks nobody."""
    given = sagemaker_images.processor(config.instance_type)
    if given != package.processor:
        fix = f"it has {given} and the model was registered for {package.processor}: register it for this instance type"
        raise ArgumentError("instance_type", config.instance_type, fix)
    if package.ami:
        fix = (
            f"its image needs the machine image {package.ami}, which transform jobs do not have: deploy it, and ask it"
        )
        raise ArgumentError("registered", package.arn, fix)
    known = place.sagemaker.meta.service_model.shape_for("TransformInstanceType").enum
    if config.instance_type not in known:
        family = config.instance_type.rpartition(".")[0]
        alike = [each for each in known if each.startswith(f"{family}.")]
        usable = ", ".join(alike) or "e.g. ml.m5.large, or on GPUs ml.g5.xlarge"
        fix = (
            f"transform jobs run on other types ({usable}), as far as this version of botocore knows: take one of them"
        )
        raise ArgumentError("instance_type", config.instance_type, fix)


def _objects(place: Place, uri: str) -> dict[str, str]:
    """Key to ETag of what begins with a URI, as SageMaker reads a prefix; folders of consoles are left out."""
    bucket, key = bucket_and_key(uri)
    prefix = f"{key}/" if uri.endswith("/") else key
    found: dict[str, str] = {}
    request = {"Bucket": bucket, "Prefix": prefix}
    while True:
        answer = place.ask(place.s3.list_objects_v2, **request)
        found |= {item["Key"]: item["ETag"] for item in answer.get("Contents", ()) if not item["Key"].endswith("/")}
        if not answer.get("IsTruncated"):
            return found
        request["ContinuationToken"] = answer["NextContinuationToken"]


def _request(package: ModelPackage, config: BatchPredictSagemakerConfig) -> dict[str, Any]:
    """The request that makes the job, without its names.

    Our server answers many lines at once, other containers one request at a time.
    """
    ours = package.family == sagemaker_images.HFPC
    content_type = "application/jsonlines" if ours else "application/json"
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": config.source}}
    output = {"Accept": content_type, "AssembleWith": "Line"}
    resources: dict[str, Any] = {"InstanceType": config.instance_type, "InstanceCount": config.instances}
    if config.kms_key:
        output["KmsKeyId"] = config.kms_key
    if key := volume_key(config.kms_key, config.instance_type):
        resources["VolumeKmsKeyId"] = key
    request = {
        "TransformInput": {"DataSource": source, "ContentType": content_type, "SplitType": "Line"},
        "TransformOutput": output,
        "TransformResources": resources,
        "BatchStrategy": "MultiRecord" if ours else "SingleRecord",
        "MaxPayloadInMB": config.max_payload_mb,
        "ModelClientConfig": {
            "InvocationsTimeoutInSeconds": config.request_seconds,
            "InvocationsMaxRetries": config.request_retries,
        },
    }
    if config.max_concurrency:
        request["MaxConcurrentTransforms"] = config.max_concurrency
    if ours:
        request["Environment"] = {"HFPC_TIMEOUT": str(config.request_seconds)}
    return request


def _model(package: ModelPackage, config: BatchPredictSagemakerConfig) -> dict[str, Any]:
    """The request that makes the model, without its name; of an archive, as transform jobs take no folder."""
    staging = StagingConfig(uri=package.staging_uri, kms_key=package.kms_key)
    return model_request(
        package,
        model_data=as_archive(package.model_data, staging, package.region),
        role=config.role,
        subnets=config.subnets,
        security_groups=config.security_groups,
    )


def _name(parts: list[Any]) -> str:
    return f"{_JOB}{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]}"


def _output(config: BatchPredictSagemakerConfig, job: str) -> str:
    return f"{config.output_uri.rstrip('/')}/{job}/"


def _names(base: str) -> Iterator[str]:
    """Names of a job and of those that follow it: a name is never free again, also after a failure."""
    yield base
    yield from (f"{base}-{number}" for number in range(2, _MOST_RUNS + 1))


def _job(place: Place, base: str, config: BatchPredictSagemakerConfig, objects: int) -> tuple[str, bool]:
    """Name of the job that runs, or ended with responses that are still there; else a free name."""
    for job in _names(base):
        described = place.found(place.sagemaker.describe_transform_job, TransformJobName=job)
        if described is None:
            return job, False
        status = described["TransformJobStatus"]
        if status in ("InProgress", "Stopping"):
            return job, True
        if status == "Completed" and len(_objects(place, _output(config, job))) >= objects:
            return job, True
    raise HfpcError(f"{_MOST_RUNS} jobs named {base} ended without responses: look at their logs first")


def _start(
    place: Place,
    job: str,
    name: str,
    model: dict[str, Any],
    config: BatchPredictSagemakerConfig,
    request: dict[str, Any],
) -> None:
    """Makes the job and its model; where there is no job after all, the model goes again."""
    tags = tag_list(config.tags, job)
    output = {**request["TransformOutput"], "S3OutputPath": _output(config, job)}
    names = {"TransformJobName": job, "ModelName": name, "Tags": tags}
    try:
        place.ensure(place.sagemaker.create_model, ModelName=name, Tags=tags, **model)
        place.ensure(place.sagemaker.create_transform_job, **{**request, "TransformOutput": output}, **names)
    except Exception:
        with suppress(Exception):  # what ended the step is what to tell
            if place.found(place.sagemaker.describe_transform_job, TransformJobName=job) is None:
                place.remove(place.sagemaker.delete_model, ModelName=name)
        raise


def _ended(place: Place, job: str) -> Any:
    """A job once it has ended.

    Raises:
        HfpcError: It took too long.
    """
    reporter = Reporter("seconds of transform job")
    for waited in place.patience.polls():
        described = place.ask(place.sagemaker.describe_transform_job, TransformJobName=job)
        reporter.update(round(waited), f"{job} is {described['TransformJobStatus']}")
        if described["TransformJobStatus"] not in ("InProgress", "Stopping"):
            return described
    raise HfpcError(f"transform job {job} still runs after {place.patience.total:g} seconds: run this step again")
