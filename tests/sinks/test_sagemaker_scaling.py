"""Autoscaling of endpoints: what the settings ask for is made, and what others made at an endpoint stays."""

from datetime import UTC, datetime

import pytest

from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks.sagemaker import undeploy
from hfpc.sinks.sagemaker_endpoints import deploy
from tests.sinks.sagemaker_place import EMPTY, LATER, NAME, QUICK, client, deployment, killed, package, served, state

SCALED = {"min_instances": 1, "max_instances": 4, "scaling_target": 100}
LARGER = {"instance_type": "ml.m5.xlarge"}
CHANGES = {
    *("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "AddTags", "PutScalingPolicy"),
    *("RegisterScalableTarget", "DeregisterScalableTarget", "DeleteScalingPolicy", "PutScheduledAction"),
    *("PutMetricAlarm", "DeleteAlarms"),
}
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{NAME}/variant/all",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
NIGHT = {
    "Schedule": "cron(0 22 * * ? *)",
    "Timezone": "Europe/Paris",
    "ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 2},
}
STEPS = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [], "Cooldown": 60}


def register_theirs():
    """Somebody registers the endpoint, suspends what scales it down, and has it scaled at night."""
    scaling = client("application-autoscaling")
    suspended = {"DynamicScalingInSuspended": True}
    scaling.register_scalable_target(MinCapacity=1, MaxCapacity=5, SuspendedState=suspended, **TARGET)
    scaling.put_scheduled_action(ScheduledActionName="night", **NIGHT, **TARGET)


def put_theirs():
    policy = {"PolicyName": "theirs", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": STEPS}
    return client("application-autoscaling").put_scaling_policy(**policy, **TARGET)["PolicyARN"]


def theirs():
    scaling = state()["scaling"][NAME]
    return scaling.schedule, scaling.suspended


def test_instances_follow_the_load_and_async_ones_go_to_none(account, model):
    old = package(model, "old")
    first = deploy(old, deployment(**SCALED), QUICK)
    scaling = state()["scaling"][NAME]
    assert scaling.limits == (1, 4)
    tracking = scaling.policies["hfpc-tracking"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 100
    larger = deploy(old, deployment(**{**SCALED, "max_instances": 8}), QUICK)
    assert state()["scaling"][NAME].limits == (1, 8)
    assert not larger.moved and larger.config == first.config and account.control.updates == []
    deploy(old, deployment(), QUICK)
    assert state() == served(first)
    undeploy(NAME, patience=QUICK)
    deploy(old, deployment(**LATER), QUICK)
    there = state()
    assert there["scaling"][NAME].limits == (0, 2)
    assert there["alarms"] == ["hfpc-tweets-backlog-without-capacity"]
    account.faults.clear()
    deploy(old, deployment(**LATER), QUICK)
    assert CHANGES.isdisjoint(account.faults.calls)
    undeploy(NAME, patience=QUICK)
    assert state() == EMPTY


@pytest.mark.parametrize("scheduled", [True, False], ids=["scheduled", "registered only"])
def test_scaling_of_others_stays_where_nothing_changes(account, model, scheduled):
    old = package(model, "old")
    deploy(old, deployment(), QUICK)
    if scheduled:
        register_theirs()
    else:
        client("application-autoscaling").register_scalable_target(MinCapacity=2, MaxCapacity=5, **TARGET)
    before = state()
    account.faults.clear()
    assert not deploy(old, deployment(), QUICK).moved
    assert state() == before and CHANGES.isdisjoint(account.faults.calls)


def test_schedules_of_others_outlive_our_scaling(account, model):
    """Settings that scale no more take our policy away, not the target that somebody else's actions need."""
    old = package(model, "old")
    deploy(old, deployment(**SCALED), QUICK)
    register_theirs()
    deploy(old, deployment(**SCALED), QUICK)
    assert state()["scaling"][NAME].limits == (1, 4) and theirs() == ({"night": NIGHT}, ("in",))
    deploy(old, deployment(), QUICK)
    assert state()["scaling"][NAME].policies == {} and theirs() == ({"night": NIGHT}, ("in",))
    undeploy(NAME, patience=QUICK)
    assert state() == EMPTY


@pytest.mark.parametrize("settings", [{}, SCALED], ids=["theirs alone", "ours too"])
def test_scaling_of_others_comes_back_after_a_change_of_instances(account, model, settings):
    deploy(package(model, "old"), deployment(**settings), QUICK)
    register_theirs()
    put_theirs()
    before = state()["scaling"][NAME]
    account.faults.clear()
    second = deploy(package(model, "new"), deployment(**LARGER, **settings), QUICK)
    assert second.moved and account.faults.calls.count("DeregisterScalableTarget") == 1
    now = state()["scaling"][NAME]
    assert (now.policies, now.schedule, now.suspended) == (before.policies, {"night": NIGHT}, ("in",))
    assert now.limits == ((1, 4) if settings else (1, 5))


def test_scaling_of_others_is_put_back_with_the_instances(account, model):
    deploy(package(model, "old"), deployment(), QUICK)
    register_theirs()
    put_theirs()
    before = state()
    account.faults.clear()
    account.faults.plan(1, "error", method="InvokeEndpoint")
    with pytest.raises(EndpointError, match="everything is as before"):
        deploy(package(model, "new"), deployment(**LARGER), QUICK)
    assert len(account.control.updates) == 2 and state() == before
    assert theirs() == ({"night": NIGHT}, ("in",))


def test_instances_that_others_scale_are_kept(account, model):
    deploy(package(model, "old"), deployment(), QUICK)
    register_theirs()
    account.control.load = 3
    deploy(package(model, "new"), deployment(), QUICK)
    assert account.control.updates[-1]["RetainAllVariantProperties"] is True


def test_a_policy_that_an_alarm_acts_on_is_not_made_again(account, model):
    """Its alarm would act on nothing: the policy gets another ARN."""
    deploy(package(model, "old"), deployment(**SCALED), QUICK)
    arn = put_theirs()
    alarm = {"MetricName": "CPUUtilization", "Namespace": "/aws/sagemaker/Endpoints", "Statistic": "Average"}
    alarm |= {"Period": 60, "EvaluationPeriods": 1, "Threshold": 90.0, "ComparisonOperator": "GreaterThanThreshold"}
    client("cloudwatch").put_metric_alarm(AlarmName="busy", AlarmActions=[arn], **alarm)
    before, new = state(), package(model, "new")
    account.faults.clear()
    with pytest.raises(
        ArgumentError, match=r"the scaling policy theirs gets another ARN.*\(busy\).*take the action"
    ) as told:
        deploy(new, deployment(**LARGER, **SCALED), QUICK)
    assert "\n" not in str(told.value) and "instance_type='ml.m5.xlarge'" in str(told.value)
    assert state() == before and CHANGES.isdisjoint(account.faults.calls)
    assert deploy(new, deployment(**SCALED), QUICK).moved  # on the same instances
    policies = client("application-autoscaling").describe_scaling_policies(**TARGET)["ScalingPolicies"]
    assert arn in [policy["PolicyARN"] for policy in policies]


@pytest.mark.parametrize(
    "time",
    [
        {"Schedule": "at(2099-01-01T00:00:00)"},
        {"StartTime": datetime(2099, 1, 1, tzinfo=UTC)},
        {"EndTime": datetime(2099, 1, 1, tzinfo=UTC)},
    ],
    ids=["once", "from", "until"],
)
def test_an_action_that_is_bound_to_a_time_is_not_made_again(account, model, time):
    deploy(package(model, "old"), deployment(), QUICK)
    register_theirs()
    client("application-autoscaling").put_scheduled_action(ScheduledActionName="once", **{**NIGHT, **time}, **TARGET)
    before, new = state(), package(model, "new")
    account.faults.clear()
    with pytest.raises(ArgumentError, match=r"the scheduled action once, which is bound to a time.*delete it before"):
        deploy(new, deployment(**LARGER), QUICK)
    assert state() == before and CHANGES.isdisjoint(account.faults.calls)
    assert deploy(new, deployment(), QUICK).moved and state()["scaling"] == before["scaling"]


def test_what_others_lose_by_a_killed_step_is_told(account, model, capsys):
    deploy(package(model, "old"), deployment(**SCALED), QUICK)
    register_theirs()
    new, larger = package(model, "new"), deployment(**LARGER, **SCALED)
    killed(account, "UpdateEndpoint", 1, lambda patience: deploy(new, larger, patience))
    assert state()["scaling"] == {}
    capsys.readouterr()
    deploy(new, larger, QUICK)
    assert (
        "1 scheduled actions of endpoint tweets that were not made by this library are lost" in capsys.readouterr().out
    )
    assert theirs() == ({}, ("in",))
