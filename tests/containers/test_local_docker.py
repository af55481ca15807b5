"""`hfpc run --docker`: what a step may do, and what is left when a run ends in another way than it should."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfpc import runs
from hfpc.errors import ArgumentError
from hfpc.submit.local import run
from tests.containers.conftest import USER, docker, readable

pytestmark = pytest.mark.docker

TOY = str(Path(__file__).parent / "toy_pipelines.py")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    readable(tmp_path)
    monkeypatch.setenv("HFPC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def containers(*states: str) -> list[str]:
    filters = [f"--filter=status={state}" for state in states]
    return docker("ps", "--all", "--quiet", "--filter=label=hfpc.run", *filters).split()


def until(condition, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return found


def test_a_step_sees_its_home_and_the_current_folder_and_can_do_little(home, tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\n")
    done = run(f"{TOY}:looking", {"source": "reviews.csv"}, docker=True, network=False)
    assert done.state == "succeeded", done
    found = done.tasks[0].outputs["Output"]
    assert found == {
        "user": os.getuid() or USER,
        "source": "text,label\n",
        "write beside the source": "Read-only file system",
        "write into the image": "Read-only file system",
        "write to the home": "",
        "interfaces": ["lo"],
        "shared memory": 2**30,
        "capabilities": ["0" * 16],
    }
    assert containers() == []


@pytest.fixture
def started(home):
    """`hfpc run` of a step that waits for ever, once its container runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hfpc.cli", "run", f"{TOY}:waiting", "--docker"], stdout=subprocess.PIPE, text=True
    )
    until(lambda: any("waiting" in log.read_text() for log in home.glob("runs/*/logs/wait.log")))
    assert len(containers("running")) == 1
    yield process
    process.kill()
    process.wait()


def test_nothing_runs_on_after_ctrl_c(started, home):
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=60) == 130
    assert until(lambda: containers() == [])
    assert [(done.state, done.error) for done in runs.all_runs()] == [("failed", "interrupted")]


def test_nothing_runs_on_after_hfpc_itself_is_killed(started):
    started.kill()
    assert until(lambda: containers() == [])


def test_a_container_that_ends_before_its_task_begins_fails_the_run(home):
    """kfp.local takes such a container for a success when it is gone before it looks."""
    done = run(f"{TOY}:without_hfpc", docker=True)
    assert done.state == "failed"
    assert "elsewhere" in {task.name for task in done.tasks}
    assert containers() == []


def test_an_image_that_is_not_there_is_told_before_anything_starts(home):
    with pytest.raises(
        ArgumentError, match=r"docker='localhost/no-such-image:1\.0': this image is not on this machine"
    ):
        run(f"{TOY}:without_image", docker=True)
    assert not home.exists() or not runs.all_runs()
