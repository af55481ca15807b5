"""Every call of a deployment to SageMaker may fail: nothing is left over, and who served still serves."""

import copy

import pytest
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID

from hfpc import aws
from hfpc.sinks.sagemaker import undeploy
from hfpc.sinks.sagemaker_endpoints import deploy
from tests.cloud.faults import KINDS
from tests.sinks.sagemaker_place import EMPTY, IMAGE, NAME, QUICK, REGION, deployment, package, running, state, told_by

SCALED = {"max_instances": 4, "scaling_target": 100}
LATER = {
    "mode": "async",
    "output_uri": "s3://models/async",
    "min_instances": 0,
    "max_instances": 2,
    "scaling_target": 5,
}
CASES = {"first": (None, SCALED), "update": (SCALED, SCALED), "async first": (None, LATER)}
KNOWN_FAULT = (
    "when DescribeScalableTargets is refused in an asynchronous deployment, the step ends otherwise than it should"
)


@pytest.fixture(scope="module")
def server(model):
    with running(model) as address:
        yield address


@pytest.fixture
def account(amazon, server):
    aws.client("s3").create_bucket(Bucket="models")
    amazon.containers[IMAGE] = server
    return amazon


class Kept:
    """The state of an account's endpoints, to begin again from."""

    def __init__(self, account):
        self._objects = [
            account.control,
            account.control.backend,
            applicationautoscaling_backends[DEFAULT_ACCOUNT_ID][REGION],
            cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION],
        ]
        self._names = ("_endpoints", "endpoints", "endpoint_configs", "_models", "targets", "policies", "alarms")
        self._attributes = copy.deepcopy([self._of(item) for item in self._objects])

    def _of(self, item):
        return {name: getattr(item, name) for name in self._names if name in vars(item)}

    def restore(self):
        for item, attributes in zip(self._objects, copy.deepcopy(self._attributes), strict=True):
            for name, value in attributes.items():
                setattr(item, name, value)


def sweep(account, kept, step, after, chosen):
    """Fails each call of a step in turn; then the step is run again, as a pipeline would.

    Refused once, the step ends and all is as before; not answered, or answered in vain, or throttled, it goes on.

    Returns:
        How many calls the step makes, and how many faults ended it.
    """
    kept.restore()
    earlier = state()
    account.faults.clear()
    step()
    calls, failed = list(account.faults.calls), 0
    assert state() == after
    for index, kind, times in chosen(calls):
        kept.restore()
        account.faults.clear()
        account.faults.plan(index, kind, times)
        error = told_by(step)
        where = (index, calls[index], kind, error)
        account.faults.clear()
        assert "\n" not in error, where
        tolerated = calls[index] == "S3.DELETE"  # of a request that was answered
        assert bool(error) == (kind == "error" and not tolerated), where
        failed += bool(error)
        if tolerated:
            assert {**state(), "objects": []} == after, where
        elif "could not be taken away" in error:  # the new one serves
            assert state()["endpoints"] == after["endpoints"], where
        else:
            assert state() == (earlier if error else after), where
        if error:
            step()
            assert state() == after, where
    assert account.control.misuses == []
    return len(calls) - calls.count("S3.DELETE"), failed


def every(calls):
    """Each call and kind, and for each method the first call throttled as often as it can be without giving up."""
    yield from ((index, kind, 1) for index in range(len(calls)) for kind in KINDS)
    yield from ((calls.index(method), "throttled", QUICK.attempts - 1) for method in sorted(set(calls)))


def refused_changes(calls):
    """Each call that changes something, refused."""
    reads = ("Describe", "List", "S3.GET", "Invoke")
    return [(index, "error", 1) for index, method in enumerate(calls) if not method.startswith(reads)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "first",
        "update",
        pytest.param("async first", marks=pytest.mark.xfail(raises=AssertionError, reason=KNOWN_FAULT)),
    ],
)
def test_every_call_of_a_deployment_may_fail(account, model, case, capsys):
    before, settings = CASES[case]
    old, new = package(model, "old"), package(model, "new")
    if before:
        deploy(old, deployment(**before), QUICK)
    kept, config = Kept(account), deployment(**settings)
    wanted = deploy(new, config, QUICK)
    after = state()
    assert after["endpoints"] == {NAME: ("InService", wanted.config)}
    assert (after["configs"], after["models"]) == ([wanted.config], [wanted.config])
    injected = account.faults.injected
    calls, failed = sweep(account, kept, lambda: deploy(new, config, QUICK), after, every)
    with capsys.disabled():
        injected = account.faults.injected - injected
        print(f"\nsagemaker {case}: {injected} faults in {calls} calls, {failed} of them ended the step")
    assert failed == calls


def test_a_change_of_instances_may_be_refused_anywhere(account, model):
    """What is scaled must not change its instances, so its scaling is taken away for a while."""
    old, new = package(model, "old"), package(model, "new")
    deploy(old, deployment(**SCALED), QUICK)
    kept, config = Kept(account), deployment(instance_type="ml.m5.xlarge", **SCALED)
    deploy(new, config, QUICK)
    calls, failed = sweep(account, kept, lambda: deploy(new, config, QUICK), state(), refused_changes)
    assert failed > 10, calls


@pytest.mark.slow
def test_every_call_of_taking_away_may_fail(account, model, capsys):
    deploy(package(model, "old"), deployment(**LATER), QUICK)
    kept = Kept(account)
    account.faults.clear()
    undeploy(NAME, patience=QUICK)
    calls, injected = list(account.faults.calls), account.faults.injected
    for index, kind, times in every(calls):
        kept.restore()
        account.faults.clear()
        account.faults.plan(index, kind, times)
        error = told_by(lambda: undeploy(NAME, patience=QUICK))
        account.faults.clear()
        assert bool(error) == (kind == "error"), (index, calls[index], kind, error)
        undeploy(NAME, patience=QUICK)
        assert state() == EMPTY, (index, calls[index], kind)
    with capsys.disabled():
        print(f"\nsagemaker undeploy: {account.faults.injected - injected} faults in {len(calls)} calls")


@pytest.mark.parametrize("kind", ["timeout", "lost", "throttled"])
@pytest.mark.parametrize("method", ["CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint", "DeleteModel"])
def test_what_never_answers_ends_the_step_and_the_next_one_ends_well(account, model, method, kind):
    """The worst: a call fails for the rest of the step, also where everything is put back."""
    first = deploy(package(model, "old"), deployment(**SCALED), QUICK)
    new, config = package(model, "new"), deployment(**SCALED)
    account.faults.clear()
    account.faults.plan(0, kind, times=10_000, method=method)
    error = told_by(lambda: deploy(new, config, QUICK))
    account.faults.clear()
    assert "\n" not in error
    assert state()["endpoints"][NAME][0] == "InService"
    if method in ("CreateEndpoint", "DeleteEndpoint"):
        assert error and state()["endpoints"][NAME][1] == first.config
    wanted = deploy(new, config, QUICK)
    there = state()
    assert there["endpoints"] == {NAME: ("InService", wanted.config)}
    assert (there["configs"], there["models"]) == ([wanted.config], [wanted.config])
