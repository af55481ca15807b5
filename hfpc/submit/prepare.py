"""From what a caller names to a submission that is checked as far as this machine can."""

import os
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.vertex_encryption import KMS_KEY
from hfpc.submit.aws_identity import with_aws_role
from hfpc.submit.custom_job import run_as
from hfpc.submit.encryption import with_kms_key
from hfpc.submit.experiment import check_experiment
from hfpc.submit.find import definition
from hfpc.submit.graph import Graph, Spec
from hfpc.submit.image_repository import with_image_repository
from hfpc.submit.parameters import check, resolve
from hfpc.submit.placement import place
from hfpc.submit.profiles import find_profile
from hfpc.submit.publish import download, is_template
from hfpc.submit.vertex_submission import MOST_LABELS, NETWORK, SERVICE_ACCOUNT, VertexSubmission

LOCATION_VARIABLES = ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION")
ROOT_VARIABLE = "HFPC_PIPELINE_ROOT"

_JOB_ID = re.compile("[a-z][-a-z0-9]{0,127}")
_LABEL_KEY = re.compile("[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile("[a-z0-9_-]{0,63}")
_LOCATION = re.compile("[a-z]+-[a-z]+[0-9]+")


def prepare(
    pipeline: str, given: dict[str, Any], submission: VertexSubmission, profile: str = "cpu"
) -> VertexSubmission:
    """Compiles a pipeline for Vertex AI and checks everything that needs no question to Google Cloud.

    Args:
        pipeline: A name in `hfpc.pipelines`, a compiled YAML file, `file.py:function`, or the address of a pipeline
            in Artifact Registry, which is downloaded.
        given: Parameter name to value or text. Where the pipeline has parameters `project` and `location` that are
            not given, they are the submission's.
        submission: Where and how to run it. Its name, spec and parameters are filled in here; so are project,
            location, pipeline root and job id where they are "", the first three from the environment.
        profile: The machines of its step `finetune`; see `hfpc.submit.profiles`.

    Raises:
        ArgumentError: A parameter or an option cannot be used, or steps for SageMaker have no role of AWS.
        HfpcError: The pipeline has Kubernetes settings, or cannot be downloaded.
    """
    machines = find_profile(profile)
    spec = spec_for_vertex(pipeline)
    # A run is known by the pipeline's name in the spec: it is what Vertex AI lists, too.
    name = spec["pipelineInfo"]["name"]
    whole = replace(
        submission,
        name=name,
        spec=spec,
        project=google_cloud.project(submission.project),
        location=location_of(submission.location),
        pipeline_root=submission.pipeline_root
        or _from_environment("pipeline_root", (ROOT_VARIABLE,), "e.g. gs://BUCKET/runs"),
        job_id=submission.job_id or new_job_id(name),
    )
    check_options(whole)
    whole = replace(whole, parameters=_parameters(whole, given))
    placed = place(with_image_repository(with_aws_role(spec)), machines, "vertex").spec
    return replace(
        whole,
        spec=with_kms_key(run_as(placed, whole), whole.kms_key),
        template_uri=pipeline if is_template(pipeline) and placed == spec else "",
    )


def spec_for_vertex(pipeline: str) -> Spec:
    """The spec of a pipeline, where Vertex AI can load it.

    Raises:
        ArgumentError: There is no such pipeline.
        HfpcError: It has Kubernetes settings.
    """
    from google.protobuf import json_format  # type: ignore[import-untyped]

    found = download(pipeline) if is_template(pipeline) else definition(pipeline)
    if found.platform_spec.platforms:
        raise HfpcError(f"{pipeline} has Kubernetes settings, which Vertex AI does not load: leave them out")
    spec: Spec = json_format.MessageToDict(found.pipeline_spec)
    return spec


def location_of(given: str) -> str:
    """The region: what is given, else what the environment names.

    Raises:
        ArgumentError: There is none, or it is no region.
    """
    found = given or _from_environment("location", LOCATION_VARIABLES, "e.g. us-central1")
    if not _LOCATION.fullmatch(found):
        raise ArgumentError("location", found, "give a region, e.g. us-central1")
    return found


def check_options(submission: VertexSubmission) -> None:
    """Refuses what Vertex AI would refuse for its form alone.

    Raises:
        ArgumentError: Names the option.
    """
    if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", submission.pipeline_root):
        raise ArgumentError("pipeline_root", submission.pipeline_root, "give a folder of a bucket, gs://BUCKET/…")
    check_job_id(submission.job_id)
    check_experiment(submission.experiment)
    _check_names(submission)
    if len(submission.labels) > MOST_LABELS:
        raise ArgumentError("label", submission.labels, f"give at most {MOST_LABELS} labels")
    for key, value in submission.labels.items():
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            fix = "give lower case letters, digits, '-' and '_', at most 63 a key and a value, a letter first in a key"
            raise ArgumentError("label", f"{key}={value}", fix)


def _check_names(submission: VertexSubmission) -> None:
    """Refuses what cannot be an account, a network or a key; whether it is there, only Google Cloud knows."""
    account, network, key = submission.service_account, submission.network, submission.kms_key
    if account and not SERVICE_ACCOUNT.fullmatch(account):
        fix = "give its e-mail address, NAME@PROJECT.iam.gserviceaccount.com"
        raise ArgumentError("service_account", account, fix)
    if network and not ((found := NETWORK.fullmatch(network)) and found[1].isdigit()):
        fix = "give projects/NUMBER/global/networks/NAME, with the number of the network's project"
        raise ArgumentError("network", network, fix)
    if key and not KMS_KEY.fullmatch(key):
        fix = "give projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"
        raise ArgumentError("kms_key", key, fix)


def check_job_id(job_id: str) -> None:
    """Refuses what cannot be the id of a run.

    Raises:
        ArgumentError: It cannot.
    """
    if not _JOB_ID.fullmatch(job_id):
        fix = "give at most 128 lower case letters, digits and '-', a letter first"
        raise ArgumentError("job_id", job_id, fix)


def new_job_id(name: str) -> str:
    """An id that no other run has: the pipeline's name, the time, and a few random digits."""
    words = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:80]
    words = words if words[:1].isalpha() else f"run-{words}".rstrip("-")
    return f"{words}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(2)}"


def _parameters(submission: VertexSubmission, given: dict[str, Any]) -> dict[str, Any]:
    declared = submission.spec["root"].get("inputDefinitions", {}).get("parameters", {})
    own = {"project": submission.project, "location": submission.location}
    filled = {name: value for name, value in own.items() if name in declared and not given.get(name)}
    values = resolve(submission.spec, {**given, **filled})
    check(Graph(spec=submission.spec, parameters=values))
    return values


def _from_environment(option: str, variables: tuple[str, ...], example: str) -> str:
    for variable in variables:
        if found := os.environ.get(variable):
            return found
    raise ArgumentError(option, "", f"give it, {example}, here or in {variables[0]}")
