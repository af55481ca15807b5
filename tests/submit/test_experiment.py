"""Runs in experiments of a loopback Vertex AI."""

from pathlib import Path

import pytest
from google.cloud import aiplatform_v1 as v1
from typer.testing import CliRunner

from hfpc.cli import app
from hfpc.submit import prepare, vertex
from hfpc.submit.experiment import add_run
from hfpc.submit.vertex_submission import VertexSubmission
from tests.cloud.google_fixtures import LOCATION, PROJECT, PROJECT_NUMBER

PIPELINE = f"{Path(__file__).with_name('cloud_pipelines.py')}:toy_cloud"
CONTEXTS = f"projects/{PROJECT_NUMBER}/locations/{LOCATION}/metadataStores/default/contexts"


def submit(*arguments, experiment="tweets"):
    where = ["--project", PROJECT, "--location", LOCATION, "--pipeline-root", "gs://artifacts/runs"]
    given = [*where, "--skip-preflight", "--experiment", experiment, *arguments]
    return CliRunner().invoke(app, ["submit", PIPELINE, *given], env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
def test_runs_are_added_to_an_experiment_that_is_made_once(google_cloud):
    for job_id in ("toy-1", "toy-2", "toy-2"):
        done = submit("--job-id", job_id)
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[-1] == "in experiment tweets"
    objects = google_cloud.vertex.objects
    experiment = objects[f"{CONTEXTS}/tweets"]
    assert (experiment.schema_title, dict(experiment.metadata)) == ("system.Experiment", {"experiment_deleted": False})
    for job_id in ("toy-1", "toy-2"):
        assert list(objects[f"{CONTEXTS}/{job_id}"].parent_contexts) == [experiment.name]
    assert google_cloud.vertex.faults.calls.count("CreateContext") == 1
    assert google_cloud.vertex.unknown_requests == []


@pytest.mark.parametrize("kind", ["error", "timeout", "lost"])
def test_whichever_call_goes_wrong_the_run_is_in_it(google_cloud, kind):
    for method in ("GetContext", "CreateContext", "AddContextChildren"):
        google_cloud.vertex.faults.plan(0, kind, method=method)
    done = submit("--job-id", "toy-1")
    assert done.exit_code == 0, done.output
    objects = google_cloud.vertex.objects
    assert list(objects[f"{CONTEXTS}/toy-1"].parent_contexts) == [f"{CONTEXTS}/tweets"]
    assert len([name for name in objects if name.startswith(CONTEXTS)]) == 2


@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
def test_calls_that_nothing_answers_are_given_up_and_made_again(google_cloud):
    faults = google_cloud.vertex.faults
    where = {"project": PROJECT, "location": LOCATION, "pipeline_root": "gs://artifacts/runs", "job_id": "toy-1"}
    asked = VertexSubmission(name="", spec={}, parameters={}, experiment="tweets", **where)
    submission = prepare.prepare(PIPELINE, {}, asked)
    submitted = vertex.submit(submission)
    methods = ("GetPipelineJob", "GetContext", "CreateContext", "AddContextChildren")
    for method in methods:
        faults.plan(0, "silent", method=method)
    add_run(submission, submitted, timeout=3.0)
    assert list(google_cloud.vertex.objects[f"{CONTEXTS}/toy-1"].parent_contexts) == [f"{CONTEXTS}/tweets"]
    assert all(faults.calls.count(method) >= 2 for method in methods)


def test_a_name_that_is_taken_or_cannot_be_one_is_refused(google_cloud):
    other = v1.Context(name=f"{CONTEXTS}/tweets", schema_title="system.PipelineRun")
    google_cloud.vertex.objects[other.name] = other
    done = submit("--job-id", "toy-1")
    assert done.exit_code == 1 and "experiment='tweets': a system.PipelineRun has this name" in done.output
    google_cloud.vertex.faults.clear()
    done = submit(experiment="My tweets")
    assert done.exit_code == 1 and "experiment='My tweets': give at most 128 lower case" in done.output
    assert google_cloud.vertex.faults.calls == []
