"""Vertex AI over loopback: steps that were killed, and what others make at the same time, which stays."""

import time

import pytest

from hfpc.errors import EndpointError
from hfpc.sinks.vertex_endpoints import champion, deploy, undeploy
from hfpc.sinks.vertex_models import RegisterVertexModelConfig, register
from tests.cloud.google_fixtures import LOCATION, PROJECT, SERVING_IMAGE
from tests.sinks.sagemaker_place import Meanwhile, killed
from tests.sinks.vertex_place import (
    ENDPOINT,
    PARENT,
    QUICK,
    default_version,
    deployment,
    put,
    registered,
    state,
    told_by,
)

v1 = pytest.importorskip("google.cloud.aiplatform_v1")

MACHINE = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}


def config(**changes) -> RegisterVertexModelConfig:
    return RegisterVertexModelConfig(name="tweets", project=PROJECT, location=LOCATION, image=SERVING_IMAGE, **changes)


def versions(google_cloud) -> list[str]:
    return [name for name in google_cloud.vertex.objects if "/models/tweets@" in name]


def make(google_cloud, model: str, name: str = "tweets") -> None:
    """Makes an endpoint as others do, and deploys a model to it that has all traffic."""
    body = {"display_name": name}
    google_cloud.vertex.CreateEndpoint(v1.CreateEndpointRequest(parent=PARENT, endpoint_id=name, endpoint=body))
    add(google_cloud, model, {"0": 100}, name)


def add(google_cloud, model: str, traffic=None, name: str = "tweets") -> None:
    """Deploys a model to an endpoint as others do, with the id 77."""
    body = {"id": "77", "model": model, "display_name": "theirs", "dedicated_resources": MACHINE}
    endpoint = f"{PARENT}/endpoints/{name}"
    request = v1.DeployModelRequest(endpoint=endpoint, deployed_model=body, traffic_split=traffic or {})
    operation = google_cloud.vertex.DeployModel(request)
    while not google_cloud.vertex.GetOperation(operation.name).done:  # its container starts
        time.sleep(QUICK.pause)
    assert not operation.error.message


@pytest.fixture
def old(google_cloud, folders):
    return registered(put(google_cloud, folders["old"], "old"))


@pytest.fixture
def new(google_cloud, folders, old):
    return registered(put(google_cloud, folders["new"], "new"))


@pytest.fixture
def wrong(google_cloud, folders, old):
    return registered(put(google_cloud, folders["wrong"], "wrong"))


def after(google_cloud, method: str, happens) -> Meanwhile:
    """What is waited with, so that something happens once a method was called."""
    google_cloud.vertex.faults.clear()
    return Meanwhile(**vars(QUICK), calls=google_cloud.vertex.faults.calls, method=method, happens=happens)


@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
@pytest.mark.parametrize("beside", [False, True], ids=["first", "update"])
def test_an_upload_that_goes_on_after_its_step_is_waited_for(google_cloud, folders, beside):
    uri = put(google_cloud, folders["old"], "old")
    first = []
    if beside:
        first = [register(uri, None, config(), QUICK).resource]
        uri = put(google_cloud, folders["new"], "new")
    google_cloud.vertex.upload_looks = 30
    killed(google_cloud.vertex, "UploadModel", 1, lambda patience: register(uri, None, config(), patience))
    assert versions(google_cloud) == first  # it is on its way
    made = register(uri, None, config(), QUICK)
    assert google_cloud.vertex.faults.calls.count("UploadModel") == 0
    assert versions(google_cloud) == [*first, made.resource]


def test_an_upload_whose_answer_was_lost_is_waited_for(google_cloud, model):
    uri = put(google_cloud, model, "old")
    google_cloud.vertex.upload_looks = 30  # longer than what a lost call made is looked for
    google_cloud.vertex.faults.plan(0, "lost", method="UploadModel")
    made = register(uri, None, config(), QUICK)
    assert google_cloud.vertex.faults.calls.count("UploadModel") == 1
    assert versions(google_cloud) == [made.resource]


def test_an_endpoint_that_others_make_meanwhile_stays(google_cloud, old):
    patience = after(google_cloud, "ListEndpoints", lambda: make(google_cloud, old))
    with pytest.raises(EndpointError, match=r"was not made by this library.*everything is as before"):
        deploy(old, deployment(), patience)
    assert state(google_cloud) == {ENDPOINT: ({"77": "1"}, {"77": 100})}
    assert {"UndeployModel", "DeleteEndpoint"}.isdisjoint(google_cloud.vertex.faults.calls)


def test_a_trial_endpoint_that_others_made_stays(google_cloud, old, new):
    first, elsewhere = deploy(old, deployment(), QUICK), deploy(new, deployment(endpoint_name="elsewhere"), QUICK)
    trial = f"tweets-{elsewhere.deployed_model}"
    make(google_cloud, old, trial)
    before = state(google_cloud)
    with pytest.raises(EndpointError, match=r"was not made by this library.*everything is as before"):
        deploy(new, deployment(), QUICK)
    assert state(google_cloud) == before
    assert before[ENDPOINT][1] == {first.deployed_model: 100} and before[f"{PARENT}/endpoints/{trial}"][1]


def test_of_two_first_deployments_the_one_that_fails_leaves_the_other(google_cloud, old, wrong):
    served = []
    patience = after(google_cloud, "ListEndpoints", lambda: served.append(deploy(old, deployment(), QUICK)))
    error = told_by(lambda: deploy(wrong, deployment(), patience))
    assert "does not answer as the model did" in error
    (first,) = served
    assert state(google_cloud) == {ENDPOINT: ({first.deployed_model: "1"}, {first.deployed_model: 100})}
    assert champion(ENDPOINT, QUICK) == first.artifact_uri


@pytest.mark.parametrize(("theirs", "left"), [(0, {}), (25, {"77": 100})])
def test_what_others_deployed_to_an_endpoint_of_ours_stays(google_cloud, old, new, theirs, left):
    first = deploy(old, deployment(), QUICK)
    add(google_cloud, new)
    if theirs:
        google_cloud.vertex.objects[ENDPOINT].traffic_split = {first.deployed_model: 100 - theirs, "77": theirs}
    assert undeploy(ENDPOINT, QUICK)
    assert state(google_cloud) == {ENDPOINT: ({"77": "2"}, left)}


def test_default_moves_with_the_version_that_was_proven(google_cloud, old, new, wrong):
    assert default_version(google_cloud) == "1"  # of the versions of a model the first is it
    deploy(old, deployment(), QUICK)
    with pytest.raises(EndpointError, match="everything is as before"):
        deploy(wrong, deployment(), QUICK)
    assert default_version(google_cloud) == "1"
    faults = google_cloud.vertex.faults
    faults.clear()
    faults.plan(0, "error", 1000, method="MergeVersionAliases")
    with pytest.raises(EndpointError, match=r"serves all traffic.*run this step again"):
        deploy(new, deployment(), QUICK)
    assert default_version(google_cloud) == "1"
    faults.clear()
    assert not deploy(new, deployment(), QUICK).moved
    assert default_version(google_cloud) == new.rpartition("@")[2]
    faults.clear()
    deploy(new, deployment(), QUICK)
    assert "MergeVersionAliases" not in faults.calls


def test_default_of_a_model_that_was_registered_elsewhere_stays(google_cloud, old, new):
    for each in google_cloud.vertex.objects.values():
        each.labels = {}
    deploy(new, deployment(), QUICK)
    assert state(google_cloud)[ENDPOINT][1] and default_version(google_cloud) == "1"
