"""KServe over loopback: services are answered by this project's own server."""

import sys
from types import SimpleNamespace

import pytest

from hfpc import golden
from hfpc.errors import ArgumentError, EndpointError, HfpcError, MissingExtraError
from hfpc.sinks.endpoint_test import TestEndpointConfig
from hfpc.sinks.endpoint_test import test_endpoint as measured_at
from hfpc.sinks.kserve import UndeployKserveConfig, deploy, extra_settings, predict, undeploy
from hfpc.sinks.kserve_service import INFERENCE_SERVICE
from hfpc.sinks.kubernetes_calls import namespace
from tests.sinks.kserve_place import QUICK, deployment, kill, state

pytest.importorskip("kubernetes")

DEADLINE = "serving.knative.dev/progress-deadline"
CHANGES = ("POST inferenceservices", "PUT inferenceservices", "DELETE inferenceservices")


def test_a_new_model_takes_over(cluster, bring, folders):
    first = bring("old")
    assert (first.moved, first.previous, first.namespace) == (True, "", "team")
    assert first.url == "http://tweets.team.example.com"
    request = golden.read(folders["old"])[0]
    (response,) = predict(first.metadata, [request["inputs"]], patience=QUICK)
    assert {item["label"] for item in response} == {"negative", "positive"}
    second = bring("new")
    assert second.previous == first.deployment != second.deployment
    assert {name: each[4] for name, each in state(cluster).items()} == {"tweets": {"pvc://models/new": 100}}
    cluster.api.faults.clear()
    again = bring("new")
    assert not again.moved and again.deployment == second.deployment
    assert set(CHANGES).isdisjoint(cluster.api.faults.calls)
    assert undeploy(UndeployKserveConfig(name="tweets"), QUICK) and cluster.api.objects == {}
    assert not undeploy(UndeployKserveConfig(name="tweets"), QUICK)
    assert cluster.api.unknown_requests == []


def test_a_canary_gets_its_share_first(cluster, bring):
    bring("old")
    cluster.kserve.history.clear()
    bring("new", canary_percent=20, canary_seconds=0.2)
    shares = [each for each in cluster.kserve.history if each[0] == "tweets"]
    assert shares.index(("tweets", "pvc://models/new", 20)) < shares.index(("tweets", "pvc://models/new", 100))
    tagged = [uri for host, uri in cluster.gateway.answered if host == "latest-tweets-predictor.team.example.com"]
    assert set(tagged) == {"pvc://models/new"}
    assert state(cluster)["tweets"][3] is None
    assert set(state(cluster)) == {"tweets"}


@pytest.mark.parametrize("mode", ["Knative", "Standard"])
def test_in_a_pod_a_service_is_asked_inside_of_the_cluster(cluster, bring, in_a_pod, mode):
    canary = {"canary_percent": 20, "canary_seconds": 0.2} if mode == "Knative" else {}
    for name in ("old", "new"):
        deployed = bring(name, ingress="", deployment_mode=mode, **(canary if name == "new" else {}))
    host = {"Knative": "tweets.team.svc.cluster.local", "Standard": "tweets-predictor.team.svc.cluster.local"}[mode]
    assert deployed.url == f"http://{host}"
    asked = {asked for asked, uri in cluster.gateway.answered if uri == "pvc://models/new"}
    trial = host.replace("tweets", "tweets-trial")
    assert asked == {host, trial, *(["latest-tweets-predictor.team.svc.cluster.local"] if canary else [])}
    assert measured_at(TestEndpointConfig(requests=5), deployed.metadata, QUICK).metrics["requests"] == 5
    assert bring("new", ingress="", deployment_mode=mode, **canary).url == deployed.url


def test_an_ingress_is_asked_with_the_outer_name(cluster, bring, in_a_pod):
    bring("old")
    assert bring("new", canary_percent=20, canary_seconds=0.2).url == "http://tweets.team.example.com"
    assert {host.endswith(".example.com") for host, _ in cluster.gateway.answered} == {True}


def test_services_below_a_path_as_kubeflow_sets_them_up(cluster, bring, folders):
    cluster.kserve.path = "/serving"
    deployed = bring("old")
    assert deployed.url == "http://example.com/serving/team/tweets"
    assert predict(deployed.metadata, [golden.read(folders["old"])[0]["inputs"]], patience=QUICK)


@pytest.mark.parametrize("mode", ["", "Standard"])
def test_a_model_that_answers_otherwise_gets_no_traffic(cluster, bring, mode):
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        bring("wrong", deployment_mode=mode)
    assert cluster.api.objects == {}
    bring("old", deployment_mode=mode)
    before = state(cluster)
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        bring("wrong", deployment_mode=mode, canary_percent=0 if mode else 20)
    assert state(cluster) == before
    traffic = [each for each in cluster.kserve.history if each[1] == "pvc://models/wrong"]
    assert [each[0] for each in traffic] == ["tweets", "tweets-trial"]  # the first deployment, and the trial


def test_standard_mode(cluster, bring):
    first = bring("old", deployment_mode="Standard")
    second = bring("new", deployment_mode="Standard")
    assert second.previous == first.deployment
    assert state(cluster)["tweets"][4] == {"pvc://models/new": 100}
    with pytest.raises(ArgumentError, match=r"canary_percent=10: give 0: tweets runs in mode Standard"):
        bring("old", canary_percent=10)


@pytest.mark.parametrize("asked", ["RawDeployment", ""])
def test_standard_mode_before_kserve_told_it(cluster, bring, asked):
    """Up to 0.15.0 the status does not name the mode; where it is the cluster's default, an annotation does."""
    cluster.kserve.tells_mode = False
    if not asked:
        cluster.kserve.default_mode = "RawDeployment"
    for name in ("old", "new"):
        bring(name, deployment_mode=asked)
    assert state(cluster)["tweets"][4] == {"pvc://models/new": 100}
    assert "deploymentMode" not in cluster.api.objects["inferenceservices", "team", "tweets"]["status"]
    with pytest.raises(ArgumentError, match=r"canary_percent=10: give 0: tweets runs in mode RawDeployment"):
        bring("old", canary_percent=10)


def test_what_a_service_is_scaled_by(cluster, bring):
    """A mode that the cluster chooses is known once the service is there."""
    bring("old", scale_metric="rps")
    with pytest.raises(ArgumentError, match=r"scale_metric='cpu': give concurrency or rps: .* mode Knative scales"):
        bring("new", scale_metric="cpu")
    undeploy(UndeployKserveConfig(name="tweets"), QUICK)
    with pytest.raises(HfpcError, match=r"\[cpu\] is not a supported metric.*; everything is as before"):
        bring("old", scale_metric="cpu")
    cluster.kserve.default_mode = "Standard"
    with pytest.raises(EndpointError, match=r"scale_metric='rps': give cpu or memory: .*; everything is as before"):
        bring("old", scale_metric="rps")
    assert cluster.api.objects == {}
    assert bring("old", scale_metric="cpu").moved


def test_nodes_with_gpus_have_a_taint(cluster, bring):
    """In Standard mode pods put up with it. Knative takes no tolerations as it is installed."""

    def tolerations():
        return cluster.api.objects["inferenceservices", "team", "tweets"]["spec"]["predictor"].get("tolerations")

    usual = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    gpu, own = {"cpu": "1", "nvidia.com/gpu": "1"}, {"key": "team", "operator": "Equal", "value": "search"}
    bring("old", resources=gpu)
    assert tolerations() is None
    with pytest.raises(EndpointError, match="tweets-trial was not ready"):
        bring("old", resources=gpu, tolerations=[own], ready_seconds=1)
    cluster.kserve.schedules = True
    bring("old", resources=gpu, tolerations=[own])
    assert tolerations() == [own]
    undeploy(UndeployKserveConfig(name="tweets"), QUICK)
    bring("old", deployment_mode="Standard", resources=gpu, tolerations=[own])
    assert tolerations() == [own, usual]
    bring("old", deployment_mode="Standard")
    assert tolerations() is None


def test_standard_mode_is_ready_with_old_pods_too(cluster, bring):
    """They answer while the new ones are loaded: the step goes on until there are none."""
    bring("old", deployment_mode="Standard")
    before = state(cluster)

    def full(found):
        """A cluster without room for another pod of the service itself."""
        change = cluster.kserve.held.add if found["metadata"]["name"] == "tweets" else cluster.kserve.held.discard
        change("pvc://models/new")
        cluster.kserve.advance(found)

    cluster.api.controllers["inferenceservices"] = SimpleNamespace(
        check=cluster.kserve.check, advance=full, remove=cluster.kserve.remove
    )
    try:
        told = "tweets was not ready after 1 seconds: its Deployment has not replaced all pods; everything is as before"
        with pytest.raises(EndpointError, match=told):
            bring("new", deployment_mode="Standard", ready_seconds=1)
    finally:
        cluster.api.controllers["inferenceservices"] = cluster.kserve
    assert state(cluster) == before
    cluster.api.faults.clear()
    cluster.api.forbidden.add("deployments")
    with pytest.raises(EndpointError, match=r"deployments is forbidden.*needs get of deployments\.apps"):
        bring("new", deployment_mode="Standard")
    assert set(CHANGES).isdisjoint(cluster.api.faults.calls)


def test_a_revision_may_take_as_long_as_is_waited(cluster, bring):
    """Knative gives it ten minutes unless it is told otherwise; being told otherwise makes no other deployment."""

    def given():
        return cluster.api.objects["inferenceservices", "team", "tweets"]["metadata"]["annotations"][DEADLINE]

    kill(cluster, lambda: bring("old"))
    assert given() == "1800s"
    assert bring("old", ready_seconds=1200.5).moved and given() == "1201s"
    assert not bring("old", ready_seconds=60).moved and given() == "1201s"


def test_an_endpoint_is_tested_on_its_own(cluster, bring):
    deployed = bring("old")
    assert measured_at(TestEndpointConfig(requests=5), deployed.metadata).metrics["requests"] == 5
    with pytest.raises(EndpointError, match="max_latency_ms"):
        measured_at(TestEndpointConfig(requests=5, max_latency_ms=0.001), deployed.metadata)
    with pytest.raises(ArgumentError, match="roll_back=True"):
        measured_at(TestEndpointConfig(roll_back=True), deployed.metadata)
    for key in deployed.metadata.keys() - {"storage_uri", "fingerprint", "previous", "moved", "platform"}:
        less = {name: value for name, value in deployed.metadata.items() if name != key}
        with pytest.raises(ArgumentError, match=f"from deploy_kserve; this one has no {key}"):
            measured_at(TestEndpointConfig(requests=5), less)
    assert measured_at(TestEndpointConfig(requests=5), bring("new").metadata).metrics["requests"] == 5
    with pytest.raises(EndpointError, match="it was deployed again since"):
        measured_at(TestEndpointConfig(requests=5), deployed.metadata)
    undeploy(UndeployKserveConfig(name="tweets"), QUICK)
    with pytest.raises(EndpointError, match="it was undeployed since"):
        measured_at(TestEndpointConfig(requests=5), deployed.metadata)


def test_kserves_own_runtime(cluster, bring, folders):
    deployed = bring("old", runtime="huggingface")
    predictor = cluster.api.objects["inferenceservices", "team", "tweets"]["spec"]["predictor"]
    assert predictor["model"]["modelFormat"] == {"name": "huggingface"}
    assert predict(deployed.metadata, ["i love this day"], patience=QUICK)[0] in (0, 1)
    with pytest.raises(EndpointError, match="does not answer as the model did"):
        bring("wrong", runtime="huggingface")


def test_what_others_made_is_left_alone(cluster, bring):
    bring("old")
    theirs = cluster.api.objects["inferenceservices", "team", "tweets"]
    theirs["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    for step in (lambda: bring("new"), lambda: undeploy(UndeployKserveConfig(name="tweets"), QUICK)):
        with pytest.raises(EndpointError, match="was not made by this library"):
            step()
    assert cluster.api.objects == {("inferenceservices", "team", "tweets"): theirs}


def test_labels_of_others_stay(cluster, bring):
    bring("old", labels={"team": "search"})
    labels = cluster.api.objects["inferenceservices", "team", "tweets"]["metadata"]["labels"]
    assert labels["team"] == "search"
    labels["cost-centre"] = "7"
    bring("new")
    space = namespace("team", QUICK)
    found = space.get(INFERENCE_SERVICE, "tweets")
    labels = found["metadata"]["labels"]
    assert labels.pop("cost-centre") == "7" and "team" not in labels
    cluster.api.faults.clear()
    metadata = {key: found["metadata"][key] for key in ("name", "labels", "annotations")}
    assert space.put(INFERENCE_SERVICE, {"metadata": metadata, "spec": found["spec"]})
    assert cluster.api.faults.calls == ["GET inferenceservices"]  # it is so already


def test_without_the_extra(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(MissingExtraError, match=r"kubernetes.*hf-pipeline-components\[kubeflow\]"):
        namespace()


def test_a_container_that_does_not_start(cluster, bring):
    with pytest.raises(EndpointError, match=r"cannot load its model \(ModelLoadFailed: .*everything is as before"):
        bring("old", environment={"HFPC_QUEUE": "none"})
    assert cluster.api.objects == {}


def test_a_revision_that_is_never_ready(cluster, bring):
    bring("old")
    before = state(cluster)
    cluster.kserve.held.add("pvc://models/new")
    told = r"tweets-trial was not ready after 1 seconds: PredictorReady: RevisionMissing .*; everything is as before"
    with pytest.raises(EndpointError, match=told):
        bring("new", ready_seconds=1)
    assert state(cluster) == before


def test_a_revision_that_is_ready_at_the_trial_only(cluster, bring):
    """What was tried well is taken back too when it does not come up where it shall serve."""
    first = bring("old")
    before = state(cluster)
    advance = cluster.kserve.advance

    def full(found):
        """A cluster without room for another replica of the service itself."""
        if found["metadata"]["name"] == "tweets":
            cluster.kserve.held.add("pvc://models/new")
        else:
            cluster.kserve.held.clear()
        advance(found)

    cluster.api.controllers["inferenceservices"] = SimpleNamespace(
        check=cluster.kserve.check, advance=full, remove=cluster.kserve.remove
    )
    try:
        with pytest.raises(EndpointError, match=r"tweets was not ready after 1 seconds.*; everything is as before"):
            bring("new", ready_seconds=1)
    finally:
        cluster.api.controllers["inferenceservices"] = cluster.kserve
    assert state(cluster) == before
    assert {each for each in cluster.kserve.history if each[0] == "tweets"} == {("tweets", "pvc://models/old", 100)}
    assert not bring("old").moved and bring("old").deployment == first.deployment


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "My service"}, "name='My service'"),
        ({"name": "a" * 41}, "at most 40"),
        ({"namespace": "a/b"}, "namespace='a/b'"),
        ({"storage_uri": "/models"}, "storage_uri='/models'"),
        ({"runtime": "triton"}, "runtime='triton'"),
        ({"runtime": "huggingface", "image": "own"}, "image='own'"),
        ({"resources": {"cpu": "two"}}, "resources={'cpu': 'two'}"),
        ({"min_replicas": -1}, "min_replicas=-1"),
        ({"min_replicas": 3}, "max_replicas=1"),
        ({"scale_metric": "fun"}, "scale_metric='fun'"),
        ({"scale_metric": "memory", "deployment_mode": "Serverless"}, "give concurrency or rps"),
        ({"scale_metric": "rps", "deployment_mode": "Standard"}, "give cpu or memory"),
        ({"tolerations": [{"taint": "x"}]}, "tolerations={'taint': 'x'}"),
        ({"tolerations": ["nvidia.com/gpu"]}, "tolerations='nvidia.com/gpu'"),
        ({"canary_percent": 100}, "canary_percent=100"),
        ({"canary_percent": 10, "deployment_mode": "Standard"}, "only Knative divides traffic"),
        ({"min_replicas": 0, "deployment_mode": "RawDeployment"}, "min_replicas=0"),
        ({"ingress": "gateway"}, "ingress='gateway'"),
        ({"environment": {"HF_TOKEN": "hf_abc"}}, "no secret"),
        ({"labels": {"hfpc/x": "y"}}, "kept for the library itself"),
        ({"ready_seconds": 0}, "ready_seconds=0"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(cluster, change, told):
    with pytest.raises(ArgumentError) as caught:
        deployment(cluster, **change)
    assert told in str(caught.value) and "hf_abc" not in str(caught.value)


def test_rare_settings(cluster):
    config = deployment(cluster, **extra_settings({"scale_metric": "rps", "ready_seconds": 60}))
    assert (config.scale_metric, config.ready_seconds) == ("rps", 60.0)
    with pytest.raises(ArgumentError, match=r"extra={'colour': 'red'}: known are deployment_mode"):
        extra_settings({"colour": "red"})
    with pytest.raises(ArgumentError, match=r"extra={'environment': 'str'}: give dict for environment"):
        extra_settings({"environment": "LENGTH=canary"})


def test_a_model_that_kserve_cannot_read(cluster, folders):
    with pytest.raises(ArgumentError, match="which KServe cannot read"):
        deploy(str(folders["old"]), deployment(cluster, storage_uri=""), QUICK)
    assert cluster.api.faults.calls == []


def test_who_may_not_come_in_is_told_why(cluster, bring, tmp_path, certificate, monkeypatch):
    file = cluster.api.write_kubeconfig(tmp_path / "stale", certificate[0], token="of-yesterday")
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(HfpcError, match=r"failed at deploying tweets: Unauthorized \(log in again"):
        bring("old")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(ArgumentError, match="no cluster is known here"):
        bring("old")


def test_a_cluster_without_kserve(cluster, bring):
    cluster.api.installed.discard("inferenceservices")
    with pytest.raises(HfpcError, match=r"the cluster has no serving.kserve.io/v1beta1: install KServe"):
        bring("old")
