"""KServe over loopback when things go wrong: steps that are killed, and calls that fail."""

import itertools

import pytest

from hfpc.errors import EndpointError
from tests.cloud.faults import KINDS
from tests.sinks.kserve_place import QUICK, kill, state, told_by

pytest.importorskip("kubernetes")

KILLED = 10_000
"""So many calls fail one after another: none succeeds any more."""


def test_a_service_that_was_left_in_the_middle_of_a_canary(cluster, bring):
    """A step that was killed: the next one goes on, or puts back what was before the first."""
    first = bring("old")
    before = state(cluster)
    faults = cluster.api.faults
    faults.clear()
    bring("new", canary_percent=20, canary_seconds=0.01)
    assert faults.calls.count("PUT inferenceservices") == 3  # a share, all, and that it was tested
    bring("old")
    faults.clear()
    faults.plan(1, "error", KILLED, "PUT inferenceservices")  # no second change succeeds, nor does going back
    with pytest.raises(EndpointError, match="not everything could be put back"):
        bring("new", canary_percent=20, canary_seconds=0.01)
    faults.clear()
    assert state(cluster)["tweets"][3] == 20
    cluster.kserve.held.add("pvc://models/new")
    with pytest.raises(EndpointError, match="everything is as before"):
        bring("new", canary_percent=10, ready_seconds=1)  # other settings, but the same model
    assert state(cluster) == before
    cluster.kserve.held.clear()
    assert bring("new", canary_percent=20, canary_seconds=0.01).previous == first.deployment


def test_a_first_deployment_that_was_killed_before_it_was_tested(cluster, bring):
    """The service serves, but nobody knows whether rightly: the next step asks, and takes a wrong model away."""
    for name in ("wrong", "old"):
        cluster.api.reset()
        kill(cluster, lambda name=name: bring(name))
        assert state(cluster)["tweets"][4] == {f"pvc://models/{name}": 100}
        if name == "wrong":
            with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
                bring(name)
            assert cluster.api.objects == {}
        else:
            assert bring(name).moved and not bring(name).moved
    cluster.api.reset()
    kill(cluster, lambda: bring("wrong"))
    assert bring("old").previous == ""  # not to be gone back to
    assert state(cluster)["tweets"][4] == {"pvc://models/old": 100}


def test_what_was_tested_is_never_taken_away(cluster, bring):
    """A service that is not ready for a moment, deployed again with the same settings."""
    first = bring("old")
    uid = cluster.api.objects["inferenceservices", "team", "tweets"]["metadata"]["uid"]
    (revision,) = cluster.kserve.services[uid].revisions
    cluster.kserve.held.add("pvc://models/old")
    revision.ready = False
    with pytest.raises(EndpointError, match=r"not ready after 1 seconds.*was deployed so before, and is left as it is"):
        bring("old", ready_seconds=1)
    cluster.kserve.held.clear()
    again = bring("old")
    assert (again.moved, again.deployment) == (False, first.deployment)
    assert cluster.api.objects["inferenceservices", "team", "tweets"]["metadata"]["uid"] == uid


def test_what_was_before_an_ended_rollout_is_not_gone_back_to(cluster, bring):
    """The service notes what it was before, and the note stays: it means nothing once the new model was tested."""
    bring("old")
    second = bring("new")
    before = state(cluster)
    uid = cluster.api.objects["inferenceservices", "team", "tweets"]["metadata"]["uid"]
    cluster.kserve.services[uid].revisions[-1].ready = False  # for a moment
    cluster.kserve.held.add("pvc://models/new")
    with pytest.raises(EndpointError, match="everything is as before"):
        bring("wrong")
    cluster.kserve.held.clear()
    again = bring("new")
    assert (again.moved, again.deployment) == (False, second.deployment)
    assert state(cluster) == before


def test_a_restored_service_that_was_left_in_the_middle(cluster, bring):
    """A step that was killed while it put back what was before: the next one goes on with that."""
    bring("old")
    before = state(cluster)
    kill(cluster, lambda: bring("new", canary_percent=20, canary_seconds=60), answers=1, changes=2, removals=1)
    assert state(cluster)["tweets"][3:] == (0, {"pvc://models/old": 100})
    with pytest.raises(EndpointError, match="everything is as before"):
        bring("wrong")
    assert state(cluster) == before


def test_a_canary_that_fails_never_has_more_than_its_share(cluster, bring):
    bring("old")
    before = state(cluster)
    cluster.kserve.history.clear()
    cluster.api.faults.clear()
    # The trial sends one request; the canary's is refused as often as it is tried.
    cluster.api.faults.plan(1, "error", QUICK.attempts, method="predict")
    with pytest.raises(EndpointError, match=r"answered 503.*everything is as before"):
        bring("new", canary_percent=20, canary_seconds=60)
    assert state(cluster) == before
    shares = {each[2] for each in cluster.kserve.history if each[:2] == ("tweets", "pvc://models/new")}
    assert shares == {20}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
@pytest.mark.parametrize("beside", [False, True], ids=["first", "update"])
def test_every_call_may_fail(cluster, bring, beside, wrong):
    """Once: the step ends well all the same. As often as it is tried: all is as before, and the next step ends well.

    From some call on, as if it was killed: the next step ends well. One that brings a wrong model ends as before.
    """
    faults = cluster.api.faults
    name = "wrong" if wrong else "new" if beside else "old"
    settings = {"canary_percent": 10, "canary_seconds": 0.001, "ready_seconds": 10}

    def begin():
        cluster.api.reset()
        if beside:
            bring("old")
        faults.clear()

    for each in ("old", "new"):
        bring(each)  # starts their servers, which takes many looks
    told_by(lambda: bring("wrong"))
    begin()
    before = state(cluster)
    assert bool(told_by(lambda: bring(name, **settings))) == wrong
    calls, failed, injected = list(faults.calls), 0, faults.injected
    after = state(cluster)
    if wrong:
        assert after == before
    else:
        assert after["tweets"][4] == {f"pvc://models/{name}": 100} and set(after) == {"tweets"}
    often = [("error", QUICK.attempts), ("lost", QUICK.attempts), ("error", KILLED)]
    cases = [*((kind, 1) for kind in (*KINDS, "throttled")), *often]
    for index, (kind, times) in itertools.product(range(len(calls)), cases):
        begin()
        cluster.kserve.history.clear()
        faults.plan(index, kind, times)
        where = (index, calls[index], kind, times)
        error = told_by(lambda: bring(name, **settings))
        assert wrong or times > 1 or not error, (where, error)
        failed += bool(error)
        if not error:
            assert state(cluster) == after, where
        elif "not everything could be put back" in error:  # the fault came while a wrong model was taken away
            assert wrong or times == KILLED, (where, error)
        elif times < KILLED:
            assert state(cluster) == before, (where, error)
        faults.clear()
        assert bool(told_by(lambda: bring(name, **settings))) == wrong, where
        assert state(cluster) == after, where
        if beside:
            serving = {each[1] for each in cluster.kserve.history if each[0] == "tweets"}
            assert serving <= {"pvc://models/old", "pvc://models/new"}, where
    step = f"{'update' if beside else 'first deployment'} with a {'wrong' if wrong else 'right'} model"
    print(f"{faults.injected - injected} faults in {len(calls)} calls of a {step}, {failed} steps failed")
    assert failed
