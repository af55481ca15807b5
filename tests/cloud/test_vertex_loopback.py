"""The loopback Vertex AI, asked by the official clients over both of its wires."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hfpc import google_cloud as clients
from tests.cloud.google_fixtures import LOCATION, PROJECT

v1 = pytest.importorskip("google.cloud.aiplatform_v1")
exceptions = pytest.importorskip("google.api_core.exceptions")

PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
BOTH = pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
SPEC = {"image_uri": "stand-in", "predict_route": "/predict", "health_route": "/health"}


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
    """A server that stands for the image "stand-in"."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    google_cloud.vertex.containers.addresses["stand-in"] = f"http://127.0.0.1:{server.server_port}/"
    yield
    del google_cloud.vertex.containers.addresses["stand-in"]
    server.shutdown()
    thread.join()
    server.server_close()


def upload(models, **more):
    model = {"display_name": "tweets", "container_spec": SPEC, **more.pop("model", {})}
    return models.upload_model(parent=PARENT, model=model, **more).result(timeout=30)


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
    endpoint = endpoints.create_endpoint(parent=PARENT, endpoint={"display_name": "tweets"}).result(timeout=30).name
    machine = {"dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}}
    deployed = [
        endpoints.deploy_model(
            endpoint=endpoint, deployed_model={"model": model, **machine}, traffic_split=split
        ).result(timeout=30)
        for split in ({"0": 100}, None)
    ]
    old, new = (each.deployed_model.id for each in deployed)
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
