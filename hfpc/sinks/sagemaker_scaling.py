"""Autoscaling of SageMaker endpoints, as Application Auto Scaling does it.

Only the policies `hfpc-tracking` and `hfpc-from-zero` are ours. What others have made at the same endpoint, policies,
scheduled actions and the suspension of activities, stays as it is; it is made again where a change of the instance
type takes it away, as SageMaker allows none while the endpoint is a scalable target, and AWS deletes policies and
scheduled actions with the target. Tags of the target are lost then, and schedules like `rate(1 day)` begin anew.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.sagemaker_calls import Place
from hfpc.sinks.sagemaker_hosting import VARIANT, DeploySagemakerEndpointConfig

TRACKING, FROM_ZERO = "hfpc-tracking", "hfpc-from-zero"
_TRACKING_FIELD = "TargetTrackingScalingPolicyConfiguration"
_STEP_FIELD = "StepScalingPolicyConfiguration"
_NOTED = {"target": "TargetValue", "in": "ScaleInCooldown", "out": "ScaleOutCooldown"}
_SUSPENDED = {
    "in": "DynamicScalingInSuspended",
    "out": "DynamicScalingOutSuspended",
    "scheduled": "ScheduledScalingSuspended",
}
_ACTION = ("Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How the instances of an endpoint are scaled.

    Attributes:
        limits: Least and most instances; None where nothing scales them.
        policies: Name to policy, as AWS describes it.
        schedule: Name to scheduled action; all of them are made by others.
        suspended: Activities that somebody has suspended: "in", "out" or "scheduled".
    """

    limits: tuple[int, int] | None = None
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedule: dict[str, dict[str, Any]] = field(default_factory=dict)
    suspended: tuple[str, ...] = ()


def wanted(config: DeploySagemakerEndpointConfig, now: Scaling) -> Scaling:
    """What the settings ask for, with what others have made as it is.

    A scalable target without a policy of ours was registered by somebody else, so it stays.
    """
    others = _others(now)
    if not config.scales:
        return now if others == now.policies else _of_others(now)
    own = {TRACKING: _tracking(config)}
    if config.min_instances == 0:
        own[FROM_ZERO] = _from_zero()
    limits = (config.min_instances, config.max_instances)
    return replace(now, limits=limits, policies={**others, **own})


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
    actions = place.pages(
        place.autoscaling.describe_scheduled_actions, "ScheduledActions", ResourceId=_resource(endpoint), **target
    )
    kept = ("PolicyType", _TRACKING_FIELD, _STEP_FIELD)
    suspended = limits[0].get("SuspendedState", {})
    return Scaling(
        limits=(limits[0]["MinCapacity"], limits[0]["MaxCapacity"]),
        policies={item["PolicyName"]: {key: item[key] for key in kept if item.get(key)} for item in policies},
        schedule={item["ScheduledActionName"]: {key: item[key] for key in _ACTION if key in item} for item in actions},
        suspended=tuple(activity for activity, name in _SUSPENDED.items() if suspended.get(name)),
    )


def apply(place: Place, endpoint: str, scaling: Scaling) -> None:
    """Scales an endpoint so; changes nothing where it is scaled so already.

    What others have made is made again where it is gone, and never changed.
    """
    now = read(place, endpoint)
    going = [name for name in (TRACKING, FROM_ZERO) if name in now.policies and name not in scaling.policies]
    if FROM_ZERO in going:
        place.remove(place.alarms.delete_alarms, AlarmNames=[_alarm(endpoint)])
    if scaling.limits is None:
        # At once with its policies: without them the next step would take it for somebody else's.
        if now.limits is not None:
            place.remove(place.autoscaling.deregister_scalable_target, **_target(endpoint))
        return
    for name in going:
        place.remove(place.autoscaling.delete_scaling_policy, PolicyName=name, **_target(endpoint))
    if now.limits != scaling.limits:
        least, most = scaling.limits
        suspended = {_SUSPENDED[activity]: True for activity in scaling.suspended} if now.limits is None else {}
        state = {"SuspendedState": suspended} if suspended else {}
        register = place.autoscaling.register_scalable_target
        place.ask(register, MinCapacity=least, MaxCapacity=most, **state, **_target(endpoint))
    # What wakes an endpoint comes first: what lets it go to none may be the last thing that a killed step does.
    for name, policy in sorted(scaling.policies.items(), key=lambda item: item[0] != FROM_ZERO):
        if name not in now.policies or (_is_ours(name) and now.policies[name] != policy):
            place.ask(place.autoscaling.put_scaling_policy, PolicyName=name, **policy, **_target(endpoint))
        if name == FROM_ZERO:
            _watch_backlog(place, endpoint)
    for name in sorted(scaling.schedule.keys() - now.schedule.keys()):
        action = scaling.schedule[name]
        place.ask(place.autoscaling.put_scheduled_action, ScheduledActionName=name, **action, **_target(endpoint))


def check_movable(place: Place, endpoint: str, instance_type: str, now: Scaling) -> None:
    """Raises ArgumentError where an endpoint's scaling could not be made again just as it was.

    A step policy gets another ARN, which the alarms of others do not know; AWS may refuse a time that has passed.
    """
    what = f"endpoint {endpoint} is deregistered from autoscaling to change its instance type, and"
    for name, action in sorted(now.schedule.items()):
        if action["Schedule"].startswith("at(") or "StartTime" in action or "EndTime" in action:
            fix = f"the scheduled action {name}, which is bound to a time, may be too late then: delete it before"
            raise ArgumentError("instance_type", instance_type, f"{what} {fix}, and make it again afterwards")
    stepping = {name for name, policy in _others(now).items() if policy["PolicyType"] == "StepScaling"}
    for name, arn in sorted(_arns(place, endpoint).items() if stepping else ()):
        if name not in stepping:
            continue
        if alarms := place.pages(place.alarms.describe_alarms, "MetricAlarms", ActionPrefix=arn):
            listed = ", ".join(sorted(alarm["AlarmName"] for alarm in alarms))
            fix = f"the scaling policy {name} gets another ARN then, while it is the action of alarms ({listed})"
            fix = f"{what} {fix}: take the action from these before, and give them the new ARN afterwards"
            raise ArgumentError("instance_type", instance_type, fix)


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
    others = [f"others={len(_others(scaling))}", f"scheduled={len(scaling.schedule)}"]
    suspended = ["suspended=" + "+".join(scaling.suspended)] if scaling.suspended else []
    return " ".join([f"least={least}", f"most={most}", *tracking, *others, *suspended])


def from_note(note: str, config: DeploySagemakerEndpointConfig, now: Scaling) -> Scaling:
    """The scaling that a note tells of, at an endpoint of the same mode.

    What others made is too long for a note: policies and scheduled actions that are gone are lost, which is told.
    """
    if note == "none":
        return _of_others(now)
    told = dict(part.split("=") for part in note.split())
    policies = _others(now)
    _tell_lost("scaling policies", int(told["others"]) - len(policies), config.endpoint_name)
    _tell_lost("scheduled actions", int(told.get("scheduled", 0)) - len(now.schedule), config.endpoint_name)
    suspended = now.suspended
    if now.limits is None and "suspended" in told:
        suspended = tuple(told["suspended"].split("+"))
    if "target" in told:
        policy = _tracking(config)
        own = {name: told[key] for key, name in _NOTED.items() if key in told}
        policy[_TRACKING_FIELD] |= {
            name: float(text) if name == "TargetValue" else int(text) for name, text in own.items()
        }
        policies[TRACKING] = policy
    if told["least"] == "0":
        policies[FROM_ZERO] = _from_zero()
    limits = (int(told["least"]), int(told["most"]))
    return Scaling(limits=limits, policies=policies, schedule=now.schedule, suspended=suspended)


def _tell_lost(what: str, lost: int, endpoint: str) -> None:
    if lost > 0:
        whose = f"of endpoint {endpoint} that were not made by this library"
        print(f"{lost} {what} {whose} are lost: a step that was killed had taken them away", flush=True)


def _is_ours(policy: str) -> bool:
    return policy in (TRACKING, FROM_ZERO)


def _others(scaling: Scaling) -> dict[str, dict[str, Any]]:
    """The policies that are not ours."""
    return {name: policy for name, policy in scaling.policies.items() if not _is_ours(name)}


def _of_others(scaling: Scaling) -> Scaling:
    """A scaling without what is ours; none where nobody else uses it."""
    others = _others(scaling)
    return replace(scaling, policies=others) if others or scaling.schedule else Scaling()


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
    arn = _arns(place, endpoint).get(FROM_ZERO)
    if arn is None:
        raise HfpcError(f"the scaling policy {FROM_ZERO} of endpoint {endpoint} is gone: run this step again")
    if any(arn in alarm["AlarmActions"] for alarm in _alarms(place, endpoint)):
        return
    place.ask(
        place.alarms.put_metric_alarm,
        AlarmName=_alarm(endpoint),
        AlarmActions=[arn],
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


def _arns(place: Place, endpoint: str) -> dict[str, str]:
    """Name to ARN of the policies of an endpoint."""
    policies = place.pages(place.autoscaling.describe_scaling_policies, "ScalingPolicies", **_target(endpoint))
    return {item["PolicyName"]: item["PolicyARN"] for item in policies}


def _alarms(place: Place, endpoint: str) -> list[Any]:
    """The alarm of waiting requests, if there is one."""
    return place.pages(place.alarms.describe_alarms, "MetricAlarms", AlarmNames=[_alarm(endpoint)])


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
