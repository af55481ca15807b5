"""Batch predictions of the loopback Vertex AI: files on a loopback Cloud Storage, answered by the model's container."""

import json
import os
import re
from collections import Counter
from concurrent import futures
from typing import Any

import httpx
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format
from google.rpc import status_pb2

from tests.cloud.vertex_endpoints import Endpoints
from tests.cloud.vertex_resources import check_names, check_parent, delete_metadata, now, page
from tests.cloud.vertex_wire import VertexError

_BATCH_SIZE = 64  # Vertex AI's own
_GRACE_SECONDS = 1.0
"""How long a call waits for a job that runs, so that what is quick is done when the call is answered."""

_REFUSED = (
    "Post request fails. Cannot get predictions. Error: Exceeded retries: Non-OK result {} from server, retry=3, "
    "elapsed=0.12s."
)


class Batches(Endpoints):
    """JobService, as far as batch predictions from JSON lines to JSON lines go. A job is done when it is asked for.

    Attributes:
        most_failed: Lines that may fail before a job leaves the rest alone; None for any number.
        numbered_files: Whether a job's files are what the API's reference says, `errors_0001.jsonl` with an `error` in
            each line, in place of what the containers of custom models get: `prediction.errors_stats-…`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most_failed: int | None = None
        self.numbered_files = False
        self._workers = futures.ThreadPoolExecutor(2)
        self._runs: dict[str, futures.Future[dict[str, Any]]] = {}  # by the job's name

    def reset(self) -> None:
        super().reset()
        self.most_failed, self.numbered_files = None, False
        self._runs.clear()

    def CreateBatchPredictionJob(self, request: v1.CreateBatchPredictionJobRequest) -> v1.BatchPredictionJob:
        check_parent(request.parent)
        job = v1.BatchPredictionJob(request.batch_prediction_job)
        check_names(job.display_name, job.labels.items())
        self.version(job.model)
        forms = (job.input_config.instances_format, job.output_config.predictions_format)
        if forms != ("jsonl", "jsonl"):
            raise VertexError("UNIMPLEMENTED", f"this test Vertex AI does not know the formats {forms}")
        if not job.dedicated_resources.machine_spec.machine_type:
            raise VertexError("INVALID_ARGUMENT", "dedicated_resources.machine_spec.machine_type is required.")
        job.name = f"{request.parent}/batchPredictionJobs/{self.new_number()}"
        job.create_time, job.state = now(), v1.JobState.JOB_STATE_PENDING
        return self.add(job)

    def GetBatchPredictionJob(self, request: v1.GetBatchPredictionJobRequest) -> v1.BatchPredictionJob:
        job = self.get(request.name, "BatchPredictionJob")
        if job.state == v1.JobState.JOB_STATE_PENDING:
            job.state = v1.JobState.JOB_STATE_RUNNING
        elif job.state == v1.JobState.JOB_STATE_RUNNING:
            self._advance(job)
        return job

    def ListBatchPredictionJobs(self, request: v1.ListBatchPredictionJobsRequest) -> v1.ListBatchPredictionJobsResponse:
        jobs, token = page(self.listed(f"{request.parent}/batchPredictionJobs/", request.filter), request)
        return v1.ListBatchPredictionJobsResponse(batch_prediction_jobs=jobs, next_page_token=token)

    def CancelBatchPredictionJob(self, request: v1.CancelBatchPredictionJobRequest) -> empty_pb2.Empty:
        job = self.get(request.name, "BatchPredictionJob")
        if job.state in (v1.JobState.JOB_STATE_PENDING, v1.JobState.JOB_STATE_RUNNING):
            job.state = v1.JobState.JOB_STATE_CANCELLED
        return empty_pb2.Empty()

    def DeleteBatchPredictionJob(self, request: v1.DeleteBatchPredictionJobRequest) -> operations_pb2.Operation:
        self.get(request.name, "BatchPredictionJob")
        del self.objects[request.name]
        return self.operation(request.name.rpartition("/batchPredictionJobs/")[0], delete_metadata(), empty_pb2.Empty)

    def _advance(self, job: v1.BatchPredictionJob) -> None:
        """A job goes on, once, whoever asks for it: its container may take longer to start than a call may last."""
        with self._lock:
            if job.name not in self._runs:
                self._runs[job.name] = self._workers.submit(self._run, job)
            run = self._runs[job.name]
        futures.wait([run], _GRACE_SECONDS)
        with self._lock:
            if run.done() and job.state == v1.JobState.JOB_STATE_RUNNING:
                for field, value in run.result().items():
                    setattr(job, field, value)

    def _run(self, job: v1.BatchPredictionJob) -> dict[str, Any]:
        """As Vertex AI: a request that the container refuses fails with all its lines; a job without answers fails."""
        model = self.version(job.model)
        address = self.containers.address(model)
        instances = [json.loads(line) for uri in job.input_config.gcs_source.uris for line in _lines(uri)]
        given = {}
        if "model_parameters" in job:
            given["parameters"] = json_format.MessageToDict(v1.BatchPredictionJob.pb(job).model_parameters)
        answered: list[dict[str, Any]] = []
        refused: list[tuple[Any, str]] = []
        size = job.manual_batch_tuning_parameters.batch_size or _BATCH_SIZE
        for first in range(0, len(instances), size):
            if self.most_failed is not None and len(refused) > self.most_failed:
                break
            batch = instances[first : first + size]
            answer = self.containers.client.post(address, json={"instances": batch, **given})
            if answer.is_success:
                predictions = answer.json()["predictions"]
                rows = zip(batch, predictions, strict=True)
                answered += [{"instance": instance, "prediction": prediction} for instance, prediction in rows]
            else:
                refused += [(instance, f"{answer.status_code} ({answer.text})") for instance in batch]
        prefix = job.output_config.gcs_destination.output_uri_prefix.rstrip("/")
        made = job.create_time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{job.create_time.microsecond // 1000:03d}Z"
        folder = f"{prefix}/prediction-{model.display_name}-{made}"
        for name, lines in self._files(answered, refused).items():
            write_object(f"{folder}/{name}", "".join(f"{line}\n" for line in lines).encode())
        stats = v1.CompletionStats(
            successful_count=len(answered),
            failed_count=len(refused),
            incomplete_count=len(instances) - len(answered) - len(refused),
        )
        output = v1.BatchPredictionJob.OutputInfo(gcs_output_directory=folder)
        ended = {"output_info": output, "completion_stats": stats, "end_time": now()}
        if not answered:
            error = status_pb2.Status(code=9, message="All instances failed to run prediction.")
            return {**ended, "error": error, "state": v1.JobState.JOB_STATE_FAILED}
        partly, wholly = v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED, v1.JobState.JOB_STATE_SUCCEEDED
        return {**ended, "state": partly if refused else wholly}

    def _files(self, answered: list[dict[str, Any]], refused: list[tuple[Any, str]]) -> dict[str, list[str]]:
        """A job's files and their lines: as Vertex AI shards them, some are empty."""
        results = [json.dumps(row) for row in answered]
        if self.numbered_files:
            errors = [{"instance": instance, "error": {"code": 3, "message": told}} for instance, told in refused]
            return {"predictions_0001.jsonl": results, "errors_0001.jsonl": [json.dumps(each) for each in errors]}
        counted = Counter(_REFUSED.format(told) for _, told in refused)
        return {
            "prediction.results-00000-of-00001": results,
            "prediction.errors_stats-00000-of-00002": [],
            "prediction.errors_stats-00001-of-00002": [repr(each) for each in counted.items()],
        }


def _lines(uri: str) -> list[str]:
    """The lines of the file at a URI; of all files that match it where it has a `*`, which stands for no `/`."""
    if "*" not in uri:
        return list(filter(None, read_object(uri).decode().splitlines()))
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    path = f"/storage/v1/b/{bucket}/o"
    answer = httpx.get(os.environ["STORAGE_EMULATOR_HOST"] + path, trust_env=False).raise_for_status()
    wanted = re.compile("[^/]*".join(map(re.escape, name.split("*"))))
    names = sorted(item["name"] for item in answer.json().get("items", []) if wanted.fullmatch(item["name"]))
    return [line for found in names for line in _lines(f"gs://{bucket}/{found}")]


def read_object(uri: str) -> bytes:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    path = f"/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}?alt=media"
    answer = httpx.get(os.environ["STORAGE_EMULATOR_HOST"] + path, trust_env=False)
    if answer.is_error:
        raise VertexError("NOT_FOUND", f"{uri} cannot be read.")
    return answer.content


def write_object(uri: str, content: bytes) -> None:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    path = f"/upload/storage/v1/b/{bucket}/o"
    httpx.post(
        os.environ["STORAGE_EMULATOR_HOST"] + path,
        params={"uploadType": "media", "name": name},
        content=content,
        headers={"Content-Type": "application/octet-stream"},
        trust_env=False,
    ).raise_for_status()
