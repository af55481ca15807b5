"""Adds a run to a Vertex AI experiment, where the console compares it with others."""

import re
import time
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.vertex import TIMEOUT, Submitted, retried
from hfpc.submit.vertex_submission import VertexSubmission

_NAME = re.compile("[a-z0-9][a-z0-9-]{0,127}")
_SCHEMA = "system.Experiment"
_CONTEXT_WITHIN = 300.0  # seconds; Vertex AI records a run some seconds after it was started
_EVERY = 1.0  # seconds


def check_experiment(name: str) -> None:
    """Refuses what cannot be the name of an experiment; "" is none.

    Raises:
        ArgumentError: It cannot.
    """
    if name and not _NAME.fullmatch(name):
        raise ArgumentError("experiment", name, "give at most 128 lower case letters, digits and '-'")


def add_run(submission: VertexSubmission, submitted: Submitted, timeout: float = TIMEOUT) -> None:
    """Adds a run to the experiment that the submission names, which is made if there is none. Again changes nothing.

    Args:
        submission: What was submitted.
        submitted: The run.
        timeout: Seconds for one answer.

    Raises:
        ArgumentError: Something else has the experiment's name.
        HfpcError: Vertex AI refuses, or did not record the run in time; the run goes on.
    """
    what = f"adding run {submission.job_id}, which goes on, to the experiment {submission.experiment}"
    run = _context_of(submission.location, submitted, what, timeout)
    # The run's own store: it is there once a first run was recorded.
    store = run.partition("/contexts/")[0]
    client = google_cloud.client("MetadataServiceClient", submission.location)
    name = f"{store}/contexts/{submission.experiment}"
    found = retried(what, lambda: _get_or_create(client, store, submission.experiment, name, timeout))
    if found.schema_title != _SCHEMA:
        fix = f"a {found.schema_title or 'context'} has this name: give another"
        raise ArgumentError("experiment", submission.experiment, fix)
    # A run that is in it already is skipped.
    retried(what, lambda: client.add_context_children(context=name, child_contexts=[run], timeout=timeout))


def _context_of(location: str, submitted: Submitted, what: str, timeout: float) -> str:
    """Name of the run's record in Vertex ML Metadata, as soon as there is one."""
    client = google_cloud.client("PipelineServiceClient", location)
    limit = time.monotonic() + _CONTEXT_WITHIN
    while True:
        job = retried(what, lambda: client.get_pipeline_job(name=submitted.name, timeout=timeout))
        if context := job.job_detail.pipeline_run_context.name:
            return str(context)
        if job.end_time or time.monotonic() > limit:
            raise HfpcError(f"{what}: Vertex AI has no record of it; submit again with --job-id to try again")
        time.sleep(_EVERY)


def _get_or_create(client: Any, store: str, experiment: str, name: str, timeout: float) -> Any:
    from google.api_core.exceptions import AlreadyExists, NotFound

    try:
        return client.get_context(name=name, timeout=timeout)
    except NotFound:
        pass
    context = {
        "display_name": experiment,
        "schema_title": _SCHEMA,
        "schema_version": "0.0.1",
        "metadata": {"experiment_deleted": False},
    }
    try:
        return client.create_context(parent=store, context=context, context_id=experiment, timeout=timeout)
    except AlreadyExists:  # an earlier try, whose answer was lost
        return client.get_context(name=name, timeout=timeout)
