"""Batch prediction on Vertex AI over loopback; lines are answered by this project's own server."""

import json
import re

import pytest

from hfpc.errors import ArgumentError, EndpointError, HfpcError
from hfpc.sinks.vertex_batch import BatchPredictVertexConfig, batch_predict
from tests.cloud.faults import KINDS
from tests.cloud.vertex_batches import read_object, write_object
from tests.sinks.vertex_place import QUICK, put, registered, told_by

pytest.importorskip("google.cloud.aiplatform_v1")

SOURCE = "gs://registered/rows.jsonl"
TEXTS = ["i love this day", "my phone is terrible"]


def config(**changes) -> BatchPredictVertexConfig:
    return BatchPredictVertexConfig(**{"source": SOURCE, "destination": "gs://registered/predicted/", **changes})


def write_source(*rows, uri: str = SOURCE) -> None:
    write_object(uri, "".join(json.dumps(row) + "\n" for row in rows).encode())


def jobs(google_cloud) -> list[str]:
    return [name for name in google_cloud.vertex.objects if "/batchPredictionJobs/" in name]


@pytest.fixture
def name(google_cloud, model) -> str:
    """Resource name of a registered model."""
    return registered(put(google_cloud, model, "old"))


@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
def test_every_line_is_predicted_once(google_cloud, name):
    write_source(TEXTS[0], {"inputs": TEXTS[1]})
    first = batch_predict(name, config(parameters={"top_k": 1}), QUICK)
    assert first.metrics == {"rows": 2, "rows_failed": 0} and first.uri.startswith("gs://registered/predicted/")
    lines = read_object(f"{first.uri}/prediction.results-00000-of-00001").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["instance"] for row in rows] == [TEXTS[0], {"inputs": TEXTS[1]}]
    for row in rows:
        (best,) = row["prediction"]  # without the parameters of the job it would be both labels
        assert best["label"] in ("negative", "positive")
    job = google_cloud.vertex.objects[first.resource]
    assert job.labels["managed-by"] == "hfpc" and dict(job.model_parameters) == {"top_k": 1}
    assert batch_predict(name, config(parameters={"top_k": 1}), QUICK) == first
    assert jobs(google_cloud) == [first.resource]
    assert google_cloud.vertex.unknown_requests == []


def test_another_content_or_destination_is_another_job(google_cloud, name):
    write_source(*TEXTS)
    first = batch_predict(name, config(), QUICK)
    write_source(*TEXTS, "a third one")
    second = batch_predict(name, config(), QUICK)
    assert second.metrics["rows"] == 3 and second.resource != first.resource
    assert batch_predict(name, config(destination="gs://registered/elsewhere"), QUICK).uri.startswith(
        "gs://registered/elsew"
    )


def test_predictions_that_somebody_removed_are_made_again(google_cloud, name):
    import gcsfs

    write_source(*TEXTS)
    first = batch_predict(name, config(), QUICK)
    store = gcsfs.GCSFileSystem(skip_instance_cache=True)
    store.rm(first.uri, recursive=True)
    assert batch_predict(name, config(), QUICK).uri != first.uri


def test_a_star_stands_for_several_files(google_cloud, name):
    for number, text in enumerate(TEXTS):
        write_source(text, uri=f"gs://registered/parts/{number}.jsonl")
    write_source("another folder's", uri="gs://registered/parts/more/0.jsonl")
    made = batch_predict(name, config(source="gs://registered/parts/*.jsonl"), QUICK)
    lines = read_object(f"{made.uri}/prediction.results-00000-of-00001").splitlines()
    assert [json.loads(line)["instance"] for line in lines] == TEXTS


@pytest.mark.parametrize("numbered", [False, True], ids=["statistics", "numbered"])
def test_a_job_that_fails_tells_its_first_errors(google_cloud, name, caplog, numbered):
    google_cloud.vertex.numbered_files = numbered
    write_source(*({"neither": number} for number in range(9)))
    with pytest.raises(EndpointError, match=r"JOB_STATE_FAILED: All instances failed.*inputs") as caught:
        batch_predict(name, config(), QUICK)
    assert "\n" not in str(caught.value) and 1 <= str(caught.value).count("400 (") <= 3
    write_source({"neither": 1}, *TEXTS)
    assert batch_predict(name, config(batch_size=1), QUICK).metrics == {"rows": 2, "rows_failed": 1}
    assert "1 lines were not predicted" in caplog.text and "400 (" in caplog.text
    # What failed is tried again.
    write_source({"neither": 1})
    for _ in range(2):
        with pytest.raises(EndpointError):
            batch_predict(name, config(), QUICK)
    assert len(jobs(google_cloud)) == 4


def test_a_line_that_is_refused_takes_along_what_was_asked_with_it(google_cloud, name):
    write_source({"neither": 1}, *TEXTS)
    assert batch_predict(name, config(batch_size=2), QUICK).metrics == {"rows": 1, "rows_failed": 2}
    assert batch_predict(name, config(batch_size=1), QUICK).metrics == {"rows": 2, "rows_failed": 1}
    with pytest.raises(EndpointError, match="All instances failed"):
        batch_predict(name, config(batch_size=3), QUICK)


def test_lines_that_were_not_even_tried_count_as_failed(google_cloud, name, caplog):
    google_cloud.vertex.most_failed = 0
    write_source(TEXTS[0], {"neither": 1}, TEXTS[1], TEXTS[1])
    assert batch_predict(name, config(batch_size=1), QUICK).metrics == {"rows": 1, "rows_failed": 3}
    assert "3 lines were not predicted" in caplog.text


def test_a_job_that_takes_too_long_goes_on(google_cloud, name):
    write_source(*TEXTS)
    with pytest.raises(EndpointError, match=r"was not done after 1e-09 hours; it goes on"):
        batch_predict(name, config(timeout_hours=1e-9), QUICK)
    batch_predict(name, config(), QUICK)
    assert len(jobs(google_cloud)) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": "rows.jsonl"}, "source='rows.jsonl'"),
        ({"source": "gs://bucket"}, "source='gs://bucket'"),
        ({"destination": "s3://bucket"}, "destination='s3://bucket'"),
        ({"machine_type": "a2-highgpu-1g"}, "machine_type='a2-highgpu-1g'"),
        ({"accelerator_count": 1}, "accelerator_count=1"),
        ({"replicas": 0}, "replicas=0"),
        ({"replicas": 2}, "max_replicas=1"),
        ({"batch_size": 257}, "batch_size=257"),
        ({"service_account": "me"}, "service_account='me'"),
        ({"labels": {"a": "B"}}, "labels={'a': 'B'}"),
        ({"timeout_hours": 0}, "timeout_hours=0"),
        ({"kms_key": "key"}, "kms_key='key'"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(change, told):
    with pytest.raises(ArgumentError, match=re.escape(told)):
        config(**change)


def test_a_source_that_is_not_there(google_cloud, name):
    for source in ("gs://registered/nothing.jsonl", "gs://registered/nothing-*.jsonl"):
        with pytest.raises(ArgumentError, match="source='gs://registered/nothing"):
            batch_predict(name, config(source=source), QUICK)
    assert jobs(google_cloud) == []


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 2], ids=["at once", "late"])
def test_every_call_may_fail(google_cloud, name, lag):
    """Once: the step ends well all the same. As often as it is tried: the next step ends well. Never two jobs."""
    vertex, faults = google_cloud.vertex, google_cloud.vertex.faults
    write_source(*TEXTS)
    vertex.lag = lag
    faults.clear()
    batch_predict(name, config(), QUICK)
    calls, failed, before = list(faults.calls), 0, faults.injected
    assert len(calls) > 3
    for index, method in enumerate(calls):
        for kind in (*KINDS, "throttled"):
            for times in (1, QUICK.attempts):
                for job in jobs(google_cloud):
                    del vertex.objects[job]
                faults.clear()
                faults.plan(index, kind, times)
                error = told_by(lambda: batch_predict(name, config(), QUICK))
                failed += bool(error)
                assert times > 1 or not error, (method, kind, error)
                assert not error or "predicting gs://registered/rows.jsonl" in error
                faults.clear()
                made = batch_predict(name, config(), QUICK)
                assert jobs(google_cloud) == [made.resource], (method, kind, times)
    print(f"{faults.injected - before} faults in {len(calls)} calls of a batch prediction, {failed} steps failed")
    assert failed


def test_calls_that_are_refused_are_told_in_a_line(google_cloud, name):
    write_source(*TEXTS)
    vertex = google_cloud.vertex
    vertex.admits, known = lambda token: False, vertex.admits
    try:
        with pytest.raises(HfpcError, match=r"Vertex AI failed at predicting .*invalid authentication"):
            batch_predict(name, config(), QUICK)
    finally:
        vertex.admits = known
