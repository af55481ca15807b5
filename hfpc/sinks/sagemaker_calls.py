"""Calls to SageMaker that leave one thing of a kind, whatever goes wrong on the way.

Everything that is made here gets a name of its own, derived from what it is, so that a call whose answer was lost can
be made again: the second finds what the first made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hfpc import aws
from hfpc.errors import EndpointError
from hfpc.sinks.patience import Patience

MANAGED_TAG = "hfpc:managed"
"""Tag of everything that is made here; nothing without it is ever changed or removed."""

OWNER_TAG = "hfpc:endpoint"
"""Tag that names the endpoint or job that something was made for."""

_PASSING = (
    *("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"),
    *("ConcurrentUpdateException", "ConflictException", "RequestTimeout", "RequestTimeoutException"),
    *("ServiceUnavailable", "InternalFailure", "InternalServiceException", "ModelNotReadyException"),
)
_MISSING = (
    "404",
    "NoSuchKey",
    "NoSuchBucket",
    "ObjectNotFoundException",
    "ResourceNotFound",
    "ResourceNotFoundException",
)
_MISSING_TEXTS = ("could not find", "does not exist", "not found", "no scalable target", "no scaling policy")
_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A region of AWS, and how it is asked.

    Attributes:
        region: AWS region.
        patience: How long is waited.
    """

    region: str
    patience: Patience = field(default_factory=Patience)

    @cached_property
    def _session(self) -> Any:
        return aws.session(self.region)

    @cached_property
    def sagemaker(self) -> Any:
        """Client of SageMaker."""
        return aws.client("sagemaker", self.region, within=self._session)

    @cached_property
    def runtime(self) -> Any:
        """Client of endpoints."""
        return aws.client("sagemaker-runtime", self.region, within=self._session)

    @cached_property
    def autoscaling(self) -> Any:
        """Client of Application Auto Scaling."""
        return aws.client("application-autoscaling", self.region, within=self._session)

    @cached_property
    def alarms(self) -> Any:
        """Client of CloudWatch."""
        return aws.client("cloudwatch", self.region, within=self._session)

    @cached_property
    def s3(self) -> Any:
        """Client of S3; `ask` makes its calls again, as those of all others."""
        return aws.client("s3", self.region, attempts=1, within=self._session)

    def ask(self, method: Callable[..., Any], **request: Any) -> Any:
        """Makes a call that has the same effect when it is made twice; again after a failure that may pass."""
        for attempt in self.patience.retries():
            try:
                return method(**request)
            except Exception as error:
                if attempt == self.patience.attempts or not may_pass(error):
                    raise
        raise AssertionError("there is at least one attempt")

    def found(self, method: Callable[..., Any], **request: Any) -> Any:
        """What a call gives; None where there is no such thing."""
        try:
            return self.ask(method, **request)
        except Exception as error:
            if is_missing(error):
                return None
            raise

    def pages(self, method: Callable[..., Any], key: str, **request: Any) -> list[Any]:
        """All items that a call lists, page by page."""
        items: list[Any] = []
        while True:
            answer = self.ask(method, **request)
            items += answer[key]
            if not answer.get("NextToken"):
                return items
            request["NextToken"] = answer["NextToken"]

    def ensure(self, make: Callable[..., Any], **request: Any) -> None:
        """Makes something that has a name of its own, unless it is there.

        Names are unique, so a call that was perhaps done is made again: if it was done, it is refused. SageMaker may
        not yet see what was made just before and is named here, so that is no reason to give up at once either.
        """
        for attempt in self.patience.retries():
            try:
                make(**request)
                return
            except Exception as error:
                if is_taken(error):
                    return
                if attempt == self.patience.attempts or not (may_pass(error) or is_missing(error)):
                    raise

    def remove(self, remove: Callable[..., Any], **request: Any) -> None:
        """Removes something that may be gone already, also by a call whose answer was lost."""
        try:
            self.ask(remove, **request)
        except Exception as error:
            if not is_missing(error):
                raise

    def endpoint(self, name: str) -> Any:
        """An endpoint as it is; None where there is none."""
        return self.found(self.sagemaker.describe_endpoint, EndpointName=name)

    def settled(self, name: str) -> Any:
        """An endpoint once nothing changes it any more; None where there is none.

        Raises:
            EndpointError: It took too long.
        """
        for _ in self.patience.polls():
            endpoint = self.endpoint(name)
            if endpoint is None or endpoint["EndpointStatus"] not in _CHANGING:
                return endpoint
        status = endpoint["EndpointStatus"]
        raise EndpointError(f"endpoint {name} is still {status} after {self.patience.total:g} seconds")

    def tags(self, arn: str) -> dict[str, str]:
        """Tags of a thing; none where it is gone."""
        try:
            listed = self.pages(self.sagemaker.list_tags, "Tags", ResourceArn=arn)
        except Exception as error:
            if is_missing(error):  # lists name for a while what was removed
                return {}
            raise
        return {tag["Key"]: tag["Value"] for tag in listed}

    def is_ours(self, arn: str, owner: str) -> bool:
        """Whether something was made here, for this endpoint or job."""
        tags = self.tags(arn)
        return MANAGED_TAG in tags and tags.get(OWNER_TAG) == owner


def tag_list(tags: Mapping[str, str], owner: str) -> list[dict[str, str]]:
    """Tags as AWS takes them, with those that say who made it and for what."""
    every = {**tags, MANAGED_TAG: "true", OWNER_TAG: owner}
    return [{"Key": key, "Value": value} for key, value in every.items()]


def may_pass(error: BaseException) -> bool:
    """Whether a call that failed so may succeed when it is made again."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return type(error).__module__.startswith("botocore") and "Validation" not in type(error).__name__
    if aws.code(error) == "ModelError":
        return int(response.get("OriginalStatusCode", 0)) in (429, 503)
    return aws.code(error) in _PASSING or aws.is_unsure(error)


def is_taken(error: BaseException) -> bool:
    """Whether a call failed because the thing is there already."""
    return aws.code(error) == "ResourceInUse" or "already exist" in str(error)


def is_changing(error: BaseException) -> bool:
    """Whether a call was refused because the thing is being changed."""
    return "Validation" in aws.code(error) and "in-progress" in str(error)


def is_missing(error: BaseException) -> bool:
    """Whether a call failed because there is no such thing."""
    if aws.code(error) in _MISSING:
        return True
    return "Validation" in aws.code(error) and any(text in str(error).lower() for text in _MISSING_TEXTS)


def line(error: BaseException) -> str:
    """What went wrong, in one line."""
    return aws.reason(error) or type(error).__name__
