"""`hfpc submit` against a loopback Vertex AI, over both of its wires, and when calls go wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from typer.testing import CliRunner

from hfpc.cli import app
from hfpc.submit import vertex
from tests.cloud.google_fixtures import LOCATION, PROJECT
from tests.submit.preflight_cloud import KEY, serving

pytest.importorskip("google.cloud.aiplatform_v1")

PIPELINE = f"{Path(__file__).with_name('cloud_pipelines.py')}:toy_cloud"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
BOTH = pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
WHERE = ["--project", PROJECT, "--location", LOCATION, "--pipeline-root", "gs://artifacts/runs"]


def submit(*arguments, pipeline=PIPELINE, where=WHERE):
    command = ["submit", pipeline, *where, "--skip-preflight", *arguments]
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "HFPC_POLL_SECONDS": "0.01"}
    return CliRunner().invoke(app, command, env=environment)


def jobs(google_cloud):
    return {
        name.rpartition("/")[2]: json_format.MessageToDict(job._pb)
        for name, job in google_cloud.vertex.objects.items()
        if "/pipelineJobs/" in name
    }


@BOTH
def test_all_that_is_given_reaches_vertex(google_cloud):
    key = f"{PARENT}/keyRings/ring/cryptoKeys/key"
    network = "projects/123456/global/networks/inside"
    done = submit(
        *("--set", "rows=7", "--job-id", "toy-1", "--label", "team=search", "--no-cache"),
        *("--service-account", "tasks@test.iam.gserviceaccount.com", "--network", network, "--kms-key", key),
    )
    assert done.exit_code == 0, done.output
    page = f"https://console.cloud.google.com/vertex-ai/locations/{LOCATION}/pipelines/runs/toy-1?project={PROJECT}"
    assert done.output.splitlines() == ["submitted: toy-1", page]
    job = jobs(google_cloud)["toy-1"]
    assert job["displayName"] == "toy-cloud"
    assert job["serviceAccount"] == "tasks@test.iam.gserviceaccount.com"
    assert (job["network"], job["encryptionSpec"]) == (network, {"kmsKeyName": key})
    assert job["labels"].pop("hfpc-submission")
    assert job["labels"] == {"team": "search"}
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://artifacts/runs"
    values = {"rows": 7.0, "rate": 0.5, "project": PROJECT, "location": LOCATION}
    assert job["runtimeConfig"]["parameterValues"] == values
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert {name: task.get("cachingOptions") for name, task in tasks.items()} == {"prepare": {}, "learn": {}}
    assert google_cloud.vertex.unknown_requests == []


def test_defaults_come_from_the_environment_and_each_task_keeps_its_own_caching(google_cloud, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", LOCATION)
    monkeypatch.setenv("HFPC_PIPELINE_ROOT", "gs://artifacts/other")
    done = submit("--set", "project=mine", "--json", where=[])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    [(job_id, job)] = jobs(google_cloud).items()
    assert told["job_id"] == job_id and told["name"] == f"{PARENT}/pipelineJobs/{job_id}"
    assert re.fullmatch(r"toy-cloud-\d{14}-[0-9a-f]{4}", job_id)
    assert job["runtimeConfig"]["parameterValues"]["project"] == "mine"
    caching = {name: task["cachingOptions"] for name, task in job["pipelineSpec"]["root"]["dag"]["tasks"].items()}
    assert caching == {"prepare": {}, "learn": {"enableCache": True}}


def test_a_compiled_file_is_submitted_as_it_is(google_cloud, tmp_path):
    compiled = tmp_path / "toy.yaml"
    assert CliRunner().invoke(app, ["compile", PIPELINE, "--output", str(compiled)]).exit_code == 0
    assert submit("--job-id", "a", pipeline=str(compiled)).exit_code == 0
    assert submit("--job-id", "b").exit_code == 0
    found = jobs(google_cloud)
    assert found["a"]["pipelineSpec"] == found["b"]["pipelineSpec"]


def test_as_many_labels_as_vertex_ai_takes_beside_our_own(google_cloud):
    done = submit("--job-id", "toy-1", *(f"--label=key{number}=x" for number in range(63)))
    assert done.exit_code == 0, done.output
    assert len(jobs(google_cloud)["toy-1"]["labels"]) == 64


@BOTH
@pytest.mark.parametrize("kind", ["error", "timeout", "lost", "throttled"])
def test_whatever_happens_to_the_call_there_is_one_run(google_cloud, kind):
    google_cloud.vertex.faults.plan(0, kind, method="CreatePipelineJob")
    done = submit("--job-id", "toy-1")
    assert done.exit_code == 0, done.output
    assert list(jobs(google_cloud)) == ["toy-1"]
    # Asked again after every fault; after a lost answer the run is there, and is compared.
    asked = ["CreatePipelineJob", "CreatePipelineJob", *(["GetPipelineJob"] if kind == "lost" else [])]
    assert google_cloud.vertex.faults.calls == ["GetPipelineJob", *asked]


@BOTH
def test_the_same_submission_again_starts_nothing_and_another_is_refused(google_cloud):
    assert submit("--job-id", "toy-1").exit_code == 0
    again = submit("--job-id", "toy-1")
    assert again.exit_code == 0 and "is submitted already: toy-1" in again.output
    other = submit("--job-id", "toy-1", "--set", "rows=8")
    assert other.exit_code == 1 and "job_id='toy-1': another run has this id" in other.output
    assert google_cloud.vertex.faults.calls.count("CreatePipelineJob") == 2
    assert jobs(google_cloud)["toy-1"]["runtimeConfig"]["parameterValues"]["rows"] == 10


def test_a_service_that_stays_away_is_one_readable_line(google_cloud):
    google_cloud.vertex.faults.plan(0, "error", times=99)
    done = submit()
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert "submitting run toy-cloud-" in line and "Internal error encountered in CreatePipelineJob" in line
    assert jobs(google_cloud) == {}


@BOTH
def test_waiting_shows_the_tasks_and_lost_answers_do_no_harm(google_cloud):
    google_cloud.vertex.faults.plan(0, "lost", method="GetPipelineJob")
    google_cloud.vertex.faults.plan(1, "error", method="GetPipelineJob")
    done = submit("--wait", "--job-id", "toy-1")
    assert done.exit_code == 0, done.output
    lines = [line.split(" ", 1)[-1] for line in done.output.splitlines()]
    assert "learn: succeeded" in " ".join(lines) and lines[-1].startswith("https://console")
    assert done.output.splitlines()[-1].startswith("succeeded: ")


@BOTH
def test_a_look_that_nothing_answers_is_given_up_and_the_next_goes_on(google_cloud):
    faults = google_cloud.vertex.faults
    assert submit("--job-id", "toy-1").exit_code == 0
    name = f"{PARENT}/pipelineJobs/toy-1"
    submitted = vertex.Submitted(name=name, console=vertex.console_link(name), is_new=True)
    faults.clear()
    faults.plan(0, "silent", times=2, method="GetPipelineJob")
    seen = [run.state for run in vertex.watch(submitted, LOCATION, every=0.01, timeout=3.0)]
    assert seen == ["RUNNING", "SUCCEEDED"]
    assert faults.calls == ["GetPipelineJob"] * 4


@BOTH
def test_a_failing_task_is_named_with_its_error(google_cloud):
    google_cloud.vertex.outcome.failing_task = "learn"
    google_cloud.vertex.outcome.error = "epochs=0: give a number\nabove 0"
    done = submit("--wait", "--json", "--job-id", "toy-1")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["state"] == "FAILED" and told["tasks"] == {"prepare": "succeeded", "learn": "failed"}
    assert told["errors"] == {"learn": "epochs=0: give a number above 0"}
    assert "learn: epochs=0: give a number above 0" in done.stderr.splitlines()


def test_interrupted_while_waiting_it_says_that_the_run_goes_on(google_cloud):
    command = [sys.executable, "-m", "hfpc.cli", "submit", PIPELINE, *WHERE, "--skip-preflight", "--wait"]
    environment = {**os.environ, "HFPC_POLL_SECONDS": "600"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        for line in process.stdout:
            if ": started" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
    [job_id] = jobs(google_cloud)
    assert f"the run goes on: https://console.cloud.google.com/vertex-ai/locations/{LOCATION}" in rest
    assert job_id in rest and "CancelPipelineJob" not in google_cloud.vertex.faults.calls


def test_steps_that_register_take_the_serving_image_from_where_the_caller_has_it(google_cloud, tmp_path):
    repository, file = "us-docker.pkg.dev/test/images", tmp_path / "serving.yaml"
    file.write_text(json.dumps(serving("us-docker.pkg.dev/test")))
    command = [sys.executable, "-m", "hfpc.cli", "submit", str(file), *WHERE, "--skip-preflight", "--job-id", "toy-1"]
    # It is read when hfpc is imported.
    done = subprocess.run(command, env={**os.environ, "HFPC_IMAGE_REPOSITORY": repository}, timeout=300, check=False)
    assert done.returncode == 0
    executors = jobs(google_cloud)["toy-1"]["pipelineSpec"]["deploymentSpec"]["executors"]
    found = {name: executor["container"].get("env") for name, executor in executors.items() if "container" in executor}
    given = [{"name": "HFPC_IMAGE_REPOSITORY", "value": repository}]
    assert found == {"exec-register-vertex-model": given, "exec-deploy-vertex-endpoint": None}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "rows=many"], "rows='many': give a whole number"),
        (["--set", "row=1"], "did you mean rows?"),
        (["--label", "Team=x"], "label='Team=x'"),
        ([f"--label=key{number}=x" for number in range(64)], "give at most 63 labels"),
        (["--job-id", "Toy"], "job_id='Toy'"),
        (["--location", "america"], "location='america'"),
        (["--pipeline-root", "s3://artifacts"], "pipeline_root='s3://artifacts'"),
        (["--to", "moon"], "to='moon': give vertex"),
        (["--service-account", "foo"], "service_account='foo': give its e-mail address"),
        (["--network", "default"], "network='default': give projects/NUMBER/global/networks/NAME"),
        (["--network", "projects/test/global/networks/inside"], "with the number of the network's project"),
        (["--kms-key", "k"], "kms_key='k': give projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(google_cloud, arguments, told):
    done = submit(*arguments)
    assert done.exit_code == 1
    assert told in done.output
    assert google_cloud.vertex.faults.calls == []


def test_a_dry_run_lists_the_tasks_and_submits_nothing(google_cloud):
    done = submit("--dry-run")
    assert done.exit_code == 0 and done.output.splitlines() == ["prepare", "learn"]
    assert jobs(google_cloud) == {}


def test_a_dry_run_of_what_is_submitted_already_neither_adds_nor_watches_it(google_cloud):
    assert submit("--job-id", "toy-1").exit_code == 0
    google_cloud.vertex.faults.clear()
    done = submit("--job-id", "toy-1", "--dry-run", "--experiment", "tweets", "--wait")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == ["is submitted already: toy-1", "prepare", "learn"]
    assert google_cloud.vertex.faults.calls == ["GetPipelineJob"]


def test_a_profile_s_custom_job_runs_as_the_run_does(google_cloud):
    own = f"{Path(__file__).with_name('own_training.py')}:two_trainings"
    key = f"{PARENT}/keyRings/ring/cryptoKeys/key"
    network = "projects/123456/global/networks/inside"
    account = "tasks@test.iam.gserviceaccount.com"
    done = submit(
        *("--profile", "gpu-h100x8x2", "--job-id", "two-1"),
        *("--service-account", account, "--network", network, "--kms-key", key, "--label", "team=search"),
        pipeline=own,
    )
    assert done.exit_code == 0, done.output
    for component in ("comp-finetune", "comp-finetune-2"):
        spec = jobs(google_cloud)["two-1"]["pipelineSpec"]["components"][component]
        given = {name: each.get("defaultValue") for name, each in spec["inputDefinitions"]["parameters"].items()}
        assert (given["service_account"], given["network"], given["encryption_spec_key_name"]) == (
            account,
            network,
            key,
        )
        assert given["labels"] == {"team": "search"}
        assert [pool["replica_count"] for pool in given["worker_pool_specs"]] == [1, 1]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({}, {}),
        ({"canary_seconds": 60.0}, {"canary_seconds": 60.0, "kms_key": KEY}),
        ({"kms_key": f"{KEY}-2"}, {"kms_key": f"{KEY}-2"}),
    ],
)
def test_what_the_steps_make_is_encrypted_with_the_key_of_the_run(google_cloud, tmp_path, extra, told):
    file = tmp_path / "serving.yaml"
    file.write_text(json.dumps(serving("us-docker.pkg.dev/test", **({"extra": extra} if extra else {}))))
    image = "image=us-docker.pkg.dev/test/images/cuda:1"
    done = submit("--kms-key", KEY, "--job-id", "toy-1", "--set", image, pipeline=str(file))
    assert done.exit_code == 0, done.output
    spec = jobs(google_cloud)["toy-1"]["pipelineSpec"]
    for name in ("register-vertex-model", "deploy-vertex-endpoint"):
        setting = spec["components"][f"comp-{name}"]["inputDefinitions"]["parameters"]["extra"]
        assert setting["defaultValue"] == {"kms_key": KEY}
    given = spec["root"]["dag"]["tasks"]["deploy-vertex-endpoint"]["inputs"]["parameters"].get("extra", {})
    assert given.get("runtimeValue", {}).get("constant", {}) == told


def test_spot_machines_without_a_place_for_checkpoints_are_told_of(google_cloud):
    without = submit("--profile", "gpu-l4-spot", pipeline="train_and_evaluate")
    assert without.exit_code == 0, without.output
    assert "give checkpoint_uri=gs://" in without.output
    placed = ["--profile", "gpu-l4-spot", "--set", "checkpoint_uri=gs://artifacts/checkpoints"]
    assert "checkpoint_uri" not in submit(*placed, pipeline="train_and_evaluate").output
    wrong = submit("--profile", "gpu-l4-spot", "--set", "epochs=-1", pipeline="train_and_evaluate")
    assert wrong.exit_code == 1 and "epochs=-1" in wrong.output
