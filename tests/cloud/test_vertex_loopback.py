"""The loopback Vertex AI, asked by the official clients over both of its wires."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hfpc import google_cloud as clients
from tests.cloud.google_fixtures import LOCATION, PROJECT, PROJECT_NUMBER, SERVING_IMAGE
from tests.cloud.vertex_batches import read_object, write_object

v1 = pytest.importorskip("google.cloud.aiplatform_v1")
exceptions = pytest.importorskip("google.api_core.exceptions")

PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
BOTH = pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
SPEC = {"image_uri": "gcr.io/test/stand-in", "predict_route": "/predict", "health_route": "/health"}


class _Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        instances = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        body = json.dumps({"predictions": instances}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def models(google_cloud):
    return clients.client("ModelServiceClient", LOCATION)


@pytest.fixture
def endpoints(google_cloud):
    return clients.client("EndpointServiceClient", LOCATION)


@pytest.fixture
def container(google_cloud):
    """A server that stands for the image "gcr.io/test/stand-in"."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    google_cloud.vertex.containers.addresses["gcr.io/test/stand-in"] = f"http://127.0.0.1:{server.server_port}/"
    yield
    del google_cloud.vertex.containers.addresses["gcr.io/test/stand-in"]
    server.shutdown()
    thread.join()
    server.server_close()


MACHINE = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}


def make_endpoint(endpoints, **fields):
    body = {"display_name": "tweets", **fields}
    return endpoints.create_endpoint(parent=PARENT, endpoint=body).result(timeout=30).name


def deploy(endpoints, endpoint, model, split=None, **fields):
    """Deploys a model; the id of what was deployed."""
    body = {"model": model, "dedicated_resources": MACHINE, **fields}
    operation = endpoints.deploy_model(endpoint=endpoint, deployed_model=body, traffic_split=split)
    return operation.result(timeout=180).deployed_model.id


def upload(models, **more):
    model = {"display_name": "tweets", "container_spec": SPEC, **more.pop("model", {})}
    return models.upload_model(request={"parent": PARENT, "model": model, **more}).result(timeout=30)


def request(**fields):
    return v1.UploadModelRequest(parent=PARENT, model={"display_name": "tweets", "container_spec": SPEC}, **fields)


@BOTH
def test_a_model_gets_versions_whose_aliases_move(models):
    first = upload(models, model={"version_aliases": ["champion"]})
    second = models.upload_model(request(parent_model=first.model)).result(timeout=30)
    assert (first.model_version_id, second.model_version_id) == ("1", "2")
    models.merge_version_aliases(name=f"{first.model}@2", version_aliases=["champion"])
    aliases = {each.version_id: list(each.version_aliases) for each in models.list_model_versions(name=first.model)}
    assert aliases == {"1": ["default"], "2": ["champion"]}
    assert models.get_model(name=f"{first.model}@champion").version_id == "2"


@BOTH
def test_traffic_is_shared_between_deployed_models(models, endpoints, container):
    model = upload(models).model
    endpoint = make_endpoint(endpoints)
    old, new = deploy(endpoints, endpoint, model, {"0": 100}), deploy(endpoints, endpoint, model)
    endpoints.update_endpoint(
        endpoint={"name": endpoint, "traffic_split": {old: 75, new: 25}}, update_mask="trafficSplit"
    )
    asked = clients.client("PredictionServiceClient", LOCATION)
    answers = [asked.predict(endpoint=endpoint, instances=[{"text": "a"}]) for _ in range(100)]
    assert [answer.deployed_model_id for answer in answers].count(new) == 25
    assert dict(answers[0].predictions[0]) == {"text": "a"}
    with pytest.raises(exceptions.GoogleAPICallError):
        endpoints.delete_endpoint(name=endpoint).result(timeout=30)


@BOTH
def test_each_kind_of_fault(google_cloud, models):
    faults = google_cloud.vertex.faults
    faults.plan(0, "error", method="UploadModel")
    with pytest.raises(exceptions.InternalServerError):
        models.upload_model(request())
    faults.clear()
    faults.plan(0, "timeout")
    with pytest.raises(exceptions.GoogleAPICallError):
        models.upload_model(request())
    faults.clear()
    assert list(models.list_models(parent=PARENT)) == []
    faults.clear()
    faults.plan(0, "lost")
    with pytest.raises(exceptions.ServiceUnavailable):
        models.upload_model(request())
    assert faults.calls == ["UploadModel"]
    assert len(list(models.list_models(parent=PARENT))) == 1


def test_lists_lag(google_cloud, models):
    google_cloud.vertex.lag = 2
    upload(models)
    assert [len(list(models.list_models(parent=PARENT))) for _ in range(3)] == [0, 0, 1]


def test_what_is_refused(google_cloud, models, endpoints):
    for model in ({"labels": {"Upper": "x"}}, {"display_name": ""}, {"artifact_uri": "s3://bucket/model"}):
        with pytest.raises(exceptions.InvalidArgument):
            upload(models, model=model)
    with pytest.raises(exceptions.InvalidArgument, match="filter"):
        list(models.list_models(request={"parent": PARENT, "filter": "create_time > 1"}))
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=f"{PARENT}/models/1")
    google_cloud.vertex.admits, known = lambda header: False, google_cloud.vertex.admits
    try:
        with pytest.raises(exceptions.Unauthenticated):
            models.get_model(name=f"{PARENT}/models/1")
    finally:
        google_cloud.vertex.admits = known


@BOTH
def test_a_run_and_a_schedule(google_cloud):
    spec = {"root": {"dag": {"tasks": {"a": {}}}}}
    job = {"runtime_config": {"gcs_output_directory": "gs://bucket/root"}, "pipeline_spec": spec}
    pipelines = clients.client("PipelineServiceClient", LOCATION)
    made = pipelines.create_pipeline_job(parent=PARENT, pipeline_job=job, pipeline_job_id="run-1")
    with pytest.raises(exceptions.Conflict):  # over gRPC its subclass AlreadyExists
        pipelines.create_pipeline_job(parent=PARENT, pipeline_job=job, pipeline_job_id="run-1")
    assert [pipelines.get_pipeline_job(name=made.name).state.name for _ in range(2)] == [
        "PIPELINE_STATE_RUNNING",
        "PIPELINE_STATE_SUCCEEDED",
    ]
    schedules = clients.client("ScheduleServiceClient", LOCATION)
    body = {"parent": PARENT, "pipeline_job": job}
    schedule = {"display_name": "weekly", "cron": "0 6 * * 1", "max_concurrent_run_count": 1}
    made = schedules.create_schedule(parent=PARENT, schedule={**schedule, "create_pipeline_job_request": body})
    schedules.pause_schedule(name=made.name)
    assert schedules.get_schedule(name=made.name).state.name == "PAUSED"
    assert google_cloud.vertex.unknown_requests == []


def test_throttling_ends(google_cloud, models):
    google_cloud.vertex.faults.plan(0, "throttled", times=2)
    for _ in range(2):
        with pytest.raises(exceptions.TooManyRequests):
            models.get_model(name=f"{PARENT}/models/1")
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=f"{PARENT}/models/1")
    assert google_cloud.vertex.faults.calls == ["GetModel"] * 3


def test_an_operation_is_done_after_its_polls(google_cloud, models):
    google_cloud.vertex.polls = 2
    started = models.upload_model(request()).operation
    assert not started.done
    asked = models.transport.operations_client
    assert [asked.get_operation(started.name).done for _ in range(4)] == [False, False, True, True]
    google_cloud.vertex.polls = 0
    assert models.upload_model(request()).operation.done


def test_an_upload_takes_a_while_whoever_looks(google_cloud, models):
    google_cloud.vertex.upload_looks = 3
    started = models.upload_model(request(model_id="tweets")).operation
    model = f"projects/{PROJECT_NUMBER}/locations/{LOCATION}/models/tweets"
    assert started.name.startswith(f"{model}/operations/")
    for _ in range(2):
        with pytest.raises(exceptions.NotFound):
            models.get_model(name=model)
    assert models.get_model(name=model).version_id == "1"
    (listed,) = models.list_operations({"name": f"{PARENT}/models/tweets"}).operations
    assert listed.name == started.name


@BOTH
def test_names_have_the_number_of_the_project(models, endpoints, container):
    """Whether they were asked by its number or its id."""
    model, endpoint = upload(models, model_id="tweets").model, make_endpoint(endpoints)
    parent = f"projects/{PROJECT_NUMBER}/locations/{LOCATION}"
    assert model == f"{parent}/models/tweets" and endpoint.startswith(f"{parent}/endpoints/")
    deploy(endpoints, endpoint, f"{PARENT}/models/tweets")
    by_id = endpoints.get_endpoint(name=f"{PARENT}/endpoints/{endpoint.rpartition('/')[2]}")
    assert by_id.name == endpoint and by_id.deployed_models[0].model == model
    assert [each.name for each in endpoints.list_endpoints(parent=PARENT)] == [endpoint]


def test_ids_have_the_form_that_the_reference_says(models, endpoints, container):
    model, endpoint = upload(models).model, make_endpoint(endpoints)
    for wrong in ("a" * 64, "ends-", "Capital", "0123", "1234567890", "under_score"):
        with pytest.raises(exceptions.InvalidArgument, match="endpoint_id"):
            endpoints.create_endpoint(parent=PARENT, endpoint={"display_name": "x"}, endpoint_id=wrong)
    for wrong in ("12345678901", "hfpc"):
        with pytest.raises(exceptions.InvalidArgument, match="DeployedModel id"):
            deploy(endpoints, endpoint, model, id=wrong)


@BOTH
def test_what_serves_stays(models, endpoints, container):
    """Refused are changes that would break an endpoint, and they change nothing."""
    model = upload(models).model
    endpoint = make_endpoint(endpoints)
    first = deploy(endpoints, endpoint, model, {"0": 100})
    second = deploy(endpoints, endpoint, model)
    before = endpoints.get_endpoint(name=endpoint)
    for traffic in ({first: 50}, {first: 50, "nobody": 50}, {first: 150, second: -50}):
        with pytest.raises(exceptions.BadRequest):
            endpoints.update_endpoint(endpoint={"name": endpoint, "traffic_split": traffic}, update_mask="trafficSplit")
    for refused in (
        lambda: endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=first),
        lambda: endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=first, traffic_split={second: 1}),
        lambda: endpoints.delete_endpoint(name=endpoint),
        lambda: models.delete_model(name=model),
        lambda: deploy(endpoints, endpoint, model, {"0": 50}),
        lambda: deploy(endpoints, endpoint, model, {"0": 100}, dedicated_resources={"min_replica_count": 1}),
        lambda: deploy(endpoints, endpoint, model, {"0": 100}, id=first),
    ):
        with pytest.raises((exceptions.BadRequest, exceptions.Conflict)):
            refused()
    assert endpoints.get_endpoint(name=endpoint) == before
    endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=first, traffic_split={second: 100}).result(timeout=30)
    assert dict(endpoints.get_endpoint(name=endpoint).traffic_split) == {second: 100}
    resources = {"max_replica_count": 3}
    changed = endpoints.mutate_deployed_model(
        endpoint=endpoint,
        deployed_model={"id": second, "dedicated_resources": resources},
        update_mask="dedicatedResources.maxReplicaCount",
    ).result(timeout=30)
    assert changed.deployed_model.dedicated_resources.max_replica_count == 3
    assert changed.deployed_model.dedicated_resources.min_replica_count == 1


@BOTH
def test_lists_have_pages_and_filters(models):
    for number in range(5):
        upload(models, model={"display_name": f"m{number}", "labels": {"team": "ab"[number % 2]}})

    def names(**more):
        return [each.display_name for each in models.list_models(request={"parent": PARENT, **more})]

    first = next(models.list_models(request={"parent": PARENT, "page_size": 2}).pages)
    assert len(first.models) == 2 and first.next_page_token
    assert names(page_size=2) == ["m4", "m3", "m2", "m1", "m0"]
    assert names(filter='labels.team="b"') == ["m3", "m1"]
    assert names(filter='labels.team=b AND display_name="m3"') == ["m3"]


def test_a_model_keeps_one_default_version(models):
    model = upload(models, model={"version_aliases": ["champion"]}).model
    second = models.upload_model(request(parent_model=model)).result(timeout=30)
    assert second.model_version_id == "2"
    with pytest.raises(exceptions.FailedPrecondition):
        models.delete_model_version(name=f"{model}@1").result(timeout=30)
    for aliases in (["-default"], ["Capital"], ["2"]):
        with pytest.raises(exceptions.InvalidArgument):
            models.merge_version_aliases(name=f"{model}@1", version_aliases=aliases)
    models.merge_version_aliases(name=f"{model}@2", version_aliases=["default"])
    models.merge_version_aliases(name=f"{model}@1", version_aliases=["-champion"])
    assert models.get_model(name=model).version_id == "2"
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=f"{model}@champion")
    models.delete_model_version(name=f"{model}@1").result(timeout=30)
    assert [each.version_id for each in models.list_model_versions(name=model)] == ["2"]


def test_a_run_fails_with_its_task(google_cloud):
    tasks = {"load": {}, "train": {"dependentTasks": ["load"]}, "deploy": {"dependentTasks": ["train"]}}
    google_cloud.vertex.outcome.failing_task, google_cloud.vertex.outcome.error = "train", "out of memory"
    job = {
        "runtime_config": {"gcs_output_directory": "gs://bucket/root"},
        "pipeline_spec": {"root": {"dag": {"tasks": tasks}}},
    }
    pipelines = clients.client("PipelineServiceClient", LOCATION)
    name = pipelines.create_pipeline_job(parent=PARENT, pipeline_job=job, pipeline_job_id="run-1").name
    pipelines.get_pipeline_job(name=name)
    ended = pipelines.get_pipeline_job(name=name)
    assert ended.state.name == "PIPELINE_STATE_FAILED"
    details = {task.task_name: task for task in ended.job_detail.task_details}
    states = {name: task.state.name for name, task in details.items()}
    assert states == {"load": "SUCCEEDED", "train": "FAILED", "deploy": "NOT_TRIGGERED"}
    assert details["train"].error.message == "out of memory"
    pipelines.cancel_pipeline_job(name=name)
    assert pipelines.get_pipeline_job(name=name).state.name == "PIPELINE_STATE_FAILED"


def test_a_batch_is_answered_by_the_container(google_cloud, models, container):
    google_cloud.make_bucket("batches")
    write_object("gs://batches/in.jsonl", b'{"text": "a"}\n{"text": "b"}\n')
    job = {
        "display_name": "batch",
        "model": upload(models).model,
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": ["gs://batches/in.jsonl"]}},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": "gs://batches/out"},
        },
        "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}},
    }
    jobs = clients.client("JobServiceClient", LOCATION)
    name = jobs.create_batch_prediction_job(parent=PARENT, batch_prediction_job=job).name
    states = [jobs.get_batch_prediction_job(name=name) for _ in range(2)]
    assert states[-1].state.name == "JOB_STATE_SUCCEEDED"
    results = read_object(f"{states[-1].output_info.gcs_output_directory}/prediction.results-00000-of-00001")
    rows = [json.loads(line) for line in results.splitlines()]
    assert rows == [{"instance": {"text": each}, "prediction": {"text": each}} for each in "ab"]


def test_a_deployed_model_is_served_by_a_server_of_its_own(google_cloud, models, endpoints, model):
    google_cloud.make_bucket("containers")
    spec = {"image_uri": SERVING_IMAGE, "predict_route": "/predict", "health_route": "/health"}
    uri = google_cloud.upload(model, "gs://containers/loopback")
    good = upload(models, model={"container_spec": spec, "artifact_uri": uri}).model
    bad = upload(models, model={"container_spec": spec, "artifact_uri": "gs://containers/nothing"}).model
    endpoint = make_endpoint(endpoints)
    with pytest.raises(exceptions.GoogleAPICallError, match="Model server never became ready"):
        deploy(endpoints, endpoint, bad, {"0": 100})
    assert not endpoints.get_endpoint(name=endpoint).deployed_models
    started = google_cloud.vertex.containers.started
    for split in ({"0": 100}, None):
        deploy(endpoints, endpoint, good, split)
    assert google_cloud.vertex.containers.started == started + 1
    asked = clients.client("PredictionServiceClient", LOCATION)
    (answer,) = asked.predict(endpoint=endpoint, instances=["i love this day"]).predictions
    assert {item["label"] for item in answer} <= {"negative", "positive"}


def test_a_token_is_given_for_a_signed_request_only(google_cloud):
    import os
    from pathlib import Path

    import httpx
    from google.auth.transport.requests import Request

    found, _ = clients.credentials()
    found.refresh(Request())
    assert google_cloud.vertex.admits(f"Bearer {found.token}")
    assert not google_cloud.vertex.admits("Bearer another")
    address = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())["token_uri"]
    assert httpx.post(address, data={"assertion": "unsigned"}, trust_env=False).status_code == 400
