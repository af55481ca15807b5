"""Steps that were killed, endpoints that others or autoscaling change meanwhile: what serves in the end was tested."""

from dataclasses import replace

import pytest

from hfpc.errors import EndpointError
from hfpc.sinks.sagemaker import undeploy
from hfpc.sinks.sagemaker_endpoints import deploy
from tests.sinks.sagemaker_place import (
    EMPTY,
    LATER,
    NAME,
    QUICK,
    Meanwhile,
    client,
    deployment,
    killed,
    package,
    served,
    state,
    told_by,
)

SCALED = {"max_instances": 4, "scaling_target": 100}
WITHOUT_WAITS = {**LATER, "traffic_wait_seconds": 0, "termination_wait_seconds": 0}


def instances():
    return client("sagemaker").describe_endpoint(EndpointName=NAME)["ProductionVariants"][0]["DesiredInstanceCount"]


def test_a_first_model_that_was_not_tested_is_removed_once_it_fails_its_test(account, model):
    wrong, config = package(model, "wrong", wrong=True), deployment(**SCALED)
    killed(account, "CreateEndpoint", 1, lambda patience: deploy(wrong, config, patience))
    assert state()["endpoints"][NAME][0] == "InService"
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        deploy(wrong, config, QUICK)
    assert state() == EMPTY
    killed(account, "CreateEndpoint", 1, lambda patience: deploy(wrong, config, patience))
    first = deploy(package(model, "old"), config, QUICK)
    assert first.previous_config == "" and state()["configs"] == [first.config]


def test_a_model_that_was_moved_to_but_not_tested_goes_again_once_it_fails_its_test(account, model):
    old, config = package(model, "old"), deployment(**SCALED)
    deploy(old, config, QUICK)
    before, new = state(), package(model, "new")
    killed(account, "UpdateEndpoint", 1, lambda patience: deploy(new, config, patience))
    assert state()["endpoints"] != before["endpoints"]
    package(model, "new", wrong=True)
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        deploy(new, config, QUICK)
    assert state() == before
    new = package(model, "new")
    killed(account, "UpdateEndpoint", 1, lambda patience: deploy(new, config, patience))
    second = deploy(new, config, QUICK)
    assert (second.moved, second.previous_config) == (True, before["configs"][0])
    assert state()["configs"] == [second.config] and not deploy(new, config, QUICK).moved


def test_another_model_after_a_killed_step_goes_back_to_the_tested_one(account, model):
    deploy(package(model, "old"), deployment(), QUICK)
    before, new, third = state(), package(model, "new"), package(model, "third")
    killed(account, "UpdateEndpoint", 1, lambda patience: deploy(new, deployment(), patience))
    account.faults.plan(1, "error", method="InvokeEndpoint")
    assert "everything is as before" in told_by(lambda: deploy(third, deployment(), QUICK))
    assert state()["endpoints"] == before["endpoints"]


def test_what_another_step_deploys_meanwhile_stays(account, model):
    old, other = package(model, "old"), package(model, "other")
    deploy(old, deployment(), QUICK)
    for wrong in (True, False):
        account.faults.clear()
        deployed = []
        mine = package(model, f"mine {wrong}", wrong=wrong)
        patience = Meanwhile(
            **vars(QUICK),
            calls=account.faults.calls,
            method="CreateEndpoint",
            happens=lambda done=deployed, new=other: done.append(deploy(new, deployment(), QUICK)),
        )
        error = told_by(lambda package=mine, wait=patience: deploy(package, deployment(), wait))
        assert "by somebody else meanwhile" in error, error
        assert state() == served(deployed[0])
        other = old
    assert account.control.misuses == []


def test_what_autoscaling_changes_is_waited_for_and_keeps_its_instances(account, model):
    deploy(package(model, "old"), deployment(**SCALED), QUICK)
    account.control.load = 3
    deploy(package(model, "new"), deployment(**SCALED), QUICK)
    assert instances() == 3 and account.faults.calls.count("UpdateEndpoint") == 2


def test_an_endpoint_that_goes_back_keeps_its_instances(account, model):
    deploy(package(model, "old"), deployment(**SCALED), QUICK)
    before, new = state(), package(model, "new")
    account.faults.clear()

    def grow():
        account.control.load = 3

    patience = Meanwhile(**vars(QUICK), calls=account.faults.calls, method="UpdateEndpoint", happens=grow)
    account.faults.plan(1, "error", method="InvokeEndpoint")
    error = told_by(lambda: deploy(new, deployment(**SCALED), patience))
    assert "everything is as before" in error and state() == before
    assert instances() == 3


def test_a_failed_endpoint_is_not_called_restored(account, model):
    """What it may be using stays."""
    deploy(package(model, "old"), deployment(), QUICK)
    new = package(model, "new")
    account.control.fails = True
    error = told_by(lambda: deploy(new, deployment(), QUICK))
    assert "not everything could be put back (endpoint tweets is UpdateRollbackFailed" in error
    assert len(state()["configs"]) == len(state()["models"]) == 2


def test_an_update_is_waited_for_as_long_as_the_settings_let_it_wait(account, model):
    impatient = replace(QUICK, total=0.2, pause=0.05)
    waits = {"traffic_wait_seconds": 60, "termination_wait_seconds": 0}
    first = deploy(package(model, "old"), deployment(**waits), impatient)
    account.control.steps = 10
    second = deploy(package(model, "new"), deployment(**waits), impatient)
    assert second.moved and second.previous_config == first.config


def test_scaling_that_a_killed_step_took_away_comes_back(account, model):
    old, new = package(model, "old"), package(model, "new")
    deploy(old, deployment(**{**SCALED, "scale_in_seconds": 120}), QUICK)
    before, larger = state(), deployment(instance_type="ml.m5.xlarge", max_instances=2, scaling_target=7)
    killed(account, "DeregisterScalableTarget", 1, lambda patience: deploy(new, larger, patience))
    assert state()["scaling"] == {}
    account.faults.plan(0, "error", method="InvokeEndpoint")
    assert "everything is as before" in told_by(lambda: deploy(new, larger, QUICK))
    assert state()["scaling"] == before["scaling"]
    killed(account, "UpdateEndpoint", 1, lambda patience: deploy(new, larger, patience))
    package(model, "new", wrong=True)
    assert "everything is as before" in told_by(lambda: deploy(new, larger, QUICK))
    assert state() == before


def test_policies_of_others_that_a_killed_step_took_away_are_told(account, model, capsys):
    deploy(package(model, "old"), deployment(**SCALED), QUICK)
    client("application-autoscaling").put_scaling_policy(
        PolicyName="theirs",
        PolicyType="StepScaling",
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{NAME}/variant/all",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [], "Cooldown": 60},
    )
    new, larger = package(model, "new"), deployment(instance_type="ml.m5.xlarge", **SCALED)
    killed(account, "UpdateEndpoint", 1, lambda patience: deploy(new, larger, patience))
    capsys.readouterr()
    deploy(new, larger, QUICK)
    assert (
        "1 scaling policies of endpoint tweets that were not made by this library are lost" in capsys.readouterr().out
    )
    assert set(state()["scaling"][NAME].policies) == {"hfpc-tracking"}


def test_an_endpoint_that_was_deleted_elsewhere_leaves_no_alarm(account, model):
    old, config = package(model, "old"), deployment(**WITHOUT_WAITS)
    deploy(old, config, QUICK)
    client("sagemaker").delete_endpoint(EndpointName=NAME)
    assert state()["alarms"] and state()["targets"] == []
    deploy(old, config, QUICK)
    policies = client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    [waking] = [item["PolicyARN"] for item in policies["ScalingPolicies"] if item["PolicyName"] == "hfpc-from-zero"]
    [alarm] = client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarm["AlarmActions"] == [waking]
    client("sagemaker").delete_endpoint(EndpointName=NAME)
    assert not undeploy(NAME, patience=QUICK)
    assert state() == EMPTY


def test_an_async_endpoint_at_no_instance_is_woken_before_it_is_asked(account, model):
    """The step was killed before the alarm was made that starts an instance."""
    old, config = package(model, "old"), deployment(**WITHOUT_WAITS)
    killed(account, "RegisterScalableTarget", 1, lambda patience: deploy(old, config, patience))
    account.control.idle = True
    account.faults.clear()

    def wake():
        account.control.idle = False

    waits = Meanwhile(**vars(QUICK), calls=account.faults.calls, method="PutMetricAlarm", happens=wake)
    deploy(old, config, replace(waits, total=5.0))
    client("cloudwatch").delete_alarms(AlarmNames=["hfpc-tweets-backlog-without-capacity"])
    account.control.idle = True
    account.faults.clear()
    waits = replace(waits, _happened=[])
    assert not deploy(old, config, replace(waits, total=5.0)).moved
    assert state()["alarms"]
