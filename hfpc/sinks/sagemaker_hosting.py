"""How a model is hosted on SageMaker: the settings of an endpoint, which are checked before any call."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hfpc.errors import ArgumentError
from hfpc.sinks import sagemaker_images
from hfpc.sinks.sagemaker_register import ModelPackage, check_tags
from hfpc.sinks.sagemaker_staging import bucket_and_key, check_kms_key, container_data

Mode = Literal["realtime", "serverless", "async"]
Traffic = Literal["all_at_once", "canary", "linear"]
VARIANT = "all"
"""Name of the one variant that an endpoint has here."""

_NAME = re.compile(r"[a-zA-Z0-9](-?[a-zA-Z0-9]){0,39}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[\w.-]{1,256}")
_LOCAL_DISKS = re.compile(
    r"ml\.([cmr][0-9]+[a-z]*dn?|g4dn|g5|gr?6|g6e|g7e?|p3dn|p4de?|p5|p5en?|p6-b[23]00|trn1n?|trn2)\..*"
)
"""Instance types with NVMe disks of their own."""

_LONGEST_URI = 512
_LONGEST_WAITS = 25_200
"""Seconds; SageMaker lets an update take an hour more at most."""

RARE: dict[str, type] = {
    "initial_instances": int,
    "traffic_percent": int,
    "traffic_wait_seconds": int,
    "termination_wait_seconds": int,
    "scale_in_seconds": int,
    "scale_out_seconds": int,
    "failure_uri": str,
    "success_topic": str,
    "error_topic": str,
    "capture_uri": str,
    "capture_percent": int,
    "kms_key": str,
    "subnets": list,
    "security_groups": list,
    "startup_seconds": int,
    "tags": dict,
}
"""Settings that the component takes in `extra`, and what each is."""


@dataclass(frozen=True, kw_only=True)
class DeploySagemakerEndpointConfig:
    """How a model is deployed.

    Attributes:
        endpoint_name: Name of the endpoint: letters, digits and single hyphens, at most 40, so that names of what
            belongs to it can be made of it. The endpoint is made if there is none.
        role: ARN of the role that the container runs as. It may read the model data and pull the image.
        mode: "realtime", "serverless" or "async".
        instance_type: Instance type, e.g. "ml.m7i.large"; "" for serverless.
        initial_instances: Instances at the start; 0 means `min_instances`, and 1 where that is 0.
        min_instances: Instances that always run. 0, for async only, lets it scale to none.
        max_instances: Most instances that load may start. More than `min_instances` turns autoscaling on.
        scaling_target: What autoscaling keeps: requests a minute for an instance, or for async requests that wait
            for one.
        scale_in_seconds: Seconds between two steps down.
        scale_out_seconds: Seconds between two steps up.
        memory_mb: Memory of a serverless container in MB: 1024 to 6144 in steps of 1024.
        max_concurrency: Requests at once: of a serverless endpoint, or for an instance of an async one, where 0
            lets SageMaker choose.
        output_uri: `s3://…` that async responses are written to.
        failure_uri: `s3://…` that async errors are written to; "" means `output_uri`.
        success_topic: ARN of the SNS topic that is told of each async response.
        error_topic: ARN of the SNS topic that is told of each async error.
        traffic: How an update moves traffic: "all_at_once", "canary" (a share first, then all) or "linear" (share
            by share).
        traffic_percent: The share: 1 to 50 for canary, 10 to 50 for linear.
        traffic_wait_seconds: Seconds between two moves, in which alarms are watched.
        termination_wait_seconds: Seconds that old instances are kept after an update.
        alarms: Names of CloudWatch alarms; one that is raised during an update rolls it back.
        capture_uri: `s3://…` that requests and responses are captured to; "" for none.
        capture_percent: Share of requests that is captured.
        kms_key: KMS key that encrypts volumes, async requests and output, and captured data; "" for AWS's own. Volumes
            of instance types with NVMe disks take none: the instance itself encrypts them.
        subnets: Subnets of the VPC that containers are connected to.
        security_groups: Security groups of the VPC.
        startup_seconds: Seconds that a container may take to load and to become healthy, 60 to 3600; 0 means
            SageMaker's own.
        tags: Tags of everything that is made.

    Raises:
        ArgumentError: A value cannot be used, or not with another one.
    """

    endpoint_name: str
    role: str
    mode: Mode = "realtime"
    instance_type: str = ""
    initial_instances: int = 0
    min_instances: int = 1
    max_instances: int = 1
    scaling_target: float = 0.0
    scale_in_seconds: int = 300
    scale_out_seconds: int = 60
    memory_mb: int = 3072
    max_concurrency: int = 0
    output_uri: str = ""
    failure_uri: str = ""
    success_topic: str = ""
    error_topic: str = ""
    traffic: Traffic = "all_at_once"
    traffic_percent: int = 10
    traffic_wait_seconds: int = 300
    termination_wait_seconds: int = 120
    alarms: Sequence[str] = ()
    capture_uri: str = ""
    capture_percent: int = 100
    kms_key: str = ""
    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    startup_seconds: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.endpoint_name)
        check_role(self.role)
        if self.mode not in get_args(Mode):
            raise ArgumentError("mode", self.mode, f"give one of {', '.join(get_args(Mode))}")
        if self.mode == "serverless":
            self._check_serverless()
        else:
            self._check_instances()
        self._check_async()
        self._check_traffic()
        self._check_places()
        check_tags(self.tags)

    @property
    def scales(self) -> bool:
        """Whether the number of instances follows the load."""
        return self.max_instances > self.min_instances

    @property
    def instances(self) -> int:
        """Instances at the start."""
        return self.initial_instances or max(1, self.min_instances)

    def _check_serverless(self) -> None:
        why = {
            "instance_type": "a serverless endpoint has no instances, so no GPUs either: leave it empty",
            "startup_seconds": "a serverless endpoint has no such limit: leave it 0",
            "capture_uri": "a serverless endpoint captures no data: leave it empty",
            "subnets": "a serverless endpoint cannot be connected to a VPC: leave it empty",
            "security_groups": "a serverless endpoint cannot be connected to a VPC: leave it empty",
            "initial_instances": "a serverless endpoint has no instances: leave it 0",
            "scaling_target": "a serverless endpoint scales by itself: leave it 0 and set max_concurrency",
            "alarms": "a serverless endpoint is updated at once, without alarms: leave it empty",
        }
        for argument, fix in why.items():
            if getattr(self, argument):
                raise ArgumentError(argument, getattr(self, argument), fix)
        for argument in ("min_instances", "max_instances"):
            if getattr(self, argument) != 1:
                fix = "a serverless endpoint scales by itself: leave it 1 and set max_concurrency"
                raise ArgumentError(argument, getattr(self, argument), fix)
        if self.traffic != "all_at_once":
            fix = "a serverless endpoint is updated at once, without shares of traffic: give all_at_once"
            raise ArgumentError("traffic", self.traffic, fix)
        if self.memory_mb not in range(1024, 6145, 1024):
            raise ArgumentError("memory_mb", self.memory_mb, "give 1024, 2048, 3072, 4096, 5120 or 6144")
        if not 0 <= self.max_concurrency <= 200:
            raise ArgumentError("max_concurrency", self.max_concurrency, "give 1 to 200, or 0 for 5")

    def _check_instances(self) -> None:
        if not self.instance_type:
            raise ArgumentError(
                "instance_type", "", f"name the instance type of a {self.mode} endpoint, e.g. ml.m5.large"
            )
        sagemaker_images.processor(self.instance_type)
        least = 0 if self.mode == "async" else 1
        if self.min_instances < least:
            fix = f"give at least {least}" + ("" if self.mode == "async" else ": only async endpoints scale to zero")
            raise ArgumentError("min_instances", self.min_instances, fix)
        if not max(1, self.min_instances) <= self.max_instances <= 1000:
            fix = f"give {max(1, self.min_instances)} (min_instances) to 1000"
            raise ArgumentError("max_instances", self.max_instances, fix)
        if self.initial_instances and not self.min_instances <= self.initial_instances <= self.max_instances:
            fix = f"give min_instances={self.min_instances} to max_instances={self.max_instances}, or 0"
            raise ArgumentError("initial_instances", self.initial_instances, fix)
        if self.scales != (self.scaling_target > 0) or not math.isfinite(self.scaling_target):
            what = "requests that wait for" if self.mode == "async" else "requests a minute for"
            fix = f"give the {what} an instance that autoscaling shall keep, if max_instances is above min_instances"
            raise ArgumentError("scaling_target", self.scaling_target, fix)
        for argument in ("scale_in_seconds", "scale_out_seconds"):
            if not 0 <= getattr(self, argument) <= 3600:
                raise ArgumentError(argument, getattr(self, argument), "give seconds, 0 to 3600")
        if self.startup_seconds and not 60 <= self.startup_seconds <= 3600:
            raise ArgumentError("startup_seconds", self.startup_seconds, "give seconds, 60 to 3600, or 0")

    def _check_async(self) -> None:
        if self.mode == "async":
            if not self.output_uri:
                raise ArgumentError("output_uri", "", "an async endpoint answers on S3: give s3://BUCKET/PREFIX")
            if not 0 <= self.max_concurrency <= 1000:
                raise ArgumentError("max_concurrency", self.max_concurrency, "give 1 to 1000, or 0")
        else:
            for argument in ("output_uri", "failure_uri", "success_topic", "error_topic"):
                if getattr(self, argument):
                    fix = f"a {self.mode} endpoint answers at once: leave it empty, or give mode async"
                    raise ArgumentError(argument, getattr(self, argument), fix)
        if self.mode == "realtime" and self.max_concurrency:
            fix = "a realtime endpoint takes what its server takes: leave it 0"
            raise ArgumentError("max_concurrency", self.max_concurrency, fix)
        for argument in ("success_topic", "error_topic"):
            if getattr(self, argument) and not _TOPIC.fullmatch(getattr(self, argument)):
                raise ArgumentError(argument, getattr(self, argument), "give the ARN of an SNS topic")

    def _check_traffic(self) -> None:
        if self.traffic not in get_args(Traffic):
            raise ArgumentError("traffic", self.traffic, f"give one of {', '.join(get_args(Traffic))}")
        for argument in ("traffic_wait_seconds", "termination_wait_seconds"):
            if not 0 <= getattr(self, argument) <= 3600:
                raise ArgumentError(argument, getattr(self, argument), "give seconds, 0 to 3600")
        if len(self.alarms) > 10:
            raise ArgumentError("alarms", self.alarms, "give at most 10 alarms")
        if self.traffic == "all_at_once":
            return
        least = 10 if self.traffic == "linear" else 1
        if not least <= self.traffic_percent <= 50:
            raise ArgumentError("traffic_percent", self.traffic_percent, f"give {least} to 50 for {self.traffic}")
        if self.instances < 2:
            fix = f"{self.traffic} needs at least two instances, to move a part of them: set min_instances to 2"
            raise ArgumentError("traffic", self.traffic, fix)
        if self.update_seconds > _LONGEST_WAITS:
            fix = f"SageMaker ends an update after 8 hours, and these waits take {self.update_seconds} s: wait less"
            raise ArgumentError("traffic_wait_seconds", self.traffic_wait_seconds, fix)

    @property
    def update_seconds(self) -> int:
        """Seconds that an update may wait in all: for models and containers to start, moves, and old instances."""
        steps = -(-100 // self.traffic_percent) if self.traffic == "linear" else 2 if self.traffic == "canary" else 1
        return 2 * self.startup_seconds + steps * self.traffic_wait_seconds + self.termination_wait_seconds

    def _check_places(self) -> None:
        for argument in ("output_uri", "failure_uri", "capture_uri"):
            uri = getattr(self, argument)
            if uri:
                bucket_and_key(uri, argument)
            if len(uri) > _LONGEST_URI:
                raise ArgumentError(argument, uri, f"SageMaker takes at most {_LONGEST_URI} characters here")
        if not 1 <= self.capture_percent <= 100:
            raise ArgumentError("capture_percent", self.capture_percent, "give percent, 1 to 100")
        check_kms_key(self.kms_key)
        check_network(self.subnets, self.security_groups)


def check_name(name: str) -> None:
    """Raises ArgumentError unless an endpoint can have this name, and what belongs to it names made of it."""
    if not _NAME.fullmatch(name):
        raise ArgumentError("endpoint_name", name, "use letters, digits and single hyphens between them, at most 40")


def check_role(role: str) -> None:
    """Raises ArgumentError unless this is the ARN of a role."""
    if not _ROLE.fullmatch(role):
        raise ArgumentError(
            "role", role, "give the ARN of the role that SageMaker takes on, arn:aws:iam::ACCOUNT:role/NAME"
        )


def volume_key(key: str, instance_type: str) -> str:
    """The key of the volumes of an instance type; "" for types with disks of their own, which take no key."""
    return "" if _LOCAL_DISKS.fullmatch(instance_type) else key


def check_network(subnets: Sequence[str], security_groups: Sequence[str]) -> None:
    """Raises ArgumentError unless both or none are given, and look like what they are."""
    if bool(subnets) != bool(security_groups):
        empty = "security_groups" if subnets else "subnets"
        raise ArgumentError(empty, [], "a VPC needs both subnets and security_groups: give both or neither")
    for argument, given, prefix, most in (
        ("subnets", subnets, "subnet", 16),
        ("security_groups", security_groups, "sg", 5),
    ):
        form = re.compile(f"{prefix}-[0-9a-f]{{8,17}}")
        if len(given) > most or not all(isinstance(item, str) and form.fullmatch(item) for item in given):
            raise ArgumentError(argument, list(given), f"give at most {most} ids like {prefix}-0123456789abcdef0")


def model_request(
    package: ModelPackage, *, model_data: str, role: str, subnets: Sequence[str], security_groups: Sequence[str]
) -> dict[str, Any]:
    """The request that makes a model of SageMaker of a package, without its name."""
    container: dict[str, Any] = {
        "Image": package.image,
        **container_data(model_data),
        "Environment": dict(package.environment),
    }
    request: dict[str, Any] = {"PrimaryContainer": container, "ExecutionRoleArn": role}
    if subnets:
        request["VpcConfig"] = {"Subnets": list(subnets), "SecurityGroupIds": list(security_groups)}
    return request
