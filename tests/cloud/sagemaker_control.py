"""What SageMaker's control plane does and moto does not.

A method is an operation: it takes the request and a function that asks moto, and returns the answer. Names that are
taken are refused, a client token gives the same package again, endpoints are changed in steps, and a change whose
containers are not healthy, or during which an alarm is raised, is rolled back.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

from tests.cloud import sagemaker_containers, sagemaker_transforms
from tests.cloud.sagemaker_autoscaling import Autoscaling
from tests.cloud.sagemaker_refusal import Refusal

REGION = Autoscaling.region
Content = dict[str, Any]
Forward = Callable[[], Content]


@dataclass
class _Endpoint:
    """What becomes of an endpoint.

    Attributes:
        status: "Creating", "Updating", "InService", "Failed" or "Deleting".
        serving: Configuration that answers; "" for none yet.
        target: Configuration that it is changed to.
        left: How often it will be described before the change is done.
        deployment: How traffic is moved, of the update that runs.
        retains: Whether the update that runs keeps the number of instances.
        reason: Why the last change failed.
    """

    status: str
    serving: str
    target: str
    left: int
    deployment: Content = field(default_factory=dict)
    retains: bool = False
    reason: str = ""


class Control(Autoscaling):
    """Rules and life cycles.

    Attributes:
        steps: How often an endpoint is described as being changed before the change is done; 0 does it at once.
        updates: The `UpdateEndpoint` requests that were accepted.
        misuses: What a careful client does not do, e.g. deleting the configuration of an endpoint that serves.
        jobs: Name to transform job.
        tags: Repository in the registry of AWS's own images to the tags in it.
        idle: Asynchronous endpoints answer nothing that is in their queue, as long as no instance of them runs.
        fails: Updates fail, and so does rolling them back.
        load: Instances to which autoscaling has just begun to bring an endpoint when it is next updated; 0 for none.
    """

    def __init__(self, containers: dict[str, str]) -> None:
        self._containers = containers
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.steps = 0
        self.updates: list[Content] = []
        self.misuses: list[str] = []
        self.jobs: dict[str, sagemaker_transforms.Job] = {}
        self.tags: dict[str, list[str]] = {}
        self.idle = False
        self.load, self.fails = 0, False
        self._endpoints: dict[str, _Endpoint] = {}
        self._tokens: dict[str, Content] = {}
        self._cards: dict[str, Content] = {}

    @property
    def backend(self) -> Any:
        """moto's own state."""
        return sagemaker_backends[DEFAULT_ACCOUNT_ID][REGION]

    # Model packages

    def CreateModelPackageGroup(self, body: Content, forward: Forward) -> Content:
        if body["ModelPackageGroupName"] in self.backend.model_package_groups:
            raise Refusal("ValidationException", "Model Package Group already exists: " + body["ModelPackageGroupName"])
        return forward()

    def CreateModelPackage(self, body: Content, forward: Forward) -> Content:
        token = body.get("ClientToken", "")
        if token not in self._tokens:
            self._tokens[token] = forward()
            self._cards[self._tokens[token]["ModelPackageArn"]] = body.get("ModelCard", {})
        return self._tokens[token]

    def DescribeModelPackage(self, body: Content, forward: Forward) -> Content:
        answer = forward()
        if card := self._cards.get(answer["ModelPackageArn"]):
            answer["ModelCard"] = card
        return _pruned(answer)

    def DeleteModelPackage(self, body: Content, forward: Forward) -> Content:
        name = body["ModelPackageName"]
        if self.backend.model_packages.pop(name, None) is None:
            raise Refusal("ValidationException", f"Model package {name} not found")
        self._tokens = {token: made for token, made in self._tokens.items() if made["ModelPackageArn"] != name}
        return {}

    # Images

    def ListImages(self, body: Content, forward: Forward) -> Content:
        if body.get("registryId", DEFAULT_ACCOUNT_ID) == DEFAULT_ACCOUNT_ID:
            return forward()
        if body["repositoryName"] not in self.tags:
            raise Refusal("AccessDeniedException", f"not authorized to list {body['repositoryName']}")
        return {"imageIds": [{"imageTag": tag} for tag in self.tags[body["repositoryName"]]]}

    # Models, configurations and endpoints

    def ListTags(self, body: Content, forward: Forward) -> Content:
        kind, _, name = body["ResourceArn"].rpartition(":")[2].partition("/")
        known = {"endpoint": self._endpoints, "endpoint-config": self.backend.endpoint_configs}
        known["model"] = self.backend._models
        if name not in known.get(kind, {name: None}):
            raise Refusal("ValidationException", f'Could not find {kind} "{name}".')
        return forward()

    def AddTags(self, body: Content, forward: Forward) -> Content:
        answer, resource = forward(), self.backend._get_resource_from_arn(body["ResourceArn"])
        values = {tag["Key"]: tag["Value"] for tag in resource.tags}  # the last of a key counts
        resource.tags = [{"Key": key, "Value": value} for key, value in values.items()]
        return answer

    def CreateModel(self, body: Content, forward: Forward) -> Content:
        return self._unless_there(self.backend._models, body["ModelName"], "model", forward)

    def DescribeModel(self, body: Content, forward: Forward) -> Content:
        return _pruned(forward())

    def CreateEndpointConfig(self, body: Content, forward: Forward) -> Content:
        name = body["EndpointConfigName"]
        for variant in body["ProductionVariants"]:
            if "ServerlessConfig" in variant and self._has_source(variant["ModelName"]):
                told = f"{variant['ModelName']} has a ModelDataSource, which serverless endpoints do not take."
                raise Refusal("ValidationException", told)
        return self._unless_there(self.backend.endpoint_configs, name, "endpoint configuration", forward)

    def DescribeEndpointConfig(self, body: Content, forward: Forward) -> Content:
        return _pruned(forward())

    def DeleteEndpointConfig(self, body: Content, forward: Forward) -> Content:
        name = body["EndpointConfigName"]
        for endpoint, known in self._endpoints.items():
            if name in (known.serving, known.target) and known.status not in ("Failed", "Deleting"):
                self.misuses.append(f"DeleteEndpointConfig {name}, which {endpoint} uses")
        return forward()

    def DeleteModel(self, body: Content, forward: Forward) -> Content:
        name = body["ModelName"]
        for endpoint, known in self._endpoints.items():
            if known.status not in ("Failed", "Deleting") and name in self._models(known.serving):
                self.misuses.append(f"DeleteModel {name}, which {endpoint} serves")
        return forward()

    def CreateEndpoint(self, body: Content, forward: Forward) -> Content:
        name = body["EndpointName"]
        answer = self._unless_there(self._endpoints, name, "endpoint", forward)
        self._endpoints[name] = _Endpoint("Creating", "", body["EndpointConfigName"], self.steps)
        self._advance(name)
        return answer

    def UpdateEndpoint(self, body: Content, forward: Forward) -> Content:
        name, config = body["EndpointName"], body["EndpointConfigName"]
        known = self._endpoints.get(name)
        if known is None:
            raise Refusal("ValidationException", f'Could not find endpoint "{name}".')
        if self.load:
            self._grow(name)
        if known.status != "InService":
            raise Refusal("ValidationException", f'Cannot update in-progress endpoint "{name}".')
        if config not in self.backend.endpoint_configs:
            raise Refusal("ValidationException", f'Could not find endpoint configuration "{config}".')
        if body.get("ExcludeRetainedVariantProperties") == [{"VariantPropertyType": "DataCaptureConfig"}]:
            raise Refusal("ValidationException", "DataCaptureConfig is not currently supported.")
        if self.is_scaled(f"endpoint/{name}/") and self._machines(known.serving) != self._machines(config):
            told = "must be deregistered as scalable targets with AWS Auto Scaling before they can be removed or have"
            raise Refusal("ValidationException", f"The variant(s) {told} their instance type updated.")
        self.updates.append(body)
        known.retains = body.get("RetainAllVariantProperties", False)
        known.status, known.target, known.left, known.reason = "Updating", config, self.steps, ""
        known.deployment = body.get("DeploymentConfig", {})
        self._advance(name)
        return {"EndpointArn": self.backend.endpoints[name].arn}

    def DescribeEndpoint(self, body: Content, forward: Forward) -> Content:
        name = body["EndpointName"]
        known = self._endpoints.get(name)
        if known is None:
            return forward()
        if known.status in ("Creating", "Updating", "Deleting"):
            known.left -= 1
            self._advance(name)
        if name not in self._endpoints:
            raise Refusal("ValidationException", f'Could not find endpoint "{name}".')
        answer = forward()
        answer["EndpointStatus"] = known.status
        answer["EndpointConfigName"] = known.serving or known.target
        if known.reason:
            answer["FailureReason"] = known.reason
        return _pruned(answer)

    def DeleteEndpoint(self, body: Content, forward: Forward) -> Content:
        name = body["EndpointName"]
        known = self._endpoints.get(name)
        if known is None or known.status == "Deleting":
            raise Refusal("ValidationException", f'Could not find endpoint "{name}".')
        if known.status in ("Creating", "Updating"):
            raise Refusal("ValidationException", f'Cannot update in-progress endpoint "{name}".')
        known.status, known.left = "Deleting", self.steps
        self.end_scaling(f"endpoint/{name}/")
        self._advance(name)
        return {}

    # Batch transform

    def CreateTransformJob(self, body: Content, forward: Forward) -> Content:
        name = body["TransformJobName"]
        if self._has_source(body["ModelName"]):
            told = "Model entity with container definitions which use ModelDataSource attribute"
            raise Refusal("ValidationException", f"SageMaker Batch currently doesn't support {told}.")
        if (machine := body["TransformResources"]["InstanceType"]) not in sagemaker_transforms.instance_types():
            told = f"Value '{machine}' at 'transformResources.instanceType' failed to satisfy constraint"
            raise Refusal("ValidationException", f"1 validation error detected: {told}: enum value set")
        answer = self._unless_there(self.jobs, name, "transform job", forward)
        job = self.jobs[name] = sagemaker_transforms.Job(body, self.steps)
        if job.left == 0:
            self._transform(job)
        return answer

    def DescribeTransformJob(self, body: Content, forward: Forward) -> Content:
        job, answer = self.jobs.get(body["TransformJobName"]), forward()
        if job is None:
            return answer
        if job.status == "InProgress":
            job.left -= 1
            if job.left <= 0:
                self._transform(job)
        answer["TransformJobStatus"] = job.status
        if job.reason:
            answer["FailureReason"] = job.reason
        return _pruned(answer)

    def StopTransformJob(self, body: Content, forward: Forward) -> Content:
        job = self.jobs.get(body["TransformJobName"])
        if job is None or job.status != "InProgress":
            raise Refusal("ValidationException", "The request was rejected because the job is not running.")
        job.status = "Stopped"
        return {}

    def _has_source(self, model: str) -> bool:
        """Whether the data of a model is a `ModelDataSource`."""
        known = self.backend._models.get(model)
        return known is not None and "ModelDataSource" in known.primary_container

    def _transform(self, job: sagemaker_transforms.Job) -> None:
        image = self.backend.describe_model(job.request["ModelName"]).primary_container["Image"]
        if image not in self._containers:
            job.status, job.reason = "Failed", "AlgorithmError: the container did not pass the ping health check"
            return
        sagemaker_transforms.run(job, self._containers[image])

    def serving(self, name: str) -> str:
        """Name of the configuration that an endpoint answers by; "" where it does not."""
        known = self._endpoints.get(name)
        return known.serving if known and known.status in ("InService", "Updating") else ""

    def _advance(self, name: str) -> None:
        """Ends the change of an endpoint, if it is due."""
        known = self._endpoints[name]
        if known.left > 0:
            return
        if known.status == "Deleting":
            del self._endpoints[name], self.backend.endpoints[name]
            return
        ill = self._unhealthy(known.target) or _raised(known.deployment)
        known.reason = ill
        if ill and known.status == "Creating":
            known.status = "Failed"
            return
        if self.fails and known.status == "Updating" and known.target != known.serving:
            known.status, known.reason = "UpdateRollbackFailed", "The deployment and its rollback failed."
            return
        known.status = "InService"
        if not ill and known.serving != known.target:
            self._replace_variants(name, known)
            known.serving = known.target
            self.backend.endpoints[name].endpoint_config_name = known.target
            self.backend.endpoints[name].last_modified_time = time.time()
        known.target = known.serving

    def _grow(self, name: str) -> None:
        """Autoscaling adds instances: the endpoint is being changed for a while."""
        known = self._endpoints[name]
        known.status, known.target, known.left, known.deployment = "Updating", known.serving, max(self.steps, 1), {}
        for variant in self.backend.endpoints[name].production_variants:
            variant["CurrentInstanceCount"] = variant["DesiredInstanceCount"] = self.load
        self.load = 0

    def _replace_variants(self, name: str, known: _Endpoint) -> None:
        """The variants of the configuration to come, with as many instances as it says or as there are."""
        endpoint = self.backend.endpoints[name]
        there = {variant["VariantName"]: variant for variant in endpoint.production_variants}
        wanted = self.backend.endpoint_configs[known.target].production_variants
        endpoint.production_variants = endpoint._process_production_variants(wanted)
        for variant in endpoint.production_variants if known.retains else []:
            kept = there.get(variant["VariantName"], {})
            variant.update({key: value for key, value in kept.items() if key.endswith("InstanceCount")})

    def _machines(self, config: str) -> list[str]:
        known = self.backend.endpoint_configs.get(config)
        return [variant.get("InstanceType", "") for variant in known.production_variants] if known else []

    def _unhealthy(self, config: str) -> str:
        """Why a container of a configuration does not answer `GET /ping`; "" where all do."""
        for model in self._models(config):
            image = self.backend.describe_model(model).primary_container["Image"]
            if not sagemaker_containers.ping(self._containers.get(image, "")):
                return f"The primary container for production variant {model} did not pass the ping health check."
        return ""

    def _models(self, config: str) -> list[str]:
        known = self.backend.endpoint_configs.get(config)
        return [variant["ModelName"] for variant in known.production_variants] if known else []

    @staticmethod
    def _unless_there(known: Content | dict[str, _Endpoint], name: str, what: str, forward: Forward) -> Content:
        if name in known:
            raise Refusal("ValidationException", f'Cannot create already existing {what} "{name}".')
        return forward()


def _raised(deployment: Content) -> str:
    """The alarm of an update that is raised; "" for none."""
    named = deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])
    alarms = cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION].alarms
    raised = [
        alarm["AlarmName"] for alarm in named if getattr(alarms.get(alarm["AlarmName"]), "state_value", "") == "ALARM"
    ]
    return f"Alarm {raised[0]} was raised, so the deployment was rolled back." if raised else ""


def _pruned(content: Content) -> Content:
    """Without what moto answers as empty and SageMaker leaves out."""
    return {key: value for key, value in content.items() if value not in (None, {}, [])}
