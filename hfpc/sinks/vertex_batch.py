"""Batch prediction on Vertex AI: JSON lines on Cloud Storage, answered by a registered model on machines of its own."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hfpc import google_cloud, storage
from hfpc.errors import ArgumentError, EndpointError
from hfpc.progress import Reporter
from hfpc.sinks.patience import Patience
from hfpc.sinks.rare_settings import rare_settings
from hfpc.sinks.vertex_calls import MANAGED, Place, check_labels, place_of, resource_uri
from hfpc.sinks.vertex_containers import check_accelerator
from hfpc.sinks.vertex_encryption import check_key, encryption
from hfpc.sinks.vertex_machines import check_account, check_machine, machine_spec
from hfpc.sinks.vertex_models import PLATFORM
from hfpc.sinks.vertex_models import registered as registered_name

__all__ = [
    "BatchPredictVertexConfig",
    "VertexBatch",
    "batch_predict",
    "extra_settings",
    "registered_name",
    "resource_uri",
]

RARE: dict[str, type] = {"kms_key": str}
"""Settings that the component takes in `extra`, and what each is."""

JOB_LABEL = "hfpc-batch"
_MOST_INSTANCES = 256  # that our server takes in a request
_SHOWN_ERRORS = 3
_ERROR_BYTES = 1 << 16
_ERROR_LENGTH = 300
_DONE = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED")
_UNDONE = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BatchPredictVertexConfig:
    """What is predicted, and on which machines.

    Attributes:
        source: JSON lines on Cloud Storage, `gs://…/rows.jsonl`; one `*` stands for several files. A line is an
            input of the task, `"text"` or `{"inputs": "text"}`.
        destination: `gs://` folder in which the job makes a folder of its own.
        machine_type: Machine type of each replica.
        accelerator_type: Accelerator of each replica, e.g. "NVIDIA_L4"; "" for none.
        accelerator_count: Accelerators a replica.
        replicas: Replicas that work at once from the start.
        max_replicas: Most replicas that Vertex AI may start.
        batch_size: Lines in each request to a replica. A line that is refused takes its whole request along. The
            default is Vertex AI's own; 256 is what our server takes.
        service_account: E-mail address of the account that the container runs as; "" for Vertex AI's own.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`.
        labels: Labels beside our own.
        timeout_hours: Hours that are waited for the job.
        kms_key: Resource name of the Cloud KMS key that encrypts what the job makes, in its region; "" for Google's
            own. The predictions on Cloud Storage are encrypted as their bucket is.

    Raises:
        ArgumentError: A value cannot be used.
    """

    source: str
    destination: str
    machine_type: str = "n1-standard-4"
    accelerator_type: str = ""
    accelerator_count: int = 0
    replicas: int = 1
    max_replicas: int = 1
    batch_size: int = 64
    service_account: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout_hours: float = 24.0
    kms_key: str = ""

    def __post_init__(self) -> None:
        for name in ("source", "destination"):
            bucket, _, path = getattr(self, name).removeprefix("gs://").partition("/")
            if not getattr(self, name).startswith("gs://") or not bucket or (name == "source" and not path):
                example = "gs://BUCKET/rows.jsonl" if name == "source" else "gs://BUCKET/FOLDER"
                raise ArgumentError(
                    name, getattr(self, name), f"Vertex AI reads and writes Cloud Storage: give {example}"
                )
        check_machine(self.machine_type, self.accelerator_type, self.accelerator_count)
        check_account(self.service_account)
        check_key(self.kms_key)
        if self.replicas < 1:
            raise ArgumentError("replicas", self.replicas, "give at least 1")
        if self.max_replicas < self.replicas:
            raise ArgumentError("max_replicas", self.max_replicas, f"give at least replicas={self.replicas}")
        if not 1 <= self.batch_size <= _MOST_INSTANCES:
            raise ArgumentError("batch_size", self.batch_size, f"give 1 to {_MOST_INSTANCES}")
        check_labels(dict(self.labels))
        if not 0 < self.timeout_hours <= 7 * 24:
            raise ArgumentError("timeout_hours", self.timeout_hours, "give hours above 0, at most 168 (a week)")


@dataclass(frozen=True, kw_only=True)
class VertexBatch:
    """A batch prediction that ended well.

    Attributes:
        resource: Resource name of the job.
        uri: Folder with its predictions, `gs://…`.
        metrics: `rows` that were predicted, and `rows_failed`, which were not, whether Vertex AI tried or gave up.
    """

    resource: str
    uri: str
    metrics: dict[str, int]

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of its artifact, as Google's own components read it."""
        return {"platform": PLATFORM, "resourceName": self.resource, "gcsOutputDirectory": self.uri}


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a batch prediction.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, RARE)


def batch_predict(model: str, config: BatchPredictVertexConfig, patience: Patience | None = None) -> VertexBatch:
    """Predicts every line of a source with a registered model, and waits for it.

    The same model, source, destination, parameters, batch size and key are the same job, as long as the source's
    files stay what they are: a step that is run again waits for the job that it started, or takes what that made.

    Args:
        model: Resource name of a registered model with its version, from `register`.
        config: What is predicted.
        patience: How long single calls are waited for; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used, the model's server would leave the accelerator idle, or there is
            nothing at the source.
        EndpointError: The job failed or took too long; the message has the first errors.
        HfpcError: Google Cloud refused or did not answer.
    """
    place = place_of(model, "registered", patience)
    check_key(config.kms_key, place.location)
    files = _files(config.source)
    with google_cloud.reaching(f"predicting {config.source}"):
        version = place.ask(place.models.get_model, {"name": model})
        check_accelerator(version.container_spec.image_uri, config.accelerator_type)
        name = f"{version.name}@{version.version_id}"
        job = _ensure_job(place, _job(name, version.display_name, config, files))
        job = _wait(place, job, config.timeout_hours)
    failed = _not_predicted(job.completion_stats)
    if job.state.name in _UNDONE:
        raise EndpointError(f"{job.name} ended as {job.state.name}: {_reasons(job)}")
    if failed:
        _log.warning("%d lines were not predicted: %s", failed, _reasons(job))
    return VertexBatch(
        resource=job.name,
        uri=job.output_info.gcs_output_directory,
        metrics={"rows": job.completion_stats.successful_count, "rows_failed": failed},
    )


def _files(source: str) -> list[list[str]]:
    """Name and version of each file of the source, so that a job on what it held before is not taken for this one."""
    with storage.reaching(source, "source"):
        store, path = storage.filesystem(source, "source")
        found = store.glob(path, detail=True) if "*" in path else {path: store.info(path)}
    if not found or any(each["type"] != "file" for each in found.values()):
        raise ArgumentError("source", source, "there is no such file; give JSON lines, e.g. gs://BUCKET/rows.jsonl")
    return [
        [name, *(str(each.get(key)) for key in ("size", "generation", "etag"))] for name, each in sorted(found.items())
    ]


def _job(model: str, name: str, config: BatchPredictVertexConfig, files: list[list[str]]) -> dict[str, Any]:
    work = [model, config.source, files, config.destination.rstrip("/"), dict(config.parameters), config.batch_size]
    work += [config.kms_key] if config.kms_key else []
    key = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:40]
    job: dict[str, Any] = {
        "display_name": f"hfpc-{name}"[:128],
        "model": model,
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": [config.source]}},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": config.destination.rstrip("/")},
        },
        "dedicated_resources": {
            "machine_spec": machine_spec(config.machine_type, config.accelerator_type, config.accelerator_count),
            "starting_replica_count": config.replicas,
            "max_replica_count": config.max_replicas,
        },
        "manual_batch_tuning_parameters": {"batch_size": config.batch_size},
        "service_account": config.service_account,
        "labels": {**config.labels, **MANAGED, JOB_LABEL: key},
        **encryption(config.kms_key),
    }
    if config.parameters:
        from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]

        job["model_parameters"] = json_format.ParseDict(dict(config.parameters), struct_pb2.Value())
    return job


def _ensure_job(place: Place, body: dict[str, Any]) -> Any:
    """The job with this label that runs or ended well, made if there is none."""
    label = f'labels.{JOB_LABEL}="{body["labels"][JOB_LABEL]}"'

    def find() -> Any:
        listed = place.ask(place.jobs.list_batch_prediction_jobs, {"parent": place.parent, "filter": label})
        return next((job for job in listed if _counts(job)), None)

    def make() -> Any:
        request = {"parent": place.parent, "batch_prediction_job": body}
        return place.jobs.create_batch_prediction_job(request=request, retry=None, timeout=place.patience.call)

    # A step that was killed right after it made the job is soon run again: the list may not show it yet.
    found = place.seen(find)
    return found if found is not None else place.ensure(find, make)


def _counts(job: Any) -> bool:
    """Whether a job need not be made again: it is on its way, or its predictions are there."""
    if job.state.name in (*_UNDONE, "JOB_STATE_CANCELLING"):
        return False
    made = job.output_info.gcs_output_directory
    if job.state.name not in _DONE or not made:
        return True
    with storage.reaching(made, "destination"):
        store, path = storage.filesystem(made, "destination")
        return bool(store.exists(path))


def _wait(place: Place, job: Any, hours: float) -> Any:
    reporter = Reporter("rows")
    for _ in place.patience.polls(3600 * hours):
        job = place.ask(place.jobs.get_batch_prediction_job, {"name": job.name})
        if job.state.name in _DONE + _UNDONE:
            return job
        stats = job.completion_stats
        reporter.total = stats.successful_count + _not_predicted(stats) or None
        reporter.update(stats.successful_count + stats.failed_count, job.state.name.removeprefix("JOB_STATE_").lower())
    raise EndpointError(f"{job.name} was not done after {hours:g} hours; it goes on, and this step run again finds it")


def _not_predicted(stats: Any) -> int:
    """Lines without a prediction: a job may give up on the rest, and counts those as -1 where it never knew them."""
    return int(stats.failed_count + max(stats.incomplete_count, 0))


def _reasons(job: Any) -> str:
    """Why a job or some of its lines failed, in one line."""
    told = [job.error.message, *(each.message for each in job.partial_failures), *_line_errors(job)]
    few = list(dict.fromkeys(" ".join(each.split()) for each in told if each))[: _SHOWN_ERRORS + 1]
    return "; ".join(few) or "Vertex AI gives no reason, see the job in the console"


def _line_errors(job: Any) -> list[str]:
    """The first errors of single lines, from the files that Vertex AI leaves beside the predictions."""
    folder = job.output_info.gcs_output_directory
    if not folder:
        return []
    errors: list[str] = []
    with storage.reaching(folder, "destination"):
        store, path = storage.filesystem(folder, "destination")
        for name, file in sorted(store.glob(f"{path}/*error*", detail=True).items()):
            if not file["size"]:  # as some of several are, and Cloud Storage refuses to read a part of nothing
                continue
            text = store.cat_file(name, start=0, end=_ERROR_BYTES).decode(errors="replace")
            errors += [_line_error(line) for line in text.splitlines()[:_SHOWN_ERRORS]]
    return errors[:_SHOWN_ERRORS]


def _line_error(line: str) -> str:
    """What a line says: `{"instance": …, "error": {"message": …}}`, or as text `('message', lines that have it)`."""
    try:
        told = json.loads(line)["error"]["message"]
    except (ValueError, TypeError, KeyError):
        told = line
    return str(told)[:_ERROR_LENGTH]
