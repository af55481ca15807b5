"""Real runs through kfp.local, of trivial components."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hfpc import runs
from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.local import plan, run
from tests.submit import TOY

pytestmark = pytest.mark.usefixtures("home")


def states(done: runs.Run) -> dict[str, str]:
    return {task.name: task.state for task in done.tasks}


def task(done: runs.Run, name: str) -> runs.Task:
    return next(task for task in done.tasks if task.name == name)


def until(condition, seconds: float = 30.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_run_is_recorded_whole(home):
    done = run(f"{TOY}:chain", {"n": "4"})
    assert done.state == "succeeded"
    assert states(done) == {"add": "succeeded", "measure": "succeeded", "read": "succeeded"}
    assert done.parameters == {"n": 4}
    add, measure, read = done.tasks
    assert (add.parameters, add.outputs) == ({"a": 4, "b": 1}, {"Output": 5})
    assert (read.display_name, read.needs, read.outputs) == ("Read it", ("measure",), {"Output": "made"})
    assert add.component == "add"
    assert done.started < add.started < add.ended <= measure.started < measure.ended <= read.started
    made, metrics, classification = (
        next(artifact for artifact in measure.artifacts if artifact.name == name)
        for name in ("made", "metrics", "classification_metrics")
    )
    assert (done.folder / made.path).read_text() == "made"
    assert (metrics.type, metrics.metadata) == ("system.Metrics", {"value": 5.0})
    assert [row["row"] for row in classification.metadata["confusionMatrix"]["rows"]] == [[5, 1], [2, 3]]
    assert done.metrics == {"measure/value": 5.0}
    assert runs.read(done.id) == done
    assert "<html" in (done.folder / "report.html").read_text()
    assert done.folder.is_relative_to(home)


def test_each_task_has_its_own_log_without_kfps_words():
    done = run(f"{TOY}:chain", {"n": 4})
    assert (done.folder / task(done, "add").log).read_text() == "adding 4 and 1\n"
    assert "Running pipeline" in (done.folder / "logs" / "kfp.log").read_text()


def test_both_branches_of_a_condition_and_components_used_twice():
    opened = run(f"{TOY}:branches", {"n": 3})
    assert states(opened) == {
        "inner/add": "succeeded",
        "inner-2/add": "succeeded",
        "add": "succeeded",
        "add-2": "skipped",
    }
    assert task(opened, "inner/add").outputs == {"Output": 4}
    assert task(opened, "inner-2/add").outputs == {"Output": 11}
    assert (opened.folder / "logs" / "inner-2" / "add.log").read_text() == "adding 10 and 1\n"
    closed = run(f"{TOY}:branches", {"n": 1})
    assert (states(closed)["add"], states(closed)["add-2"]) == ("skipped", "succeeded")


def test_a_condition_on_a_named_output():
    opened = states(run(f"{TOY}:gate", {"answer": "yes"}))
    assert opened == {"decide": "succeeded", "inner/add": "succeeded", "add": "succeeded", "add-2": "skipped"}
    closed = states(run(f"{TOY}:gate", {"answer": "no"}))
    assert closed == {"decide": "succeeded", "inner/add": "skipped", "add": "skipped", "add-2": "succeeded"}


def test_a_condition_that_kfp_cannot_evaluate_fails_the_run():
    done = run(f"{TOY}:gate", {"answer": "it's"})
    assert done.state == "failed"
    assert done.error.startswith("a condition cannot be evaluated")


def test_a_small_constant_stays_a_number():
    assert task(run(f"{TOY}:small_constant"), "double").outputs == {"Output": 1e-4}


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("from hfpc.components import nothing", "line 2: ImportError: cannot import name 'nothing'"),
        ("def broken(:", "line 2: SyntaxError"),
        ("from hfpc.components import evaluate\nevaluate(modle=1)", "line 3: TypeError"),
    ],
)
def test_a_mistake_in_a_pipeline_file_is_told_in_a_line(tmp_path, mistake, message):
    file = tmp_path / "mine.py"
    file.write_text(f"import os\n{mistake}\n")
    with pytest.raises(ArgumentError, match=message) as caught:
        run(f"{file}:mine")
    assert "\n" not in str(caught.value)


def test_every_turn_of_a_loop_is_a_task():
    done = run(f"{TOY}:loops", {"items": "[5, 6]"})
    assert done.state == "succeeded"
    assert {name: task(done, name).outputs["Output"] for name in states(done)} == {
        "add[0]": 6,
        "add[1]": 7,
        "add-2[0][0]": 16,
        "add-2[0][1]": 26,
        "add-2[1][0]": 17,
        "add-2[1][1]": 27,
        "total": 13.0,
    }
    assert task(done, "add-2[1][0]").needs == ("add[1]",)
    assert task(done, "total").needs == ("add[0]", "add[1]")
    assert (done.folder / task(done, "add-2[1][0]").log).read_text() == "adding 7 and 10\n"


def test_a_loops_body_sees_what_lies_outside_of_it():
    done = run(f"{TOY}:scopes", {"items": "[1, 2]"})
    assert done.state == "succeeded"
    assert {name: task(done, name).outputs["Output"] for name in states(done) if name != "halves"} == {
        "add[0]": 100,
        "add[1]": 101,
        "add-2[0][0]": 11,
        "add-2[0][1]": 21,
        "add-2[1][0]": 12,
        "add-2[1][1]": 22,
        "add-3[0][0]": 111,
        "add-3[0][1]": 121,
        "add-3[1][0]": 112,
        "add-3[1][1]": 122,
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("argument", "epochs=0: give a number above 0"),
        ("unexpected", "RuntimeError: the disk is on fire"),
        ("exit", "SystemExit: 3"),
        ("killed", "its process was killed by SIGKILL; was there too little memory?"),
    ],
)
def test_a_failure_tells_its_own_error(kind, message):
    done = run(f"{TOY}:failing", {"kind": kind})
    assert (done.state, done.error) == ("failed", "")
    assert (task(done, "fail").state, task(done, "fail").error) == ("failed", message)
    assert task(done, "add").state == "skipped"
    log = (done.folder / task(done, "fail").log).read_text()
    assert log.startswith("about to fail")
    if kind != "killed":
        assert message in log
    assert "site-packages/kfp" not in log
    assert done.ended >= task(done, "fail").ended
    assert "<html" in (done.folder / "report.html").read_text()


def test_values_that_kfp_would_mangle_arrive_whole(tmp_path):
    place = tmp_path / "python3.11" / "file with spaces"
    place.parent.mkdir()
    place.write_text("whole")
    done = run(f"{TOY}:imported", {"uri": str(place)})
    assert states(done) == {"importer": "succeeded", "read": "succeeded"}
    assert task(done, "read").outputs == {"Output": "whole"}


def test_secrets_reach_the_task_but_no_file(home):
    secrets = {"uri": "https://me:hunter2-pass@host/x", "api_token": "t0ps3cret-value"}
    done = run(f"{TOY}:secretive", {**secrets, "options": {"password": "0ther-secret"}})
    assert done.state == "succeeded"
    assert done.parameters["api_token"] == "***"
    assert task(done, "take").outputs == {"Output": "took https://***@host/x with a token of 15 characters"}
    # What a component itself writes into its outputs is its own affair.
    kept = [file for file in home.rglob("*") if file.is_file() and "artifacts" not in file.parts]
    assert {"run.json", "events.jsonl", "kfp.log", "report.html", "pipeline.yaml"} <= {file.name for file in kept}
    for file in kept:
        assert not [secret for secret in ("hunter2", "t0ps3cret", "0ther") if secret in file.read_text()], file


def test_what_cannot_run_is_refused_before_a_folder_is_made(home):
    with pytest.raises(HfpcError, match="shell runs a container image"):
        run(f"{TOY}:contained")
    with pytest.raises(ArgumentError, match="valid are n"):
        run(f"{TOY}:chain", {"N": 1})
    assert not home.exists()
    assert [step.name for step in plan(f"{TOY}:chain", {}).steps] == ["add", "measure", "read"]


def test_the_cache_takes_over_what_ran_before():
    run(f"{TOY}:chain", {"n": 4}, cache=True)
    again = run(f"{TOY}:chain", {"n": 4}, cache=True)
    assert again.state == "succeeded"
    assert all(task.cached for task in again.tasks)
    assert again.metrics == {"measure/value": 5.0}
    assert task(again, "read").outputs == {"Output": "made"}
    other = run(f"{TOY}:chain", {"n": 5}, cache=True)
    assert not any(task.cached for task in other.tasks)
    assert not any(task.cached for task in run(f"{TOY}:chain", {"n": 4}).tasks)


def test_the_record_and_the_progress_are_live(tmp_path):
    seen = []

    def watch(now, progress):
        seen.append((states(runs.read(now.id)), dict(progress)))

    done = run(f"{TOY}:working", {"folder": str(tmp_path), "seconds": 1.0}, watch=watch)
    assert done.state == "succeeded"
    recorded = [found["work"] for found, _ in seen]
    assert {"pending", "running", "succeeded"} == set(recorded)
    steps = [progress["work"] for _, progress in seen if "work" in progress]
    assert steps[-1].total == 10
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[0].done < steps[-1].done
    assert steps[0].what == "counting"


def start(tmp_path: Path) -> tuple[subprocess.Popen, list[int]]:
    """`hfpc run` of a long step in a process group of its own; its task's processes."""
    command = [sys.executable, "-m", "hfpc.cli", "run", f"{TOY}:working", "--set", f"folder={tmp_path}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    pids = until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().split())
    assert len(pids) == 2
    assert all(is_alive(int(pid)) for pid in pids)
    # The task may be ahead of the record by a moment.
    until(lambda: states(runs.all_runs()[0]) == {"work": "running"})
    return process, [int(pid) for pid in pids]


def test_ctrl_c_ends_every_process_and_is_recorded(tmp_path):
    process, pids = start(tmp_path)
    assert runs.all_runs()[0].state == "running"
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in output
    assert "Traceback" not in output
    assert not any(is_alive(pid) for pid in pids)
    done = runs.all_runs()[0]
    assert (done.state, done.error, states(done)) == ("failed", "interrupted", {"work": "failed"})


def test_a_killed_run_leaves_no_process_and_is_told_as_failed(tmp_path):
    process, pids = start(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not is_alive(pids[0]))
    psutil.Process(pids[1]).kill()  # it has a session of its own, which nobody is left to end
    done = runs.all_runs()[0]
    assert (done.state, states(done)) == ("failed", {"work": "failed"})
    assert "killed" in done.error
    # The record on disk still says what was true when it was written.
    assert json.loads((done.folder / "run.json").read_text())["state"] == "running"


def test_runs_of_the_same_second_get_folders_of_their_own(home):
    now = time.time()
    ids = [runs.create("chain", now) for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(runs.folder(each).is_dir() for each in ids)
