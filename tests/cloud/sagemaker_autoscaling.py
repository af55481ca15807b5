"""What Application Auto Scaling does with the targets of SageMaker, and moto does not.

A target goes with its policies and its scheduled actions, and none of these is made without a target.
"""

from collections.abc import Callable
from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.core import DEFAULT_ACCOUNT_ID

from tests.cloud.sagemaker_refusal import Refusal

Content = dict[str, Any]
Forward = Callable[[], Content]

_ACTIVITIES = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")


class Autoscaling:
    """The operations; each takes the request and a function that asks moto."""

    region = "us-east-1"

    def DescribeScalableTargets(self, body: Content, forward: Forward) -> Content:
        answer = forward()
        for target in answer["ScalableTargets"]:
            target["SuspendedState"] = {**dict.fromkeys(_ACTIVITIES, False), **(target["SuspendedState"] or {})}
        return answer

    def DeregisterScalableTarget(self, body: Content, forward: Forward) -> Content:
        answer = forward()
        self.end_scaling(body["ResourceId"])
        return answer

    def PutScalingPolicy(self, body: Content, forward: Forward) -> Content:
        return self._if_registered(body, forward)

    def PutScheduledAction(self, body: Content, forward: Forward) -> Content:
        return self._if_registered(body, forward)

    def is_scaled(self, start: str) -> bool:
        """Whether a resource whose id begins so is registered."""
        return any(key.startswith(start) for targets in self._autoscaling.targets.values() for key in targets)

    def end_scaling(self, start: str) -> None:
        """Removes the targets of resources whose ids begin so; alarms that were made for their policies stay."""
        backend = self._autoscaling
        for targets in backend.targets.values():
            for key in [key for key in targets if key.startswith(start)]:
                del targets[key]
        for key in [key for key, policy in backend.policies.items() if policy.resource_id.startswith(start)]:
            del backend.policies[key]
        kept = [action for action in backend.scheduled_actions if not action.resource_id.startswith(start)]
        backend.scheduled_actions = kept

    @property
    def _autoscaling(self) -> Any:
        return applicationautoscaling_backends[DEFAULT_ACCOUNT_ID][self.region]

    def _if_registered(self, body: Content, forward: Forward) -> Content:
        if not any(body["ResourceId"] in targets for targets in self._autoscaling.targets.values()):
            raise Refusal("ObjectNotFoundException", f"No scalable target registered for {body['ResourceId']}")
        return forward()
