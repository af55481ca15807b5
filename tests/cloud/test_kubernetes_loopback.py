"""The loopback cluster, asked by the official client."""

import pytest

kubernetes = pytest.importorskip("kubernetes")

PLACE = {"group": "serving.kserve.io", "version": "v1beta1", "namespace": "team", "plural": "inferenceservices"}


@pytest.fixture
def api(cluster):
    from hfpc.sinks.kubernetes_calls import namespace

    cluster.api.controllers.pop("inferenceservices")  # nothing is started
    yield namespace().api
    cluster.api.controllers["inferenceservices"] = cluster.kserve


def service(name="a", **predictor):
    container = {"name": "kserve-container", "image": "i", "env": [{"name": "STORAGE_URI", "value": "pvc://models/a"}]}
    spec = {"predictor": {"containers": [container], **predictor}}
    metadata = {"name": name, "labels": {"team": name}}
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}


def create(api, body, **options):
    return api.create_namespaced_custom_object(**PLACE, body=body, **options)


def refused(step) -> tuple[int, str]:
    with pytest.raises(kubernetes.client.ApiException) as caught:
        step()
    return caught.value.status, caught.value.body


def test_what_the_definition_does_not_have_is_refused_where_the_client_is_strict(api):
    status, told = refused(lambda: create(api, service(minReplica=1), field_validation="Strict"))
    assert status == 400 and 'unknown field \\"spec.predictor.minReplica\\"' in told
    status, told = refused(lambda: create(api, service(minReplicas="one")))
    assert status == 422 and "spec.predictor.minReplicas" in told
    status, told = refused(lambda: create(api, service(scaleMetric="fun")))
    assert status == 422 and "is not one of" in told
    without = service()
    del without["spec"]
    assert refused(lambda: create(api, without))[0] == 422


def test_versions_and_generations(api):
    made = create(api, service())
    assert refused(lambda: create(api, service()))[0] == 409
    change = {**made, "spec": service(minReplicas=2)["spec"]}
    changed = api.replace_namespaced_custom_object(**PLACE, name="a", body=change)
    assert changed["metadata"]["generation"] == 2 != made["metadata"]["generation"]
    assert refused(lambda: api.replace_namespaced_custom_object(**PLACE, name="a", body=change))[0] == 409
    labelled = {"metadata": {"labels": {"more": "x"}}}
    patched = api.patch_namespaced_custom_object(**PLACE, name="a", body=labelled)
    assert patched["metadata"]["generation"] == 2 and patched["metadata"]["labels"] == {"team": "a", "more": "x"}


def test_the_status_is_written_on_its_own(api):
    made = create(api, service())
    told = {**made, "status": {"url": "http://a"}, "spec": {}}
    assert api.replace_namespaced_custom_object(**PLACE, name="a", body=told | {"spec": made["spec"]})["status"] == {}
    made = api.get_namespaced_custom_object(**PLACE, name="a")
    told = {**made, "status": {"url": "http://a"}, "spec": {}}
    written = api.replace_namespaced_custom_object_status(**PLACE, name="a", body=told)
    assert written["status"] == {"url": "http://a"} and written["spec"] == made["spec"]


def test_lists_by_label_and_what_is_deleted(api, cluster):
    for name in ("a", "b"):
        create(api, service(name))
    found = api.list_namespaced_custom_object(**PLACE, label_selector="team=b")["items"]
    assert [each["metadata"]["name"] for each in found] == ["b"]
    wrong = {"preconditions": {"uid": "other"}}
    assert refused(lambda: api.delete_namespaced_custom_object(**PLACE, name="a", body=wrong))[0] == 409
    api.delete_namespaced_custom_object(**PLACE, name="a")
    assert "object is being deleted" in refused(lambda: create(api, service("a")))[1]
    assert "deletionTimestamp" in api.get_namespaced_custom_object(**PLACE, name="a")["metadata"]
    assert refused(lambda: api.get_namespaced_custom_object(**PLACE, name="a"))[0] == 404
    assert cluster.api.unknown_requests == []
    other = {**PLACE, "plural": "inferencegraphs"}
    assert refused(lambda: api.get_namespaced_custom_object(**other, name="a"))[0] == 404
    assert cluster.api.unknown_requests == [
        "GET /apis/serving.kserve.io/v1beta1/namespaces/team/inferencegraphs/a",
    ]


@pytest.mark.parametrize(("kind", "status"), [("error", 500), ("throttled", 429), ("timeout", 504)])
def test_faults(api, cluster, kind, status):
    cluster.api.faults.plan(0, kind)
    assert refused(lambda: create(api, service()))[0] == status
    assert cluster.api.objects == {} and cluster.api.faults.calls == ["POST inferenceservices"]


def test_a_lost_answer_was_done(api, cluster):
    from urllib3.exceptions import HTTPError

    cluster.api.faults.plan(0, "lost")
    with pytest.raises(HTTPError):
        create(api, service())
    assert len(cluster.api.objects) == 1
