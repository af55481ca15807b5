"""Vertex AI endpoints over loopback: deployments are answered by this project's own server."""

import copy
import itertools
import socket

import pytest

from hfpc import golden
from hfpc.errors import ArgumentError, EndpointError, HfpcError
from hfpc.sinks.vertex_calls import MANAGED
from hfpc.sinks.vertex_endpoints import (
    DeployVertexEndpointConfig,
    champion,
    deploy,
    extra_settings,
    predict,
    undeploy,
)
from hfpc.sinks.vertex_rollout import TRIAL_LABEL
from tests.cloud.faults import KINDS
from tests.sinks.vertex_place import (
    ENDPOINT,
    PARENT,
    QUICK,
    default_version,
    deployment,
    opposite,
    other,
    put,
    registered,
    state,
    told_by,
)

pytest.importorskip("google.cloud.aiplatform_v1")


@pytest.fixture(scope="module")
def uris(tmp_path_factory, model):
    """Folders of models: old, new, one that answers otherwise than it should, and one that should answer so."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "old": model,
        "new": other(model, folder / "new", "2" * 64),
        "wrong": other(model, folder / "wrong", "3" * 64, wrong=True),
        "opposite": opposite(model, folder / "opposite", "4" * 64),
    }


@pytest.fixture
def models(google_cloud, uris):
    """Puts models on Cloud Storage and registers them, by name."""
    places = {name: put(google_cloud, folder, name) for name, folder in uris.items()}
    return lambda *names: [registered(places[name]) for name in names]


@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
def test_a_new_version_takes_over(google_cloud, models, model):
    old, new = models("old", "new")
    first = deploy(old, deployment(), QUICK)
    assert state(google_cloud) == {ENDPOINT: ({first.deployed_model: "1"}, {first.deployed_model: 100})}
    assert first.moved and first.previous == ()
    request = golden.read(model)[0]
    (response,) = predict(first.resource, [request["inputs"]])
    assert {item["label"] for item in response} == {"negative", "positive"}
    second = deploy(new, deployment(canary_percent=20, canary_seconds=0.05), QUICK)
    assert second.previous == (first.deployed_model,)
    assert state(google_cloud) == {ENDPOINT: ({second.deployed_model: "2"}, {second.deployed_model: 100})}
    google_cloud.vertex.faults.clear()
    again = deploy(new, deployment(), QUICK)
    assert not again.moved and again.deployed_model == second.deployed_model
    changes = {"CreateEndpoint", "DeployModel", "UpdateEndpoint", "UndeployModel", "DeleteEndpoint"}
    changes.add("MergeVersionAliases")
    assert changes.isdisjoint(google_cloud.vertex.faults.calls)
    assert undeploy(ENDPOINT, QUICK) and state(google_cloud) == {}
    assert not undeploy(ENDPOINT, QUICK)
    assert google_cloud.vertex.unknown_requests == []


def test_a_model_that_answers_otherwise_gets_no_traffic(google_cloud, models):
    old, wrong = models("old", "wrong")
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        deploy(wrong, deployment(), QUICK)
    assert state(google_cloud) == {}
    deploy(old, deployment(), QUICK)
    before = state(google_cloud)
    google_cloud.vertex.faults.clear()
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        deploy(wrong, deployment(), QUICK)
    assert state(google_cloud) == before
    assert "UpdateEndpoint" not in google_cloud.vertex.faults.calls


def test_traffic_that_still_spreads_does_not_count_against_the_new_version(google_cloud, models):
    old, turned = models("old", "opposite")
    deploy(old, deployment(), QUICK)
    google_cloud.vertex.spreading = 5
    second = deploy(turned, deployment(canary_percent=50, canary_seconds=0.05), QUICK)
    assert state(google_cloud) == {ENDPOINT: ({second.deployed_model: "2"}, {second.deployed_model: 100})}


def test_what_a_killed_step_left_serving_is_tested_before_it_counts(google_cloud, models):
    """A first model gets its traffic with its deployment: nobody asked it anything yet when the step was killed."""
    (wrong,) = models("wrong")
    faults = google_cloud.vertex.faults
    for method in ("Predict", "UndeployModel"):
        faults.plan(0, "error", 1000, method=method)
    with pytest.raises(EndpointError, match="not everything could be put back"):
        deploy(wrong, deployment(), QUICK)
    ((_, traffic),) = state(google_cloud).values()
    assert list(traffic.values()) == [100]
    faults.clear()
    with pytest.raises(EndpointError, match="does not answer as the model did when it was made"):
        deploy(wrong, deployment(), QUICK)
    assert state(google_cloud) == {ENDPOINT: ({}, {})}


def test_a_canary_that_a_killed_step_left_does_not_stay_when_it_fails(google_cloud, models):
    old, turned = models("old", "opposite")
    first = deploy(old, deployment(), QUICK)
    config, faults = deployment(canary_percent=10, canary_seconds=0.05), google_cloud.vertex.faults
    faults.clear()
    faults.plan(1, "error", 1000, method="UpdateEndpoint")  # the first makes the canary
    with pytest.raises(EndpointError, match="not everything could be put back"):
        deploy(turned, config, QUICK)
    assert sorted(state(google_cloud)[ENDPOINT][1].values()) == [10, 90]
    faults.clear()
    faults.plan(0, "error", 1000, method="Predict")
    with pytest.raises(EndpointError, match="everything is as before"):
        deploy(turned, config, QUICK)
    assert state(google_cloud) == {ENDPOINT: ({first.deployed_model: "1"}, {first.deployed_model: 100})}


def test_other_machines_are_another_deployment(google_cloud, models):
    (old,) = models("old")
    small, large = (deploy(old, deployment(machine_type=f"n1-standard-{size}"), QUICK) for size in (2, 8))
    assert small.deployed_model != large.deployed_model
    ((deployed,),) = [item.deployed_models for name, item in google_cloud.vertex.objects.items() if name == ENDPOINT]
    assert deployed.dedicated_resources.machine_spec.machine_type == "n1-standard-8"


def test_a_dedicated_endpoint_is_asked_at_its_own_address(google_cloud, models, model):
    (old,) = models("old")
    deploy(old, deployment(dedicated=True), QUICK)
    endpoint = google_cloud.vertex.objects[ENDPOINT]
    assert endpoint.dedicated_endpoint_enabled and google_cloud.vertex.faults.calls.count("Predict") == 3
    text = golden.read(model)[0]["inputs"]
    assert len(predict(ENDPOINT, [text, text], {"top_k": 1}, QUICK)[0]) == 1
    with pytest.raises(HfpcError, match=r"Vertex AI failed at asking .*tweets: .*inputs"):
        predict(ENDPOINT, [{"neither": "text"}], patience=QUICK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint.dedicated_endpoint_dns = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(HfpcError, match="Connection refused"):
            predict(ENDPOINT, [text], patience=QUICK)


def test_an_endpoint_in_the_middle_of_a_canary_is_taken_away(google_cloud, models):
    old, new = models("old", "new")
    first, second = deploy(old, deployment(), QUICK), deploy(new, deployment(endpoint_name="other"), QUICK)
    vertex = google_cloud.vertex
    (beside,) = vertex.objects[second.resource].deployed_models
    vertex.objects[ENDPOINT].deployed_models.append(beside)
    vertex.objects[ENDPOINT].traffic_split = {first.deployed_model: 90, second.deployed_model: 10}
    assert champion(ENDPOINT, QUICK) == first.artifact_uri
    assert undeploy(ENDPOINT, QUICK)
    assert list(state(google_cloud)) == [second.resource]
    assert champion(ENDPOINT, QUICK) == ""


def test_a_trial_that_a_killed_step_left_goes_with_the_endpoint_or_before_the_next_deployment(google_cloud, models):
    from google.cloud import aiplatform_v1 as v1

    old, new = models("old", "new")
    deploy(old, deployment(), QUICK)
    left = {"display_name": "left", "labels": {**MANAGED, TRIAL_LABEL: "tweets"}}
    for clean in (lambda: deploy(new, deployment(), QUICK), lambda: undeploy(ENDPOINT, QUICK)):
        google_cloud.vertex.CreateEndpoint(v1.CreateEndpointRequest(parent=PARENT, endpoint_id="left", endpoint=left))
        clean()
        assert f"{PARENT}/endpoints/left" not in state(google_cloud)
    assert state(google_cloud) == {}


def test_what_others_made_is_left_alone(google_cloud, models):
    from google.cloud import aiplatform_v1 as v1

    (old,) = models("old")
    google_cloud.vertex.CreateEndpoint(
        v1.CreateEndpointRequest(parent=PARENT, endpoint_id="tweets", endpoint={"display_name": "theirs"})
    )
    with pytest.raises(EndpointError, match="was not made by this library"):
        deploy(old, deployment(), QUICK)
    with pytest.raises(EndpointError, match="was not made by this library"):
        undeploy(ENDPOINT, QUICK)
    assert state(google_cloud) == {ENDPOINT: ({}, {})}


def test_a_container_that_does_not_start(google_cloud, models):
    (old,) = models("old")
    google_cloud.vertex.version(old).artifact_uri = "gs://registered/nothing"
    with pytest.raises(HfpcError, match="gs://registered/nothing"):
        deploy(old, deployment(), QUICK)
    version = google_cloud.vertex.version(old)
    version.artifact_uri, version.container_spec.env = "gs://registered/old", [{"name": "HFPC_QUEUE", "value": "none"}]
    with pytest.raises(EndpointError, match=r"Model server never became ready.*everything is as before"):
        deploy(old, deployment(), QUICK)
    assert state(google_cloud) == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"endpoint_name": "My endpoint"}, "endpoint_name='My endpoint'"),
        ({"machine_type": "large"}, "machine_type='large'"),
        ({"machine_type": "g2-standard-4"}, "has accelerators"),
        ({"accelerator_type": "NVIDIA_L4"}, "accelerator_count=0"),
        ({"accelerator_type": "NVIDIA_L4", "accelerator_count": 1}, "NVIDIA_L4 is in machines named g2-"),
        ({"accelerator_type": "L4", "accelerator_count": 1}, "accelerator_type='L4'"),
        ({"min_replicas": 0}, "min_replicas=0"),
        ({"min_replicas": 3}, "max_replicas=1"),
        ({"canary_percent": 100}, "canary_percent=100"),
        ({"canary_seconds": -1}, "canary_seconds=-1"),
        ({"target_utilization": 101}, "target_utilization=101"),
        ({"service_account": "me"}, "service_account='me'"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(change, told):
    with pytest.raises(ArgumentError) as caught:
        deployment(**change)
    assert told in str(caught.value)


def calls_before(google_cloud, method: str, step) -> int:
    """How many calls a step makes before the first of a method; what the step did is undone."""
    vertex, faults = google_cloud.vertex, google_cloud.vertex.faults
    kept = copy.deepcopy(vertex.objects)
    faults.clear()
    step()
    index = faults.calls.index(method)
    vertex.reset()
    vertex.objects.update(kept)
    return index


@pytest.fixture
def starting(google_cloud, model, tmp_path):
    """A registered model whose container does not run yet: its deployment takes some seconds."""
    return registered(put(google_cloud, other(model, tmp_path / "starting", "4" * 64), f"starting-{tmp_path.name}"))


def test_what_is_rolled_back_while_it_is_on_its_way_does_not_stay(google_cloud, starting):
    faults = google_cloud.vertex.faults
    faults.clear()
    faults.plan(0, "lost", method="DeployModel")
    faults.plan(1, "error", 2 * QUICK.attempts, method="ListOperations")  # so nobody learns that it is on its way
    with pytest.raises(EndpointError, match=r"Internal error encountered in ListOperations.; everything is as before"):
        deploy(starting, deployment(), QUICK)
    assert faults.calls.count("DeployModel") == 1
    assert state(google_cloud) == {}


def test_a_step_that_was_killed_is_gone_on_with(google_cloud, models, starting):
    vertex, faults = google_cloud.vertex, google_cloud.vertex.faults
    old, new = models("old", "new")
    first = deploy(old, deployment(), QUICK)
    index = calls_before(google_cloud, "DeployModel", lambda: deploy(new, deployment(), QUICK))
    faults.plan(index, "lost")
    faults.plan(index + 1, "error", 1000)
    with pytest.raises(EndpointError, match="not everything could be put back"):
        deploy(starting, deployment(), QUICK)
    assert state(google_cloud)[ENDPOINT] == ({first.deployed_model: "2"}, {first.deployed_model: 100})
    (trial,) = state(google_cloud).keys() - {ENDPOINT}
    assert state(google_cloud)[trial] == ({}, {})  # it is on its way
    faults.clear()
    second = deploy(starting, deployment(), QUICK)
    assert faults.calls.count("DeployModel") == 1  # at the endpoint; the trial's was waited for
    assert state(google_cloud) == {ENDPOINT: ({second.deployed_model: "1"}, {second.deployed_model: 100})}
    assert vertex.unknown_requests == []


def test_rare_settings_reach_the_deployment(google_cloud, models):
    (old,) = models("old")
    rare = {"target_utilization": 75.0, "canary_seconds": 1, "drain_seconds": 0, "dedicated": True}
    config = DeployVertexEndpointConfig(endpoint_name="tweets", max_replicas=2, **extra_settings(rare))
    deploy(old, config, QUICK)
    endpoint = google_cloud.vertex.objects[ENDPOINT]
    (metric,) = endpoint.deployed_models[0].dedicated_resources.autoscaling_metric_specs
    assert (metric.metric_name.rpartition("/online/")[2], metric.target) == ("cpu/utilization", 75)
    assert endpoint.dedicated_endpoint_enabled
    for wrong in ({"target_utilization": 7.5}, {"dedicated": 1}, {"drain": 1}):
        with pytest.raises(ArgumentError, match="extra="):
            extra_settings(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("beside", [False, True], ids=["first", "update"])
def test_every_call_may_fail(google_cloud, models, beside):
    """Once: the step ends well all the same. As often as it is tried: all is as before, and the next step ends well."""
    vertex, faults = google_cloud.vertex, google_cloud.vertex.faults
    config = deployment(canary_percent=10, canary_seconds=0.01)
    old, new = models("old", "new")
    model = new if beside else old
    if beside:
        deploy(old, deployment(), QUICK)
    kept, earlier = copy.deepcopy(vertex.objects), state(google_cloud)
    deploy(model, config, QUICK)  # starts the container: a deployment that waits for it asks hundreds of times
    vertex.reset()
    vertex.objects.update(copy.deepcopy(kept))
    wanted = deploy(model, config, QUICK)
    calls, failed, before = list(faults.calls), 0, faults.injected
    after = {ENDPOINT: ({wanted.deployed_model: "2" if beside else "1"}, {wanted.deployed_model: 100})}
    cases = [*((kind, 1) for kind in (*KINDS, "throttled")), ("error", QUICK.attempts), ("lost", QUICK.attempts)]
    for index, (kind, times) in itertools.product(range(len(calls)), cases):
        vertex.reset()
        vertex.objects.update(copy.deepcopy(kept))
        faults.plan(index, kind, times)
        where = (index, calls[index], kind, times)
        error = told_by(lambda: deploy(model, config, QUICK))
        assert times > 1 or not error, (where, error)
        failed += bool(error)
        if "serves all traffic" in error:
            assert state(google_cloud)[ENDPOINT][1] == after[ENDPOINT][1], where
        elif error:
            assert state(google_cloud) == earlier, (where, error)
            assert default_version(google_cloud) == "1", (where, error)
        if beside:
            assert sum(state(google_cloud)[ENDPOINT][1].values()) == 100, where
        faults.clear()
        assert deploy(model, config, QUICK).deployed_model == wanted.deployed_model, where
        assert state(google_cloud) == after, where
        assert default_version(google_cloud) == ("2" if beside else "1"), where
    kind = "update" if beside else "first deployment"
    print(f"{faults.injected - before} faults in {len(calls)} calls of a {kind}, {failed} steps failed")
    assert failed
