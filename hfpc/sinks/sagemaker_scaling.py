"""Autoscaling of SageMaker endpoints, as Application Auto Scaling does it.

Only policies whose names begin with `hfpc-` are ours: others of the same endpoint are kept as they are.
"""

from dataclasses import dataclass, field
from typing import Any

from hfpc.errors import HfpcError
from hfpc.sinks.sagemaker_calls import Place
from hfpc.sinks.sagemaker_hosting import VARIANT, DeploySagemakerEndpointConfig

TRACKING, FROM_ZERO = "hfpc-tracking", "hfpc-from-zero"
_TRACKING_FIELD = "TargetTrackingScalingPolicyConfiguration"
_STEP_FIELD = "StepScalingPolicyConfiguration"


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How the instances of an endpoint are scaled.

    Attributes:
        limits: Least and most instances; None where nothing scales them.
        policies: Name to policy, as AWS describes it.
    """

    limits: tuple[int, int] | None = None
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)


def wanted(config: DeploySagemakerEndpointConfig, now: Scaling) -> Scaling:
    """What the settings ask for, with policies of others as they are."""
    others = {name: policy for name, policy in now.policies.items() if name not in (TRACKING, FROM_ZERO)}
    if not config.scales:
        return Scaling(limits=now.limits, policies=others) if others else Scaling()
    own = {TRACKING: _tracking(config)}
    if config.min_instances == 0:
        own[FROM_ZERO] = _from_zero()
    return Scaling(limits=(config.min_instances, config.max_instances), policies={**others, **own})


def read(place: Place, endpoint: str) -> Scaling:
    """How an endpoint is scaled now."""
    target = {"ServiceNamespace": "sagemaker", "ScalableDimension": _dimension()}
    limits = place.pages(
        place.autoscaling.describe_scalable_targets, "ScalableTargets", ResourceIds=[_resource(endpoint)], **target
    )
    if not limits:
        return Scaling()
    policies = place.pages(
        place.autoscaling.describe_scaling_policies, "ScalingPolicies", ResourceId=_resource(endpoint), **target
    )
    kept = ("PolicyType", _TRACKING_FIELD, _STEP_FIELD)
    return Scaling(
        limits=(limits[0]["MinCapacity"], limits[0]["MaxCapacity"]),
        policies={item["PolicyName"]: {key: item[key] for key in kept if item.get(key)} for item in policies},
    )


def apply(place: Place, endpoint: str, scaling: Scaling) -> None:
    """Scales an endpoint so; changes nothing where it is scaled so already."""
    now = read(place, endpoint)
    for name in sorted(now.policies.keys() - scaling.policies.keys()):
        _remove_policy(place, endpoint, name)
    if scaling.limits is None:
        if now.limits is not None:
            place.remove(place.autoscaling.deregister_scalable_target, **_target(endpoint))
        return
    if now.limits != scaling.limits:
        least, most = scaling.limits
        place.ask(place.autoscaling.register_scalable_target, MinCapacity=least, MaxCapacity=most, **_target(endpoint))
    for name, policy in scaling.policies.items():
        if now.policies.get(name) != policy:
            place.ask(place.autoscaling.put_scaling_policy, PolicyName=name, **policy, **_target(endpoint))
    if FROM_ZERO in scaling.policies:
        _watch_backlog(place, endpoint)


def remove(place: Place, endpoint: str) -> None:
    """Ends the scaling of an endpoint that goes."""
    apply(place, endpoint, Scaling())


def _tracking(config: DeploySagemakerEndpointConfig) -> dict[str, Any]:
    asynchronous = config.mode == "async"
    metric: dict[str, Any] = (
        {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": config.endpoint_name}],
                "Statistic": "Average",
            }
        }
        if asynchronous
        else {"PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}}
    )
    tracking = {
        "TargetValue": float(config.scaling_target),
        **metric,
        "ScaleInCooldown": config.scale_in_seconds,
        "ScaleOutCooldown": config.scale_out_seconds,
    }
    return {"PolicyType": "TargetTrackingScaling", _TRACKING_FIELD: tracking}


def _from_zero() -> dict[str, Any]:
    """Starts one instance: no backlog can be tracked for an instance while there is none."""
    steps = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        "Cooldown": 300,
        "MetricAggregationType": "Average",
    }
    return {"PolicyType": "StepScaling", _STEP_FIELD: steps}


def _watch_backlog(place: Place, endpoint: str) -> None:
    """Lets the alarm of waiting requests start an instance."""
    alarm = _alarm(endpoint)
    if place.pages(place.alarms.describe_alarms, "MetricAlarms", AlarmNames=[alarm]):
        return
    policies = place.pages(
        place.autoscaling.describe_scaling_policies,
        "ScalingPolicies",
        ServiceNamespace="sagemaker",
        ResourceId=_resource(endpoint),
        ScalableDimension=_dimension(),
        PolicyNames=[FROM_ZERO],
    )
    arns = [item["PolicyARN"] for item in policies if item["PolicyName"] == FROM_ZERO]
    if not arns:
        raise HfpcError(f"the scaling policy {FROM_ZERO} of endpoint {endpoint} is gone: run this step again")
    place.ask(
        place.alarms.put_metric_alarm,
        AlarmName=alarm,
        AlarmActions=arns,
        MetricName="HasBacklogWithoutCapacity",
        Namespace="AWS/SageMaker",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        DatapointsToAlarm=2,
        Threshold=1.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
    )


def _remove_policy(place: Place, endpoint: str, name: str) -> None:
    if name == FROM_ZERO:
        place.remove(place.alarms.delete_alarms, AlarmNames=[_alarm(endpoint)])
    place.remove(place.autoscaling.delete_scaling_policy, PolicyName=name, **_target(endpoint))


def _target(endpoint: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": _resource(endpoint),
        "ScalableDimension": _dimension(),
    }


def _resource(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def _dimension() -> str:
    return "sagemaker:variant:DesiredInstanceCount"


def _alarm(endpoint: str) -> str:
    return f"hfpc-{endpoint}-backlog-without-capacity"
