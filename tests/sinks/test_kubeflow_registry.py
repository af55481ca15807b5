"""Kubeflow Model Registry over loopback."""

import itertools

import pytest

from hfpc import registry as local_registry
from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.kubeflow_registry import RegisterKubeflowModelConfig, register
from hfpc.sinks.patience import Patience
from tests.cloud.faults import KINDS
from tests.cloud.kubeflow_model_registry import ModelRegistry
from tests.sinks.conftest import save_predictions
from tests.sinks.kserve_place import told_by

QUICK = Patience(call=10.0, total=60.0, pause=0.001, retry=0.001, settle=0.01, attempts=3)


@pytest.fixture(scope="module")
def served():
    with ModelRegistry().serve() as registry:
        yield registry


@pytest.fixture
def registry(served):
    served.reset()
    return served


@pytest.fixture
def uri(google_cloud, model):
    google_cloud.make_bucket("registry")
    return google_cloud.upload(model, "gs://registry/model")


def config(served_registry, **changes) -> RegisterKubeflowModelConfig:
    return RegisterKubeflowModelConfig(**{"name": "tweets", "registry": served_registry.address, **changes})


def test_a_model_is_registered_once(registry, uri, model, predictions):
    first = register(uri, predictions, config(registry, properties={"team": "search"}), QUICK)
    fingerprint = local_registry.fingerprint(model)
    assert (first.version, first.uri, first.fingerprint) == (fingerprint[:12], uri, fingerprint)
    ((version,), (artifact,)) = registry.objects["model_versions"], registry.objects["artifacts"]
    properties = version["customProperties"]
    assert properties["accuracy"] == {"metadataType": "MetadataDoubleValue", "double_value": 0.9}
    assert properties["fingerprint"]["string_value"] == fingerprint
    assert properties["team"]["string_value"] == "search"
    assert artifact["uri"] == uri
    assert register(uri, predictions, config(registry), QUICK) == first
    assert [len(each) for each in registry.objects.values()] == [1, 1, 1]
    assert registry.unknown_requests == []


def test_a_model_whose_files_lie_elsewhere_now(registry, google_cloud, uri, model):
    first = register(uri, None, config(registry), QUICK)
    elsewhere = google_cloud.upload(model, "gs://registry/again")
    second = register(elsewhere, None, config(registry), QUICK)
    assert (second.uri, second.artifact_id) == (elsewhere, first.artifact_id) and elsewhere != uri
    assert [each["uri"] for each in registry.objects["artifacts"]] == [elsewhere]
    assert registry.unknown_requests == []


def test_a_metric_that_is_no_number_is_left_out(registry, uri, model, tmp_path):
    fingerprint = local_registry.fingerprint(model)
    told = save_predictions(tmp_path / "told", fingerprint, accuracy=0.5, f1=float("nan"))
    register(uri, told, config(registry), QUICK)
    properties = registry.objects["model_versions"][0]["customProperties"]
    assert properties["accuracy"]["double_value"] == 0.5 and "f1" not in properties


def test_an_older_registry(registry, uri):
    registry.base = "/api/model_registry/v1alpha3"
    assert register(uri, None, config(registry), QUICK).uri == uri
    registry.base = "/something/else"
    with pytest.raises(HfpcError, match="is no Kubeflow Model Registry"):
        register(uri, None, config(registry), QUICK)


def test_a_model_of_this_machine_is_copied(registry, google_cloud, model):
    google_cloud.make_bucket("registry")
    with pytest.raises(ArgumentError, match="staging_uri=''"):
        register(str(model), None, config(registry), QUICK)
    made = register(str(model), None, config(registry, staging_uri="gs://registry/staged"), QUICK)
    assert made.uri == f"gs://registry/staged/{made.fingerprint}"
    assert f"staged/{made.fingerprint}/hfpc.json" in google_cloud.objects("registry")


def test_a_version_of_another_model(registry, uri, tmp_path):
    register(uri, None, config(registry, version="1.0"), QUICK)
    properties = registry.objects["model_versions"][0]["customProperties"]
    properties["fingerprint"]["string_value"] = "other"
    with pytest.raises(ArgumentError, match=r"version='1\.0': another model has this version"):
        register(uri, None, config(registry, version="1.0"), QUICK)
    others = save_predictions(tmp_path / "others", "0" * 64, accuracy=1.0)
    with pytest.raises(ArgumentError, match="predictions="):
        register(uri, others, config(registry), QUICK)


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"registry": "registry"}, {"version": "a/b"}, {"staging_uri": "/tmp"}, {"properties": {"a": 1}}],
)
def test_what_cannot_be_used_is_told_before_any_call(registry, change):
    with pytest.raises(ArgumentError, match=f"{next(iter(change))}="):
        config(registry, **change)


def test_what_the_registrys_own_client_reads(registry, uri, predictions):
    """The official client finds what was registered."""
    client = pytest.importorskip("model_registry").ModelRegistry(registry.address, author="tests", user_token="x")
    made = register(uri, predictions, config(registry), QUICK)
    version = client.get_model_version("tweets", made.version)
    assert version.custom_properties["accuracy"] == 0.9
    assert client.get_model_artifact("tweets", made.version).uri == uri
    assert registry.unknown_requests == []


def test_every_call_may_fail(registry, uri, predictions):
    """Once: it is registered all the same. As often as it is tried: the next step completes what was begun."""
    register(uri, predictions, config(registry), QUICK)
    calls, failed, injected = list(registry.faults.calls), 0, registry.faults.injected
    cases = [*((kind, 1) for kind in (*KINDS, "throttled")), ("error", QUICK.attempts), ("lost", QUICK.attempts)]
    for index, (kind, times) in itertools.product(range(len(calls)), cases):
        registry.reset()
        registry.faults.plan(index, kind, times)
        where = (index, calls[index], kind, times)
        error = told_by(lambda: register(uri, predictions, config(registry), QUICK))
        assert times > 1 or not error, (where, error)
        failed += bool(error)
        registry.faults.clear()
        register(uri, predictions, config(registry), QUICK)
        assert [len(each) for each in registry.objects.values()] == [1, 1, 1], where
    print(f"{registry.faults.injected - injected} faults in {len(calls)} calls, {failed} steps failed")
    assert failed
