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
_NOTED = {"target": "TargetValue", "in": "ScaleInCooldown", "out": "ScaleOutCooldown"}


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
    others = _others(now)
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
    # What wakes an endpoint comes first: what lets it go to none may be the last thing that a killed step does.
    for name, policy in sorted(scaling.policies.items(), key=lambda item: item[0] != FROM_ZERO):
        if now.policies.get(name) != policy:
            place.ask(place.autoscaling.put_scaling_policy, PolicyName=name, **policy, **_target(endpoint))
        if name == FROM_ZERO:
            _watch_backlog(place, endpoint)


def remove(place: Place, endpoint: str) -> None:
    """Ends the scaling of an endpoint that goes, or is gone: its alarm does not go with it."""
    apply(place, endpoint, Scaling())
    if _alarms(place, endpoint):
        place.remove(place.alarms.delete_alarms, AlarmNames=[_alarm(endpoint)])


def noted(scaling: Scaling) -> str:
    """A scaling in the letters of a tag, to scale an endpoint so again."""
    if scaling.limits is None:
        return "none"
    least, most = scaling.limits
    own = scaling.policies.get(TRACKING, {}).get(_TRACKING_FIELD, {})
    tracking = [f"{key}={own[name]}" for key, name in _NOTED.items() if name in own]
    return " ".join([f"least={least}", f"most={most}", *tracking, f"others={len(_others(scaling))}"])


def from_note(note: str, config: DeploySagemakerEndpointConfig, now: Scaling) -> Scaling:
    """The scaling that a note tells of, at an endpoint of the same mode.

    Policies of others are too long for a note: those that are there no more are lost, which is told.
    """
    if note == "none":
        return Scaling()
    told = dict(part.split("=") for part in note.split())
    policies = _others(now)
    if lost := int(told["others"]) - len(policies):
        what = f"{lost} scaling policies of endpoint {config.endpoint_name} that were not made by this library"
        print(f"{what} are lost: a step that was killed had taken them away", flush=True)
    if "target" in told:
        policy = _tracking(config)
        own = {name: told[key] for key, name in _NOTED.items() if key in told}
        policy[_TRACKING_FIELD] |= {
            name: float(text) if name == "TargetValue" else int(text) for name, text in own.items()
        }
        policies[TRACKING] = policy
    if told["least"] == "0":
        policies[FROM_ZERO] = _from_zero()
    return Scaling(limits=(int(told["least"]), int(told["most"])), policies=policies)


def _others(scaling: Scaling) -> dict[str, dict[str, Any]]:
    """The policies that are not ours."""
    return {name: policy for name, policy in scaling.policies.items() if name not in (TRACKING, FROM_ZERO)}


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
    """Lets the alarm of waiting requests start an instance, also where it acts on a policy that is gone."""
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
    if any(set(arns) <= set(alarm["AlarmActions"]) for alarm in _alarms(place, endpoint)):
        return
    place.ask(
        place.alarms.put_metric_alarm,
        AlarmName=_alarm(endpoint),
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


def _alarms(place: Place, endpoint: str) -> list[Any]:
    """The alarm of waiting requests, if there is one."""
    return place.pages(place.alarms.describe_alarms, "MetricAlarms", AlarmNames=[_alarm(endpoint)])


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
