"""Steps that are cancelled."""

import os
import signal
import threading

import pytest

from hfpc.errors import EndpointError
from hfpc.sinks.cancelling import cancellable
from hfpc.sinks.sagemaker_endpoints import deploy
from tests.sinks.sagemaker_place import QUICK, Meanwhile, deployment, package, state

pytest.importorskip("boto3")


def cancel():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("method", ["CreateModel", "CreateEndpoint", "UpdateEndpoint"])
def test_what_a_cancelled_step_had_changed_is_put_back(account, model, method):
    deploy(package(model, "old"), deployment(), QUICK)
    before = state()
    account.faults.clear()
    patience = Meanwhile(**vars(QUICK), calls=account.faults.calls, method=method, happens=cancel)
    with pytest.raises(EndpointError, match="cancelled by SIGTERM; everything is as before"):
        deploy(package(model, "new"), deployment(), patience)
    assert method in account.faults.calls
    assert state() == before


def test_a_second_signal_does_not_end_what_puts_back():
    told = []

    @cancellable()
    def step():
        try:
            cancel()
        except KeyboardInterrupt as error:
            cancel()
            told.append(str(error))

    usual = signal.getsignal(signal.SIGTERM)
    step()
    assert told == ["cancelled by SIGTERM"]
    assert signal.getsignal(signal.SIGTERM) == usual


def test_a_step_in_another_thread_leaves_the_signal_alone():
    found = []

    @cancellable()
    def step():
        found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
