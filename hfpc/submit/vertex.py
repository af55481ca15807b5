"""Submits a run to Vertex AI Pipelines, and watches it.

The requests go through the client of the API itself: the SDK's `PipelineJob.submit` first asks Resource Manager for the
project's number, and when its answer gets lost it cannot tell whether a run was started.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.patience import Patience
from hfpc.submit.caching import with_caching
from hfpc.submit.vertex_run import VertexRun, read_run
from hfpc.submit.vertex_submission import VertexSubmission

FINGERPRINT_LABEL = "hfpc-submission"
"""Label of a run with the digest of all that was submitted: it tells the run from another with the same id."""

TIMEOUT = 60.0
"""Seconds for one answer, as the client's own default is to wait for ever; a spec may have megabytes."""

PATIENCE = Patience(attempts=5, retry=0.5)
"""How often a request is made."""

_MOST_LOST_POLLS = 60  # ten minutes at the usual interval where a look fails at once


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A run on Vertex AI.

    Attributes:
        name: Its resource name, `projects/…/locations/…/pipelineJobs/ID`.
        console: Its page in the Google Cloud console.
        is_new: False where the same submission was there before.
    """

    name: str
    console: str
    is_new: bool


def pipeline_job(submission: VertexSubmission) -> dict[str, Any]:
    """The request's pipeline job, in the form of its JSON."""
    spec = submission.spec if submission.caching is None else with_caching(submission.spec, submission.caching)
    job: dict[str, Any] = {
        "displayName": submission.name,
        "pipelineSpec": spec,
        "labels": submission.labels,
        "runtimeConfig": {
            "gcsOutputDirectory": submission.pipeline_root,
            "parameterValues": submission.parameters,
        },
    }
    if submission.template_uri:
        job["templateUri"] = submission.template_uri
    if submission.service_account:
        job["serviceAccount"] = submission.service_account
    if submission.network:
        job["network"] = submission.network
    if submission.kms_key:
        job["encryptionSpec"] = {"kmsKeyName": submission.kms_key}
    return job


def submit(submission: VertexSubmission, timeout: float = TIMEOUT) -> Submitted:
    """Starts a run. However often it is called, or an answer is lost, there is one run with this id.

    Args:
        submission: What to submit.
        timeout: Seconds for one answer.

    Returns:
        The run; also where it was submitted before with just the same content.

    Raises:
        ArgumentError: The id is that of another run.
        HfpcError: Vertex AI refuses the run or does not answer.
    """
    from google.api_core.exceptions import Conflict
    from google.cloud import aiplatform_v1 as v1
    from google.protobuf import json_format  # type: ignore[import-untyped]

    fingerprint = _fingerprint(submission)
    job = v1.PipelineJob()
    content = pipeline_job(submission)
    content["labels"] = {**content["labels"], FINGERPRINT_LABEL: fingerprint}
    json_format.ParseDict(content, job._pb)
    client = google_cloud.client("PipelineServiceClient", submission.location)
    name = f"{_parent(submission)}/pipelineJobs/{submission.job_id}"

    def create() -> bool:
        request = {"parent": _parent(submission), "pipeline_job": job, "pipeline_job_id": submission.job_id}
        try:
            client.create_pipeline_job(request=request, timeout=timeout)
        except Conflict:
            return False
        return True

    is_new = retried(f"submitting run {submission.job_id}", create)
    if not is_new:
        # Either an earlier try whose answer was lost, or somebody else's run.
        found = retried(f"reading run {submission.job_id}", lambda: client.get_pipeline_job(name=name, timeout=timeout))
        if dict(found.labels).get(FINGERPRINT_LABEL) != fingerprint:
            raise ArgumentError("job_id", submission.job_id, "another run has this id; give another, or leave it out")
    return Submitted(name=name, console=console_link(name), is_new=is_new)


def find(submission: VertexSubmission, timeout: float = TIMEOUT) -> Submitted | None:
    """The run that this very submission started before, or None.

    Args:
        submission: What is to be submitted.
        timeout: Seconds for one answer.

    Raises:
        HfpcError: Vertex AI does not answer.
    """
    from google.api_core.exceptions import NotFound

    client = google_cloud.client("PipelineServiceClient", submission.location)
    name = f"{_parent(submission)}/pipelineJobs/{submission.job_id}"

    def get() -> Any:
        try:
            return client.get_pipeline_job(name=name, timeout=timeout)
        except NotFound:
            return None

    job = retried(f"reading run {submission.job_id}", get)
    if job is None or dict(job.labels).get(FINGERPRINT_LABEL) != _fingerprint(submission):
        return None
    return Submitted(name=name, console=console_link(name), is_new=False)


def watch(submitted: Submitted, location: str, every: float, timeout: float = TIMEOUT) -> Iterator[VertexRun]:
    """The run as it goes on, until it has ended. A look that gets no answer is left out.

    Args:
        submitted: The run.
        location: Its region.
        every: Seconds between two looks.
        timeout: Seconds for one answer.

    Raises:
        HfpcError: Vertex AI no longer knows the run, refuses to tell, or does not answer for long; the run goes on.
    """
    client = google_cloud.client("PipelineServiceClient", location)
    lost = 0
    while True:
        try:
            with google_cloud.reaching(f"watching {submitted.console}"):
                run = read_run(client.get_pipeline_job(name=submitted.name, timeout=timeout))
        except HfpcError as error:
            lost += 1
            if not google_cloud.may_pass(error.__cause__) or lost >= _MOST_LOST_POLLS:
                raise HfpcError(f"{error}; whatever became of the run, see its page") from error
        else:
            lost = 0
            yield run
            if run.has_ended:
                return
        time.sleep(every)


def console_link(name: str) -> str:
    """Page of a run, from its resource name, in the Google Cloud console."""
    _, project, _, location, _, job_id = name.split("/")
    page = "https://console.cloud.google.com/vertex-ai/locations"
    return f"{page}/{location}/pipelines/runs/{job_id}?project={project}"


def retried(what: str, ask: Callable[[], Any], service: str = "Vertex AI") -> Any:
    """What a request answers, asked again after an error that may pass. The request must bear being done twice.

    Args:
        what: What is being done, for the message.
        ask: Asks.
        service: The service that is asked.

    Raises:
        HfpcError: It is refused, or failed at every try.
    """
    for attempt in PATIENCE.retries():
        try:
            with google_cloud.reaching(what, service):
                return ask()
        except HfpcError as error:
            if attempt == PATIENCE.attempts or not google_cloud.may_pass(error.__cause__):
                raise
    raise AssertionError("the last try returns or raises")


def _parent(submission: VertexSubmission) -> str:
    return f"projects/{submission.project}/locations/{submission.location}"


def _fingerprint(submission: VertexSubmission) -> str:
    text = json.dumps(pipeline_job(submission), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
