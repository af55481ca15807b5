"""Amazon SageMaker endpoints: deploying a registered model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hfpc import aws
from hfpc.errors import ArgumentError
from hfpc.sinks import sagemaker_images
from hfpc.sinks.patience import Patience
from hfpc.sinks.rare_settings import rare_settings
from hfpc.sinks.sagemaker_calls import Place, tag_list
from hfpc.sinks.sagemaker_hosting import RARE, VARIANT, DeploySagemakerEndpointConfig, Mode, model_request, volume_key
from hfpc.sinks.sagemaker_register import PLATFORM, ModelPackage, registered
from hfpc.sinks.sagemaker_requests import expected_of
from hfpc.sinks.sagemaker_rollout import Rollout, roll_out
from hfpc.sinks.sagemaker_staging import StagingConfig, as_archive

__all__ = ["DeploySagemakerEndpointConfig", "SagemakerEndpoint", "deploy", "extra_settings", "registered"]

_PACKAGE_TAG = "hfpc:package"


@dataclass(frozen=True, kw_only=True)
class SagemakerEndpoint:
    """A registered model that serves.

    Attributes:
        name: Name of the endpoint.
        arn: Its ARN.
        region: AWS region.
        mode: "realtime", "serverless" or "async".
        package: ARN of the model package that serves.
        fingerprint: The model's fingerprint.
        task: Task of the model.
        family: Family of the container, which says how it is asked: "hfpc", "huggingface" or "vllm"; "" for another.
        model_data: Where the model's files are, `s3://…`.
        output_uri: Where an async endpoint writes its responses; "" for others.
        kms_key: KMS key that encrypts its requests and responses on S3; "" for the bucket's own encryption.
        config: Name of the endpoint's configuration.
        previous_config: Name of the one before; "" for none. It is gone.
        moved: Whether deploying changed the endpoint; False where the model served so already.
    """

    name: str
    arn: str
    region: str
    mode: Mode
    package: str
    fingerprint: str
    task: str
    family: str = ""
    model_data: str
    output_uri: str
    config: str
    previous_config: str
    moved: bool
    kms_key: str = ""

    @property
    def uri(self) -> str:
        """Where it is asked."""
        suffix = ".cn" if self.region.startswith("cn-") else ""
        path = "async-invocations" if self.mode == "async" else "invocations"
        return f"https://runtime.sagemaker.{self.region}.amazonaws.com{suffix}/endpoints/{self.name}/{path}"

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its artifact."""
        return {"platform": PLATFORM, **asdict(self)}


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a deployment.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, RARE)


def deploy(
    package: ModelPackage, config: DeploySagemakerEndpointConfig, patience: Patience | None = None
) -> SagemakerEndpoint:
    """Deploys a registered model to an endpoint, which changes once the model has answered rightly.

    The first model is tested at the new endpoint. Where another one serves, the new one is first deployed to a trial
    endpoint with one instance, and sent the golden requests kept with the model; then the endpoint is updated, all at
    once or share by share, while the alarms are watched, and asked again. On any failure the endpoint gets its
    configuration and its scaling back, and what was made is removed. Deploying what serves already changes nothing;
    a step that is run again goes on where it stopped.

    Args:
        package: A registered model, from `register`.
        config: Where to, and how it is hosted.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used, or the package was not approved.
        DataError: The model has no golden requests.
        EndpointError: The model could not be deployed, or answered otherwise than when it was made.
        HfpcError: AWS refused or did not answer.
    """
    _check_container(package, config)
    place = Place(region=aws.region(package.region), patience=_patience(config, patience or Patience()))
    with aws.reaching(f"deploying to the endpoint {config.endpoint_name}"):
        _check_approval(place, package)
        _check_alarms(place, config)
        expected = expected_of(place, package.model_data, package.task, package.family)
        data = _model_data(package, config)
        model = _model(package, data, config)
        hosting = _hosting(package, config)
        name = _name(config.endpoint_name, model, hosting)
        rollout = Rollout(
            place=place,
            config=config,
            name=name,
            model=model,
            hosting=_named(hosting, name),
            trial=_named(_trial(hosting), name),
            shift=_shift(config),
            tags=tag_list({**config.tags, _PACKAGE_TAG: package.arn}, config.endpoint_name),
            expected=expected,
        )
        outcome = roll_out(rollout)
    return SagemakerEndpoint(
        name=config.endpoint_name,
        arn=outcome.arn,
        region=place.region,
        mode=config.mode,
        package=package.arn,
        fingerprint=package.fingerprint,
        task=package.task,
        family=package.family,
        model_data=data,
        output_uri=config.output_uri,
        config=name,
        previous_config=outcome.previous,
        moved=outcome.moved,
        kms_key=config.kms_key,
    )


def _patience(config: DeploySagemakerEndpointConfig, patience: Patience) -> Patience:
    """Waits also for as long as the settings let an update wait, and containers load and become healthy."""
    waits = config.update_seconds if config.mode != "serverless" else 0
    return replace(patience, total=patience.total + waits)


def _check_container(package: ModelPackage, config: DeploySagemakerEndpointConfig) -> None:
    """Raises ArgumentError where the image does not compute on what the endpoint has."""
    given = sagemaker_images.processor(config.instance_type)
    if given == package.processor:
        return
    if config.mode == "serverless":
        fix = f"a serverless endpoint has CPUs only, and the model was registered for {package.processor}"
        raise ArgumentError("mode", config.mode, f"{fix}: register it without an instance_type, or give mode realtime")
    fix = f"it has {given} and the model was registered for {package.processor}: register it for this instance type"
    raise ArgumentError("instance_type", config.instance_type, fix)


def _check_approval(place: Place, package: ModelPackage) -> None:
    """Raises ArgumentError unless the package is approved now, whatever it was when it was registered."""
    found = place.found(place.sagemaker.describe_model_package, ModelPackageName=package.arn)
    if found is None:
        raise ArgumentError(
            "registered", package.arn, "there is no such model package any more: register the model again"
        )
    approval = found.get("ModelApprovalStatus", "Approved")
    if approval != "Approved":
        raise ArgumentError("registered", package.arn, f"it is {approval}: approve the package in SageMaker first")


def _check_alarms(place: Place, config: DeploySagemakerEndpointConfig) -> None:
    """Raises ArgumentError where an alarm is missing, or raised already: it would roll any update back."""
    if not config.alarms:
        return
    types = ["MetricAlarm", "CompositeAlarm"]
    answer = place.ask(place.alarms.describe_alarms, AlarmNames=list(config.alarms), AlarmTypes=types)
    found = [*answer.get("MetricAlarms", []), *answer.get("CompositeAlarms", [])]
    if missing := sorted(set(config.alarms) - {alarm["AlarmName"] for alarm in found}):
        raise ArgumentError("alarms", missing, f"there is no such alarm in {place.region}: make it first")
    if raised := sorted(alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"):
        raise ArgumentError("alarms", raised, "it is raised now, so an update would be rolled back: see to it first")


def _model_data(package: ModelPackage, config: DeploySagemakerEndpointConfig) -> str:
    """Where the model is in the form that the endpoint takes: serverless ones take archives only."""
    if config.mode != "serverless":
        return package.model_data
    place = StagingConfig(uri=package.staging_uri, kms_key=package.kms_key)
    return as_archive(package.model_data, place, package.region)


def _model(package: ModelPackage, data: str, config: DeploySagemakerEndpointConfig) -> dict[str, Any]:
    return model_request(
        package,
        model_data=data,
        role=config.role,
        subnets=config.subnets,
        security_groups=config.security_groups,
    )


def _hosting(package: ModelPackage, config: DeploySagemakerEndpointConfig) -> dict[str, Any]:
    """The request that makes the configuration, without names."""
    variant: dict[str, Any] = {"VariantName": VARIANT}
    if config.mode == "serverless":
        concurrency = config.max_concurrency or 5
        variant["ServerlessConfig"] = {"MemorySizeInMB": config.memory_mb, "MaxConcurrency": concurrency}
    else:
        variant |= {"InstanceType": config.instance_type, "InitialInstanceCount": config.instances}
        if config.startup_seconds:
            variant["ContainerStartupHealthCheckTimeoutInSeconds"] = config.startup_seconds
            variant["ModelDataDownloadTimeoutInSeconds"] = config.startup_seconds
        if package.ami:
            variant["InferenceAmiVersion"] = package.ami
    request: dict[str, Any] = {"ProductionVariants": [variant]}
    if config.mode == "async":
        request["AsyncInferenceConfig"] = _async(config)
    if config.capture_uri:
        request["DataCaptureConfig"] = _capture(config)
    if key := volume_key(config.kms_key, config.instance_type):
        request["KmsKeyId"] = key
    return request


def _async(config: DeploySagemakerEndpointConfig) -> dict[str, Any]:
    output: dict[str, Any] = {
        "S3OutputPath": config.output_uri,
        "S3FailurePath": config.failure_uri or config.output_uri,
    }
    topics = {"SuccessTopic": config.success_topic, "ErrorTopic": config.error_topic}
    if given := {key: topic for key, topic in topics.items() if topic}:
        output["NotificationConfig"] = given
    if config.kms_key:
        output["KmsKeyId"] = config.kms_key
    asynchronous: dict[str, Any] = {"OutputConfig": output}
    if config.max_concurrency:
        asynchronous["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": config.max_concurrency}
    return asynchronous


def _capture(config: DeploySagemakerEndpointConfig) -> dict[str, Any]:
    capture: dict[str, Any] = {
        "EnableCapture": True,
        "InitialSamplingPercentage": config.capture_percent,
        "DestinationS3Uri": config.capture_uri,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    if config.kms_key:
        capture["KmsKeyId"] = config.kms_key
    return capture


def _trial(hosting: dict[str, Any]) -> dict[str, Any]:
    """The same on one instance, without what tells or records what is asked of it."""
    trial = {key: value for key, value in hosting.items() if key != "DataCaptureConfig"}
    [variant] = hosting["ProductionVariants"]
    if "InitialInstanceCount" in variant:
        trial["ProductionVariants"] = [{**variant, "InitialInstanceCount": 1}]
    if asynchronous := hosting.get("AsyncInferenceConfig"):
        output = {key: value for key, value in asynchronous["OutputConfig"].items() if key != "NotificationConfig"}
        trial["AsyncInferenceConfig"] = {**asynchronous, "OutputConfig": output}
    return trial


def _named(hosting: dict[str, Any], model: str) -> dict[str, Any]:
    return {**hosting, "ProductionVariants": [{**hosting["ProductionVariants"][0], "ModelName": model}]}


def _name(endpoint: str, model: dict[str, Any], hosting: dict[str, Any]) -> str:
    """A name that tells a deployment from others: model data are named after the model's fingerprint."""
    text = json.dumps([model, hosting], sort_keys=True)
    return f"{endpoint}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _shift(config: DeploySagemakerEndpointConfig) -> dict[str, Any]:
    """`DeploymentConfig`; SageMaker takes none for serverless endpoints."""
    if config.mode == "serverless":
        return {}
    routing: dict[str, Any] = {
        "Type": config.traffic.upper(),
        "WaitIntervalInSeconds": config.traffic_wait_seconds,
    }
    part = {"canary": "CanarySize", "linear": "LinearStepSize"}.get(config.traffic)
    if part:
        routing[part] = {"Type": "CAPACITY_PERCENT", "Value": config.traffic_percent}
    deployment: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": config.termination_wait_seconds,
            "MaximumExecutionTimeoutInSeconds": config.update_seconds + 3_600,
        }
    }
    if config.alarms:
        alarms = [{"AlarmName": name} for name in config.alarms]
        deployment["AutoRollbackConfiguration"] = {"Alarms": alarms}
    return {"DeploymentConfig": deployment}
