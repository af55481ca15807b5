"""Batch predictions of the loopback Vertex AI: files on a loopback Cloud Storage, answered by the model's container."""

import json
import os

import httpx
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import status_pb2

from tests.cloud.vertex_endpoints import Endpoints
from tests.cloud.vertex_resources import check_names, check_parent, delete_metadata, now, page
from tests.cloud.vertex_wire import VertexError


class Batches(Endpoints):
    """JobService, as far as batch predictions from JSON lines to JSON lines go. A job is done when it is asked for."""

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
            self._run(job)
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

    def _run(self, job: v1.BatchPredictionJob) -> None:
        """As Vertex AI: lines that the container refuses go to a file of errors; a job without any answer fails."""
        address = self.containers.address(self.version(job.model))
        answered, refused = [], []
        for uri in job.input_config.gcs_source.uris:
            for line in filter(None, read_object(uri).decode().splitlines()):
                instance = json.loads(line)
                answer = self.containers.client.post(address, json={"instances": [instance]})
                if answer.is_success:
                    row = {"instance": instance, "prediction": answer.json()["predictions"][0]}
                    answered.append(json.dumps(row))
                else:
                    error = {"code": 3, "message": answer.text}
                    refused.append(json.dumps({"instance": instance, "error": error}))
        prefix = job.output_config.gcs_destination.output_uri_prefix.rstrip("/")
        folder = f"{prefix}/prediction-{job.display_name}-{job.name.rpartition('/')[2]}"
        write_object(f"{folder}/prediction.results-00000-of-00001", "\n".join(answered).encode())
        write_object(f"{folder}/prediction.errors_stats-00000-of-00001", "\n".join(refused).encode())
        job.output_info = v1.BatchPredictionJob.OutputInfo(gcs_output_directory=folder)
        job.completion_stats = v1.CompletionStats(successful_count=len(answered), failed_count=len(refused))
        job.end_time = now()
        job.state = v1.JobState.JOB_STATE_SUCCEEDED if answered else v1.JobState.JOB_STATE_FAILED
        if not answered:
            job.error = status_pb2.Status(code=9, message="All instances failed to run prediction.")


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
