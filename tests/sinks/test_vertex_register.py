"""Vertex AI's Model Registry, asked by the official client over loopback."""

import pytest

from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.vertex_models import RegisterVertexModelConfig, register
from tests.cloud.faults import KINDS
from tests.cloud.google_fixtures import LOCATION, PROJECT, SERVING_IMAGE
from tests.sinks.vertex_place import PARENT, QUICK, told_by

pytest.importorskip("google.cloud.aiplatform_v1")


def config(**changes):
    given = {
        "name": "tweets",
        "project": PROJECT,
        "location": LOCATION,
        "staging_uri": "gs://registered/staging",
        "image": SERVING_IMAGE,
    }
    return RegisterVertexModelConfig(**{**given, **changes})


def versions(google_cloud):
    return {name: model for name, model in google_cloud.vertex.objects.items() if "@" in name}


@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
def test_a_model_is_registered_once(google_cloud, model, predictions):
    google_cloud.make_bucket("registered")
    first = register(str(model), predictions, config(), QUICK)
    assert first.resource == f"{PARENT}/models/tweets@1" and first.uri.startswith("gs://registered/staging/")
    assert {"hfpc.json", "config.json", "golden.json"} <= {
        name.rpartition("/")[2] for name in google_cloud.objects("registered")
    }
    assert register(str(model), predictions, config(), QUICK) == first
    (kept,) = versions(google_cloud).values()
    assert kept.labels["hfpc-fingerprint"] == first.fingerprint[:40]
    assert "default" in kept.version_aliases
    (evaluation,) = google_cloud.vertex.evaluations[first.resource]
    assert 0 < evaluation.metrics["confidenceMetrics"][0]["f1Score"] <= 1
    again = register(
        str(model), predictions, config(image="us-docker.pkg.dev/other/images/server:1", aliases=("canary",)), QUICK
    )
    assert again.version == "2"
    assert [list(each.version_aliases)[-1] for each in versions(google_cloud).values()] == ["default", "canary"]


def test_a_model_on_cloud_storage_stays_where_it_is(google_cloud, model, predictions):
    google_cloud.make_bucket("artifacts")
    uri = google_cloud.upload(model, "gs://artifacts/run/model")
    made = register(uri, predictions, config(staging_uri=""), QUICK)
    assert made.uri == uri == versions(google_cloud)[made.resource].artifact_uri


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "Tweets"}, "name='Tweets'"),
        ({"project": "x"}, "project='x'"),
        ({"location": "here"}, "location='here'"),
        ({"staging_uri": "s3://bucket"}, "staging_uri='s3://bucket'"),
        ({"labels": {"A": "b"}}, "labels={'A': 'b'}"),
        ({"environment": {"HF_TOKEN": "canary"}}, "no secret"),
        ({"shared_memory_mb": -1}, "shared_memory_mb=-1"),
        ({"image": "docker.io/library/server:1"}, "image='docker.io/library/server:1': Vertex AI serves images of"),
        ({"image": ""}, "set this to where, or give image"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(change, told):
    with pytest.raises(ArgumentError) as caught:
        config(**change)
    assert told in str(caught.value) and "canary" not in str(caught.value)


def test_a_model_elsewhere_needs_a_place(google_cloud, model, predictions):
    with pytest.raises(ArgumentError, match="staging_uri=''"):
        register(str(model), predictions, config(staging_uri=""), QUICK)


def test_a_model_of_others_is_left_alone(google_cloud, model, predictions):
    from google.cloud import aiplatform_v1 as v1

    google_cloud.make_bucket("registered")
    spec = {"image_uri": SERVING_IMAGE}
    google_cloud.vertex.UploadModel(
        v1.UploadModelRequest(parent=PARENT, model_id="tweets", model={"display_name": "x", "container_spec": spec})
    )
    with pytest.raises(HfpcError, match="was not made by this library"):
        register(str(model), predictions, config(), QUICK)
    assert len(versions(google_cloud)) == 1


@pytest.mark.parametrize("looks", [0, pytest.param(25, marks=pytest.mark.slow)], ids=["at once", "goes on"])
def test_every_call_may_fail(google_cloud, model, predictions, looks):
    """Once: the step ends well all the same. As often as it is tried: the next step ends well. Never two versions.

    An upload that goes on does so for longer than what a failed call made is looked for.
    """
    google_cloud.make_bucket("registered")
    uri = google_cloud.upload(model, "gs://registered/model")
    vertex, faults = google_cloud.vertex, google_cloud.vertex.faults
    vertex.upload_looks = looks
    register(uri, predictions, config(), QUICK)
    calls, failed, before = list(faults.calls), 0, faults.injected
    assert len(calls) > 3
    for index in range(len(calls)):
        if calls[index - 1 : index] == ["GetOperation"] == calls[index : index + 1]:
            continue  # one look at an operation stands for those that follow
        for kind in (*KINDS, "throttled"):
            for times in (1, QUICK.attempts):
                vertex.reset()
                vertex.upload_looks = looks
                faults.plan(index, kind, times)
                error = told_by(lambda: register(uri, predictions, config(), QUICK))
                failed += bool(error)
                assert times > 1 or not error, (calls[index], kind, error)
                assert "\n" not in error and (not error or "registering the model tweets" in error)
                faults.clear()
                made = register(uri, predictions, config(), QUICK)
                assert list(versions(google_cloud)) == [made.resource], (calls[index], kind, times)
                assert len(vertex.evaluations[made.resource]) == 1
    print(f"{faults.injected - before} faults in {len(calls)} calls of register, {failed} steps failed")
    assert failed
