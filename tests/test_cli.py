"""The command line: what it prints, and its exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hfpc
from hfpc import runs
from hfpc.cli import app
from tests.conftest import save_model
from tests.submit import TOY

pytestmark = pytest.mark.usefixtures("home")

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "kfp",
    "google.cloud.aiplatform",
    "google.cloud.storage",
    "boto3",
    "azure",
    "pandas",
    "pyarrow",
    "duckdb",
)


def hfpc_command(*arguments: str, text: str | None = None):
    return CliRunner().invoke(app, arguments, input=text, env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["run", "--help"], ["runs"]])
def test_what_must_be_quick_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from hfpc.cli import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout


def test_help_names_every_command():
    found = hfpc_command("--help")
    assert found.exit_code == 0
    for name in "list describe compile run runs predict serve models doctor".split():
        assert f" {name} " in found.output


def test_version():
    assert hfpc_command("--version").output.strip() == hfpc.__version__


def test_list_tells_each_component_and_pipeline_in_a_line():
    from hfpc import components, pipelines

    output = hfpc_command("list").output
    for name in (*components.__all__, *pipelines.__all__):
        assert name in output
    assert "Fine-tunes the model that a data set was tokenized for" in output


@pytest.mark.parametrize("name", ["load_dataset", "load-dataset"])
def test_describe_a_component(name):
    output = " ".join(hfpc_command("describe", name).output.split())
    assert "Reads a data set, cleans it and splits it" in output
    assert "source str required" in output
    assert "validation_share float 0.1 Share of rows for validation" in output
    assert "dataset Dataset `train/`" in output


def test_describe_a_pipeline_and_what_does_not_exist():
    assert "epochs" in hfpc_command("describe", "finetune_local").output
    found = hfpc_command("describe", "finetun")
    assert found.exit_code == 1
    assert found.output == "name='finetun': there is no such component or pipeline; did you mean finetune?\n"


def test_compile_one_and_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hfpc_command("compile", "finetune").output == "wrote finetune.yaml\n"
    assert hfpc_command("compile", "finetune-local", "--output", "x/y.yaml").exit_code == 0
    assert (tmp_path / "x" / "y.yaml").exists()
    assert hfpc_command("compile", f"{TOY}:chain").output == "wrote chain.yaml\n"
    for wrong in ("chain.txt", "chain.yaml/chain.yaml"):
        refused = hfpc_command("compile", f"{TOY}:chain", "--output", wrong)
        assert refused.exit_code == 1 and refused.output.startswith(f"output='{wrong}': give a file")
    assert hfpc_command("run", "chain.yaml", "--dry-run").output == "add\nmeasure\nread\n"
    assert "it is compiled already" in hfpc_command("compile", "chain.yaml").output
    assert "did you mean chain" in hfpc_command("compile", f"{TOY}:chian").output
    assert hfpc_command("compile", "--target", "kubeflow").exit_code == 0
    assert (tmp_path / "build" / "kubeflow" / "pipelines" / "finetune_local.yaml").exists()
    assert hfpc_command("compile", "--target", "airflow").exit_code == 1


def test_run_prints_each_task_its_results_and_the_report():
    found = hfpc_command("run", f"{TOY}:chain", "--set", "n=4")
    assert found.exit_code == 0, found.output
    assert "add: succeeded in" in found.output
    assert "measure: succeeded in" in found.output
    assert "value 5" in found.output
    assert "report.html" in found.output


def test_run_takes_parameters_from_a_file_and_the_command_line_goes_first(tmp_path):
    (tmp_path / "parameters.yaml").write_text("n: 1\nthreshold: 3\n")
    found = hfpc_command("run", f"{TOY}:branches", "--params", str(tmp_path / "parameters.yaml"), "--set", "n=9")
    assert found.exit_code == 0, found.output
    assert runs.all_runs()[0].parameters == {"n": 9, "threshold": 3}


def test_a_failed_run_prints_the_tasks_own_error_and_exits_with_1():
    done = subprocess.run(
        [sys.executable, "-m", "hfpc.cli", "run", f"{TOY}:failing", "--set", "kind=argument"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "\nfail: epochs=0: give a number above 0\n" in done.stdout
    log = next(line for line in done.stdout.splitlines() if line.startswith("  log: ")).removeprefix("  log: ")
    assert Path(log).expanduser().read_text().startswith("about to fail")
    assert "Traceback" not in done.stdout + done.stderr
    assert "kfp" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "finetune_locl"], 1, "did you mean finetune_local?"),
        (["run", "finetune_local", "--set", "epoch=1"], 1, "did you mean epochs?"),
        (["run", "finetune_local", "--set", "epochs=many"], 1, "epochs='many': give a number"),
        (["run", "finetune_local", "--set", "epochs=-1"], 1, "epochs=-1.0: "),
        (["run", "finetune_local", "--set", "epochs"], 2, "is not NAME=VALUE"),
        (["run", "finetune_local", "--params", "none.yaml"], 2, "does not exist"),
        (["run"], 2, "Missing argument"),
        (["runs", "none"], 1, "there is no such run"),
        (["predict", "none@champion", "x"], 1, "none@champion"),
        (["serve", "none@champion"], 1, "none@champion"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, status, message, home):
    found = hfpc_command(*arguments)
    assert found.exit_code == status, found.output
    assert message in found.output
    assert "Traceback" not in found.output
    if status == 1:
        assert len(found.output.splitlines()) == 1
    assert not (home / "runs").exists()


def test_dry_run_checks_and_lists_the_tasks(home):
    found = hfpc_command("run", "finetune_local", "--dry-run")
    assert found.output.splitlines()[-4:] == ["compare-models", "register-local-model", "deploy-local", "test-endpoint"]
    assert hfpc_command("run", "finetune_local", "--dry-run", "--set", "epochs=0").exit_code == 1
    assert not home.exists()


def test_runs_lists_and_shows():
    assert "no runs yet" in hfpc_command("runs").output
    hfpc_command("run", f"{TOY}:chain", "--set", "n=4")
    hfpc_command("run", f"{TOY}:failing", "--set", "kind=unexpected")
    failed, succeeded = runs.all_runs()
    listed = hfpc_command("runs").output
    assert listed.index(failed.id) < listed.index(succeeded.id)
    assert "succeeded" in listed
    assert "failed" in listed
    shown = hfpc_command("runs", failed.id).output
    assert "fail: RuntimeError: the disk is on fire" in shown
    assert "kind" in shown
    assert json.loads(hfpc_command("runs", succeeded.id, "--json").output)["state"] == "succeeded"
    assert [run["id"] for run in json.loads(hfpc_command("runs", "--json").output)] == [failed.id, succeeded.id]


def test_predict_reads_arguments_or_stdin(model):
    found = hfpc_command("predict", str(model), "i love this day", "my phone is terrible")
    assert found.exit_code == 0, found.output
    first, second = found.stdout.splitlines()
    assert first.endswith("i love this day")
    assert second.endswith("my phone is terrible")
    assert first.split()[0] in ("negative", "positive")
    lines = hfpc_command("predict", str(model), "--json", text="i love this day\n\nmy phone is terrible\n").stdout
    answers = [json.loads(line) for line in lines.splitlines()]
    assert [answer["inputs"] for answer in answers] == ["i love this day", "my phone is terrible"]
    assert max(answers[0]["response"], key=lambda item: item["score"])["label"] == first.split()[0]


def test_predict_entities(tagging_model):
    found = hfpc_command("predict", str(tagging_model), "ada lovelace was in paris")
    assert found.exit_code == 0, found.output
    assert found.stdout.endswith("  ada lovelace was in paris\n")
    assert len(found.stdout.splitlines()) == 1


def test_models_lists_the_registry(tmp_path, base_model, dataset):
    from hfpc import registry

    assert "no models" in hfpc_command("models").output
    registry.register(save_model(tmp_path / "model", base_model, dataset), name="tiny")
    output = hfpc_command("models").output
    assert output.splitlines()[-1].split()[:2] == ["tiny", "1"]


def test_doctor_tells_what_is_missing_and_how_to_mend_it(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    found = hfpc_command("doctor")
    assert f"HFPC_HOME: {home}" in found.output.replace("\n", "")
    assert "HF_TOKEN: set" in found.output
    assert "0123456789" not in found.output
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HFPC_HOME", str(tmp_path / "file" / "home"))
    found = hfpc_command("doctor")
    assert found.exit_code == 1
    assert "set HFPC_HOME to a folder that can be written" in found.output.replace("\n", "")
