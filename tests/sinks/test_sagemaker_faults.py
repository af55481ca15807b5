"""Every call of a deployment to SageMaker may fail: nothing is left over, and who served still serves."""

import contextlib
import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from hfpc.sinks.sagemaker import undeploy
from hfpc.sinks.sagemaker_endpoints import deploy
from tests.cloud.faults import Kind
from tests.sinks.sagemaker_place import EMPTY, LATER, NAME, QUICK, REGION, deployment, package, state, told_by

SCALED = {"max_instances": 4, "scaling_target": 100}
SERVERLESS = {"mode": "serverless", "instance_type": ""}
CASES = {
    "first": (None, SCALED),
    "update": (SCALED, SCALED),
    "async first": (None, LATER),
    "async update": (LATER, LATER),
    "serverless first": (None, SERVERLESS),
    "serverless update": (SERVERLESS, SERVERLESS),
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong: the `times` calls of a method from its call number `number` on."""

    method: str
    number: int
    kind: Kind
    times: int = 1

    @property
    def tells(self) -> bool:
        """Whether the step must end with an error: it was refused, or not answered as often as it asks."""
        if self.method == "S3.DELETE":  # of a request that was answered: what stays is told, and no harm
            return False
        if self.method == "UpdateEndpoint" and self.kind == "lost":  # how the endpoint is tells that it was done
            return False
        return self.kind == "error" or self.times >= QUICK.attempts


class Kept:
    """The state of an account's endpoints, to begin again from."""

    def __init__(self, account):
        self._objects = [
            account.control,
            account.control.backend,
            applicationautoscaling_backends[DEFAULT_ACCOUNT_ID][REGION],
            cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION],
        ]
        self._names = ("_endpoints", "endpoints", "endpoint_configs", "_models", "alarms")
        self._names += ("targets", "policies", "scheduled_actions")
        self._attributes = copy.deepcopy([self._of(item) for item in self._objects])

    def _of(self, item):
        return {name: getattr(item, name) for name in self._names if name in vars(item)}

    def restore(self):
        for item, attributes in zip(self._objects, copy.deepcopy(self._attributes), strict=True):
            for name, value in attributes.items():
                setattr(item, name, value)
        written = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket("models").keys
        for key in [key for key in written if key.startswith("async/")]:
            written.pop(key)


def changes(method: str) -> bool:
    """Whether a call changes something; asking an asynchronous endpoint does, as it writes its answer."""
    return not method.startswith(("Describe", "List", "S3.GET")) and method != "InvokeEndpoint"


def every(calls: list[str]) -> Iterator[Fault]:
    """Each call, refused, not answered and answered in vain: once, and as often as it is made until it is given up.

    A call that changes nothing is not answered in vain: that is the same as not answered, also for the client.
    For each method the first call is also throttled as often as it can be without giving up.
    """
    for index, method in enumerate(calls):
        number = calls[:index].count(method)
        yield Fault(method, number, "error")
        for kind in ("timeout", "lost") if changes(method) else ("timeout",):
            yield Fault(method, number, kind)
            yield Fault(method, number, kind, QUICK.attempts)
    yield from (Fault(method, 0, "throttled", QUICK.attempts - 1) for method in sorted(set(calls)))


@dataclass
class Swept:
    """What a sweep saw.

    Attributes:
        calls: The calls of the step when nothing goes wrong.
        faults: How often the step was run with a fault.
        injected: How many calls went wrong in all.
        ended: How many faults ended the step with an error.
    """

    calls: list[str]
    faults: int = 0
    injected: int = 0
    ended: int = 0

    def __str__(self) -> str:
        return (
            f"{self.faults} faults in {len(self.calls)} calls ({self.injected} calls went wrong), "
            f"{self.ended} of them ended the step"
        )


def sweep(
    account: Any, kept: Kept, step: Callable[[], object], chosen: Callable[[list[str]], Iterator[Fault]]
) -> Swept:
    """Fails each call of a step in turn; then the step is run again, as a pipeline would.

    A step that ends with an error leaves all as it was. One that goes on ends as if nothing had been.
    Where all is as it was, the step that is run again is the undisturbed one, so that is done once for each method.
    """
    kept.restore()
    earlier = state()
    account.faults.clear()
    step()
    swept, after, injected = Swept(list(account.faults.calls)), state(), account.faults.injected
    repeated: set[str] = set()
    for fault in chosen(swept.calls):
        kept.restore()
        account.faults.clear()
        account.faults.plan(fault.number, fault.kind, fault.times, fault.method)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            error = told_by(step)
        account.faults.clear()
        now = state()
        stays, now["objects"] = now["objects"], []
        where = (fault, error, said.getvalue())
        assert "\n" not in error and bool(error) == fault.tells, where
        assert all(f"s3://models/{key} could not be removed" in said.getvalue() for key in stays), where
        assert not stays or fault.method == "S3.DELETE", where
        if "could not be taken away" in error:  # the new one serves, and what served before is taken away next time
            assert now["endpoints"] == after["endpoints"], where
        else:
            assert now == (earlier if error else after), where
        if error and (fault.method not in repeated or now != earlier):
            step()
            assert state() == after, where
            repeated.add(fault.method)
        swept.faults, swept.ended = swept.faults + 1, swept.ended + bool(error)
    assert account.control.misuses == []
    swept.injected = account.faults.injected - injected
    return swept


def of_changes(calls: list[str]) -> Iterator[Fault]:
    """The same of calls that change something: the others were swept in real time."""
    return (fault for fault in every(calls) if changes(fault.method))


def refused_changes(calls: list[str]) -> Iterator[Fault]:
    """Each call that changes something, refused."""
    for index, method in enumerate(calls):
        if changes(method):
            yield Fault(method, calls[:index].count(method), "error")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_call_of_a_deployment_may_fail(account, model, case, capsys):
    before, settings = CASES[case]
    archived = settings == SERVERLESS
    old, new = package(model, "old", archived=archived), package(model, "new", archived=archived)
    if before:
        deploy(old, deployment(**before), QUICK)
    kept, config = Kept(account), deployment(**settings)
    wanted = deploy(new, config, QUICK)
    after = state()
    assert after["endpoints"] == {NAME: ("InService", wanted.config)}
    assert (after["configs"], after["models"]) == ([wanted.config], [wanted.config])
    assert after["objects"] == []
    chosen = of_changes if case == "serverless update" else every
    swept = sweep(account, kept, lambda: deploy(new, config, QUICK), chosen)
    with capsys.disabled():
        print(f"\nsagemaker {case}: {swept}")
    telling = [fault for fault in chosen(swept.calls) if fault.tells]
    assert swept.ended == len(telling) > 20


def test_a_change_of_instances_may_be_refused_anywhere(account, model):
    """What is scaled must not change its instances, so its scaling is taken away for a while."""
    old, new = package(model, "old"), package(model, "new")
    deploy(old, deployment(**SCALED), QUICK)
    kept, config = Kept(account), deployment(instance_type="ml.m5.xlarge", **SCALED)
    deploy(new, config, QUICK)
    swept = sweep(account, kept, lambda: deploy(new, config, QUICK), refused_changes)
    assert swept.ended == swept.faults > 10, swept.calls


@pytest.mark.slow
def test_every_call_of_taking_away_may_fail(account, model, capsys):
    deploy(package(model, "old"), deployment(**LATER), QUICK)
    kept = Kept(account)
    account.faults.clear()
    undeploy(NAME, patience=QUICK)
    calls, before = list(account.faults.calls), account.faults.injected
    faults = list(every(calls))
    for fault in faults:
        kept.restore()
        account.faults.clear()
        account.faults.plan(fault.number, fault.kind, fault.times, fault.method)
        error = told_by(lambda: undeploy(NAME, patience=QUICK))
        account.faults.clear()
        assert "\n" not in error and bool(error) == fault.tells, (fault, error)
        assert error or state() == EMPTY, fault
        undeploy(NAME, patience=QUICK)
        assert state() == EMPTY, (fault, error)
    injected = account.faults.injected - before
    with capsys.disabled():
        print(f"\nsagemaker undeploy: {len(faults)} faults in {len(calls)} calls ({injected} calls went wrong)")


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
