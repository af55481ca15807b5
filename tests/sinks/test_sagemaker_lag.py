"""SageMaker does not see at once what was written: deployments end as they should all the same."""

import pytest

from hfpc.sinks.patience import Patience
from hfpc.sinks.sagemaker import undeploy
from hfpc.sinks.sagemaker_endpoints import deploy
from tests.sinks.sagemaker_place import EMPTY, NAME, deployment, package, served, state, told_by

WAITING = Patience(call=5.0, total=120.0, pause=0.001, retry=0.001, settle=2.0, attempts=4)
MODES = {
    "realtime": {},
    "serverless": {"mode": "serverless", "instance_type": ""},
    "async": {"mode": "async", "output_uri": "s3://models/async"},
}


def seen(account):
    """The state as it really is."""
    account.lag.answers, lag = 0, account.lag.answers
    now = state()
    account.lag.answers = lag
    return now


@pytest.mark.parametrize("steps", [0, 1], ids=["at once", "in steps"])
@pytest.mark.parametrize("answers", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_deployed_replaced_kept_and_taken_away(account, model, mode, answers, steps):
    packages = {
        name: package(model, name, wrong=name == "wrong", archived=mode == "serverless")
        for name in ("old", "new", "wrong")
    }
    account.lag.answers, account.control.steps = answers, steps
    config = deployment(**MODES[mode])
    assert "does not answer as the model did" in told_by(lambda: deploy(packages["wrong"], config, WAITING))
    assert seen(account) == EMPTY
    first = deploy(packages["old"], config, WAITING)
    assert seen(account) == served(first)
    second = deploy(packages["new"], config, WAITING)
    assert second.previous_config == first.config and seen(account) == served(second)
    assert not deploy(packages["new"], config, WAITING).moved
    error = told_by(lambda: deploy(packages["wrong"], config, WAITING))
    assert "everything is as before" in error and seen(account) == served(second)
    assert undeploy(NAME, patience=WAITING) and seen(account) == EMPTY
    assert account.lag.stale > 10 and account.control.misuses == []


@pytest.mark.parametrize("kind", ["error", "lost"])
@pytest.mark.parametrize("method", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint"])
def test_a_call_that_fails_meanwhile_leaves_all_as_it_was(account, model, method, kind):
    account.lag.answers = 2
    config = deployment()
    first = deploy(package(model, "old"), config, WAITING)
    new = package(model, "new")
    account.faults.clear()
    account.faults.plan(0, kind, times=1 if kind == "error" else WAITING.attempts, method=method)
    error = told_by(lambda: deploy(new, config, WAITING))
    account.faults.clear()
    if error:
        assert "everything is as before" in error and seen(account) == served(first)
    else:
        assert (method, kind) == ("UpdateEndpoint", "lost")
    second = deploy(new, config, WAITING)
    assert seen(account) == served(second)
