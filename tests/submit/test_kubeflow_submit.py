"""`hfpc submit --to kubeflow`: kfp's client against a loopback Kubeflow Pipelines, also when calls go wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hfpc.cli import app
from tests.cloud.faults import KINDS
from tests.cloud.kubeflow import COOKIE, TOKEN
from tests.cloud.kubeflow_runs import node_id, pod_name

PIPELINE = f"{Path(__file__).with_name('cloud_pipelines.py')}:toy_cloud"
CALLS = [
    "Healthz",  # by kfp's client when it is made
    "Healthz",
    "ListPipelines",
    "CreatePipeline",
    "ListPipelineVersions",
    "UploadPipelineVersion",
    "ListExperiments",
    "CreateExperiment",
    "ListRuns",
    "CreateRun",
]
"""What a first submission asks."""


def submit(*arguments, pipeline=PIPELINE):
    command = ["submit", pipeline, "--to", "kubeflow", "--skip-preflight", *arguments]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200", "NO_COLOR": "1", "HFPC_POLL_SECONDS": "0.01"})


def only(objects):
    [found] = objects.values()
    return found


def test_all_that_is_given_reaches_kubeflow(kubeflow):
    done = submit(
        *("--set", "rows=7", "--job-id", "toy-1", "--experiment", "trials", "--no-cache"),
        *("--pipeline-root", "s3://artifacts/runs", "--service-account", "runner"),
    )
    assert done.exit_code == 0, done.output
    pipeline, version, run = only(kubeflow.pipelines), only(kubeflow.versions), only(kubeflow.runs)
    assert done.output.splitlines() == [
        "submitted: toy-1",
        f"version {version['display_name']}, experiment trials",
        f"{kubeflow.url}/#/runs/details/{run['run_id']}",
    ]
    assert pipeline["display_name"] == "toy-cloud"
    assert re.fullmatch("toy-cloud-[0-9a-f]{12}", version["display_name"])
    assert version["pipeline_id"] == pipeline["pipeline_id"]
    assert only(kubeflow.experiments)["display_name"] == "trials"
    assert run["display_name"] == "toy-1" and run["service_account"] == "runner"
    values = {"rows": 7, "rate": 0.5, "project": "", "location": ""}
    assert run["runtime_config"] == {"parameters": values, "pipeline_root": "s3://artifacts/runs"}
    tasks = version["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert [task["cachingOptions"] for task in tasks.values()] == [{}, {}]
    assert kubeflow.faults.calls == CALLS


def test_the_same_again_is_the_same_version_and_other_content_is_another(kubeflow, tmp_path):
    assert submit().exit_code == submit("--set", "rows=8").exit_code == 0
    assert len(kubeflow.runs) == 2 and len(kubeflow.versions) == len(kubeflow.experiments) == 1
    assert submit("--no-cache").exit_code == 0
    assert len(kubeflow.versions) == 2 and len(kubeflow.pipelines) == 1
    compiled = tmp_path / "toy.yaml"
    assert (
        CliRunner().invoke(app, ["compile", PIPELINE, "--target", "kubeflow", "--output", str(compiled)]).exit_code == 0
    )
    assert submit(pipeline=str(compiled)).exit_code == 0
    assert len(kubeflow.versions) == 2 and len(kubeflow.runs) == 4


def test_the_same_submission_again_starts_nothing_and_another_is_refused(kubeflow):
    assert submit("--job-id", "toy-1").exit_code == 0
    again = submit("--job-id", "toy-1")
    assert again.exit_code == 0 and "is submitted already: toy-1" in again.output
    other = submit("--job-id", "toy-1", "--set", "rows=8")
    assert other.exit_code == 1 and "job_id='toy-1': another run has this id" in other.output
    assert len(kubeflow.runs) == 1


@pytest.mark.slow
def test_whichever_call_goes_wrong_there_is_one_of_each(kubeflow, capsys):
    before = kubeflow.faults.injected
    for index, method in enumerate(CALLS):
        for kind in (*KINDS, "throttled"):
            kubeflow.reset()
            kubeflow.faults.plan(index, kind)
            done = submit("--job-id", "toy-1")
            assert done.exit_code == 0, (method, kind, done.output)
            kept = (kubeflow.pipelines, kubeflow.versions, kubeflow.experiments, kubeflow.runs)
            assert [len(each) for each in kept] == [1, 1, 1, 1], (method, kind)
            assert kubeflow.faults.calls[index] == method
    injected = kubeflow.faults.injected - before
    assert injected == len(CALLS) * 4
    with capsys.disabled():
        print(f"\nsubmit to Kubeflow: {injected} faults, never two runs or versions")


def test_a_server_that_stays_silent_is_asked_again(kubeflow):
    from hfpc.submit import kubeflow as submitting
    from hfpc.submit.kubeflow_client import Address, Server

    empty = submitting.KubeflowSubmission(spec={}, parameters={}, job_id="toy-1")
    submission = submitting.prepare(PIPELINE, {}, empty)
    for method in ("UploadPipelineVersion", "CreateRun", "GetRun"):
        kubeflow.faults.plan(0, "silent", method=method)
    server = Server(Address(), timeout=1)
    submitted = submitting.submit(server, submission)
    states = [run.state for run in submitting.watch(server, submitted, submission.graph, 0.01)]
    assert states[-1] == "SUCCEEDED" and kubeflow.faults.injected >= 3
    assert len(kubeflow.runs) == len(kubeflow.versions) == 1


def test_a_service_that_stays_away_is_one_readable_line(kubeflow):
    kubeflow.faults.plan(0, "error", times=99, method="CreateRun")
    done = submit("--job-id", "toy-1")
    assert done.exit_code == 1
    assert done.output == "submitting run toy-1: Kubeflow says 503: injected\n"
    assert kubeflow.runs == {} and kubeflow.faults.calls.count("CreateRun") == 5


def test_waiting_shows_the_tasks_and_lost_answers_do_no_harm(kubeflow):
    kubeflow.faults.plan(0, "lost", method="GetRun")
    kubeflow.faults.plan(2, "error", method="GetRun")
    done = submit("--wait", "--job-id", "toy-1")
    assert done.exit_code == 0, done.output
    lines = [line.split(" ", 1)[-1] for line in done.output.splitlines()]
    changes = [line.split(" in ")[0] for line in lines if line.startswith(("prepare", "learn"))]
    assert [change for change in changes if "succeeded" in change] == ["prepare: succeeded", "learn: succeeded"]
    assert "driver" not in done.output and "executor" not in done.output and "root" not in done.output
    assert done.output.splitlines()[-1].startswith("succeeded: ")


def test_a_failing_task_is_named_with_the_last_line_of_its_log(kubeflow):
    kubeflow.outcome.failing_task = "prepare"
    pod = pod_name("toy-cloud-x7k2p.root.prepare.executor")
    kubeflow.outcome.logs[pod] = "Traceback …\n  line\nhfpc.errors.ArgumentError: epochs=0: give a number above 0\n\n"
    done = submit("--wait", "--json", "--job-id", "toy-1")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (
        told["run_id"] == only(kubeflow.runs)["run_id"] and told["version"] == only(kubeflow.versions)["display_name"]
    )
    assert told["state"] == "FAILED" and told["tasks"] == {"prepare": "failed", "learn": "skipped"}
    assert told["errors"] == {"prepare": "epochs=0: give a number above 0"}
    assert "prepare: epochs=0: give a number above 0" in done.stderr.splitlines()


def test_where_the_log_cannot_be_read_the_pod_is_named(kubeflow):
    kubeflow.outcome.failing_task = "learn"
    done = submit("--wait")
    assert done.exit_code == 1
    pod = pod_name("toy-cloud-x7k2p.root.learn.executor")
    assert f"learn: Kubeflow does not say why, see the log of {pod}" in done.output.splitlines()


@pytest.mark.parametrize("template", ["retry-system-container-impl", "learn-system-container-impl"])
def test_a_task_that_was_started_again_is_told_by_its_last_attempt(kubeflow, template):
    """Two names of the template: that of Kubeflow Pipelines since 2.14, and that of 2.5."""
    kubeflow.outcome.failing_task = "learn"
    executor = "toy-again-x7k2p.root.learn.executor"
    kubeflow.outcome.logs = {
        pod_name(f"{executor}(0)", template): "ValueError: first",
        pod_name(f"{executor}(2)", template): "ValueError: last",
    }
    done = submit("--wait", "--json", pipeline=PIPELINE.replace("toy_cloud", "toy_again"))
    assert json.loads(done.stdout)["errors"] == {"learn": "ValueError: last"}


def test_nodes_have_the_ids_that_argo_gives_them():
    """Two that Argo's own tests have, and the node that one is an attempt of."""
    from hfpc.submit.kubeflow_run import _attempt

    assert node_id("dag-diamond-dj7q5.A") == "dag-diamond-dj7q5-2391658435"
    assert node_id("dag-diamond-dj7q5.A(0)") == "dag-diamond-dj7q5-2845344910"
    assert _attempt("dag-diamond-dj7q5-2391658435", 0) == "dag-diamond-dj7q5-2845344910"


@pytest.mark.parametrize("kind", [*KINDS, "throttled"])
def test_looks_and_logs_that_fail_change_nothing(kubeflow, kind):
    kubeflow.outcome.failing_task = "prepare"
    kubeflow.outcome.logs[pod_name("toy-cloud-x7k2p.root.prepare.executor")] = "ValueError: no rows"
    for index in range(3):
        kubeflow.faults.clear()
        kubeflow.faults.plan(index, kind, method="GetRun")
        done = submit("--wait", "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout)["errors"] == {"prepare": "ValueError: no rows"}, (index, kind)
    kubeflow.faults.clear()
    kubeflow.faults.plan(0, kind, times=4, method="ReadRunLog")
    told = json.loads(submit("--wait", "--json").stdout)
    assert told["state"] == "FAILED" and set(told["errors"]) == {"prepare"}


def test_a_login_that_ends_while_waiting_ends_the_wait(kubeflow, token_file):
    """The proxy then answers with its page, which kfp's client reads as a run that has no state."""
    from hfpc.errors import HfpcError
    from hfpc.submit import kubeflow as submitting
    from hfpc.submit.kubeflow_client import Address, Server

    submission = submitting.prepare(PIPELINE, {}, submitting.KubeflowSubmission(spec={}, parameters={}))
    server = Server(Address(token_file=str(token_file)))
    submitted = submitting.submit(server, submission)
    looks = submitting.watch(server, submitted, submission.graph, 0.01)
    assert next(looks).state == "RUNNING"
    kubeflow.token, kubeflow.login_page = "another-token", True
    with pytest.raises(HfpcError, match="answers with a page"):
        next(looks)


def test_nested_pipelines_are_shown_by_their_tasks(kubeflow):
    done = submit("--wait", "--json", "--set", "source=sample:tweets", "--set", "name=tiny", pipeline="finetune_local")
    assert done.exit_code == 0, done.output
    names = ["load-dataset", "preprocess", "finetune", "optimize", "evaluate", "compare-models"]
    assert list(json.loads(done.stdout)["tasks"])[:6] == names
    assert set(json.loads(done.stdout)["tasks"].values()) == {"succeeded"}


def test_the_turns_of_a_loop_are_numbered():
    import kfp_server_api as api

    from hfpc.submit.find import find
    from hfpc.submit.graph import Graph
    from hfpc.submit.kubeflow_run import read_run

    graph = Graph(spec=find(f"{Path(__file__).with_name('toy_pipelines.py')}:loops"), parameters={"items": [1, 2]})
    own = [step.name for step in graph.steps]
    names = ["loops-x7k2p", "root", "for-loop-2(0:0)", own[0], "executor", "for-loop-2(1:1)", own[0], f"{own[-1]}(0)"]
    states = dict.fromkeys(names, "SUCCEEDED") | {f"{own[-1]}(0)": "CANCELED"}
    details = [api.V2beta1PipelineTaskDetail(display_name=name, state=states[name]) for name in names]
    answer = api.V2beta1Run(
        display_name="loops-1", state="CANCELED", run_details=api.V2beta1RunDetails(task_details=details)
    )
    run = read_run(answer, graph, lambda pod: "")
    assert [task.name for task in run.run.tasks] == [f"{own[0]} (1)", f"{own[0]} (2)", own[-1]]
    assert run.has_ended and run.run.state == "failed" and run.run.error == "it was cancelled"
    assert run.run.tasks[-1].error == "it was cancelled"


def test_interrupted_while_waiting_it_says_that_the_run_goes_on(kubeflow):
    command = [sys.executable, "-m", "hfpc.cli", "submit", PIPELINE, "--to", "kubeflow", "--skip-preflight", "--wait"]
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
    assert f"the run goes on: {kubeflow.url}/#/runs/details/{only(kubeflow.runs)['run_id']}" in rest


def test_a_dry_run_lists_the_tasks_and_asks_nothing(kubeflow):
    done = submit("--dry-run")
    assert done.exit_code == 0 and done.stdout.splitlines() == ["prepare", "learn"]
    plan = json.loads(submit("--dry-run", "--json", "--set", "rows=3").stdout)
    assert plan["tasks"] == ["prepare", "learn"] and plan["parameters"]["rows"] == 3
    assert kubeflow.credentials == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "rows=many"], "rows='many': give a whole number"),
        (["--set", "row=1"], "did you mean rows?"),
        (["--job-id", "Toy"], "job_id='Toy'"),
        (["--host", "kubeflow.example.com"], "host='kubeflow.example.com': give an address"),
        (["--host", "https://ann:secret@kubeflow.example.com"], "host='https://***@kubeflow.example.com'"),
        (["--namespace", "My Team"], "namespace='My Team'"),
        (["--project", "mine"], "project='mine': it is for Vertex AI"),
        (["--label", "team=x"], "it is for Vertex AI"),
        (["--profile", "gpu-l5"], "profile='gpu-l5': give one of cpu, gpu-t4"),
        (["--to", "moon"], "to='moon': give vertex or kubeflow"),
        (["--to", "vertex", "--host", "https://x"], "host='https://x': it is for Kubeflow"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(kubeflow, arguments, told):
    done = submit(*arguments)
    assert done.exit_code == 1
    assert told in done.output and "secret" not in done.output
    assert kubeflow.credentials == []


def test_what_was_uploaded_loads_and_runs(kubeflow, tmp_path, home):
    from hfpc.submit.local import run

    assert submit("--set", "rows=6").exit_code == 0
    file = tmp_path / "uploaded.yaml"
    documents = only(kubeflow.versions)["pipeline_spec"]
    file.write_text(yaml.safe_dump_all([each for each in documents.values() if each]))
    done = run(str(file), only(kubeflow.runs)["runtime_config"]["parameters"])
    assert done.state == "succeeded"
    assert {task.name: task.outputs for task in done.tasks}["learn"] == {"Output": 3.0}


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


def test_every_kind_of_credential_is_taken(kubeflow, monkeypatch, token_file):
    monkeypatch.delenv("HFPC_KUBEFLOW_TOKEN")
    assert submit("--existing-token-file", str(token_file)).exit_code == 0
    monkeypatch.setenv("HFPC_KUBEFLOW_COOKIE", COOKIE)
    assert submit().exit_code == 0
    monkeypatch.delenv("HFPC_KUBEFLOW_COOKIE")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token_file))
    assert submit().exit_code == 0
    assert set(kubeflow.credentials) == {"token", "cookie"} and len(kubeflow.runs) == 3


def test_a_token_file_is_read_anew_for_each_request(kubeflow, token_file):
    from hfpc.submit.kubeflow import experiment
    from hfpc.submit.kubeflow_client import Address, Server

    server = Server(Address(token_file=str(token_file)))
    kubeflow.token = "another-token"
    token_file.write_text("another-token")
    assert experiment(server, "trials") == only(kubeflow.experiments)["experiment_id"]


def test_a_token_is_no_option_and_none_is_shown(kubeflow, monkeypatch):
    done = submit("--existing-token", TOKEN)
    assert done.exit_code == 1 and "$HFPC_KUBEFLOW_TOKEN" in done.output and "--existing-token-file" in done.output
    assert TOKEN not in done.output and kubeflow.credentials == []
    shown = CliRunner().invoke(app, ["submit", "--help"], env={"COLUMNS": "200"})
    assert "other users of the" in shown.output and "--existing-token " not in shown.output
    monkeypatch.setenv("HFPC_KUBEFLOW_TOKEN", f"{TOKEN}\nX-Other: 1")
    broken = submit()
    assert broken.exit_code == 1 and "more than one line" in broken.output and TOKEN not in broken.output


def test_refusals_name_the_credential_and_how_to_give_another(kubeflow, monkeypatch, token_file, tmp_path):
    token_file.write_text("old-token")
    done = submit("--existing-token-file", str(token_file))
    assert done.exit_code == 1
    told = f"does not know the caller (the token in {token_file}): give another with --existing-token-file FILE"
    assert told in done.output and "old-token" not in done.output and len(done.output.splitlines()) == 1
    monkeypatch.setenv("HFPC_KUBEFLOW_TOKEN", "old-token")
    assert "does not know the caller (the token in $HFPC_KUBEFLOW_TOKEN)" in submit().output
    monkeypatch.delenv("HFPC_KUBEFLOW_TOKEN")
    assert "does not know the caller (without a credential)" in submit().output
    kubeflow.login_page = True
    assert "answers with a page, e.g. to log in (without a credential): give another with" in submit().output
    missing = submit("--existing-token-file", str(tmp_path / "none"))
    assert missing.exit_code == 1 and "it cannot be read" in missing.output


def test_users_with_namespaces(kubeflow):
    kubeflow.multi_user = True
    without = submit()
    assert without.exit_code == 1 and "namespace='': at " in without.output and "give yours" in without.output
    foreign = submit("--namespace", "others")
    assert foreign.exit_code == 1
    assert (
        "(the token in $HFPC_KUBEFLOW_TOKEN)" in foreign.output
        and "not authorized in namespace others" in foreign.output
    )
    done = submit("--namespace", "team")
    assert done.exit_code == 0, done.output
    assert only(kubeflow.experiments)["namespace"] == "team"
    assert any(each.get("namespace") == "team" for each in kubeflow.pipelines.values())
    kubeflow.multi_user = False
    assert "have no namespaces of their own" in submit("--namespace", "team").output


def test_where_there_is_no_kubeflow(kubeflow):
    root = kubeflow.url.removesuffix("/pipeline")
    assert f"there is no Kubeflow Pipelines at {root}: give its whole address" in submit("--host", root).output
    closed = submit("--host", "http://127.0.0.1:9")
    [line] = closed.output.splitlines()
    assert closed.exit_code == 1 and "no answer from http://127.0.0.1:9" in line and "refused" in line


def test_a_cluster_with_a_certificate_authority_of_its_own(certificate, monkeypatch):
    from tests.cloud.kubeflow import Kubeflow

    monkeypatch.setenv("HFPC_KUBEFLOW_TOKEN", TOKEN)
    with Kubeflow().serve(*certificate) as served:
        unknown = submit("--host", served.url)
        assert unknown.exit_code == 1 and "certificate verify failed" in unknown.output
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert submit("--host", served.url).exit_code == 0


@pytest.mark.slow
def test_the_whole_pipeline_runs_as_it_was_uploaded(kubeflow, tmp_path, home, base_model, monkeypatch):
    """Compiled for Kubeflow with its Kubernetes settings, uploaded, and executed here, from rows to an endpoint."""
    import csv

    from hfpc.submit.local import run
    from tests.conftest import make_texts

    canary = "canary-of-the-caller"
    monkeypatch.setenv("HF_TOKEN", canary)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(make_texts(600))
    values = {
        "name": "tiny",
        "source": str(tmp_path / "rows.csv"),
        "base_model": str(base_model),
        "epochs": "8",
        "learning_rate": "5e-3",
        "min_metrics": '{"accuracy": 0.7}',
    }
    settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    assert submit(*settings, pipeline="finetune_local").exit_code == 0
    documents = only(kubeflow.versions)["pipeline_spec"]
    assert documents["platform_spec"] and canary not in str(documents) + str(kubeflow.runs)
    file = tmp_path / "uploaded.yaml"
    file.write_text(yaml.safe_dump_all(documents.values()))
    done = run(str(file), only(kubeflow.runs)["runtime_config"]["parameters"])
    assert done.state == "succeeded", [(task.name, task.error) for task in done.tasks]
    assert {task.name.rpartition("/")[2]: task.state for task in done.tasks}["test-endpoint"] == "succeeded"
