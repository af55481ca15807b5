"""The demo pipeline in containers without a network, and its model served by a container that may do nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hfpc import golden, manifest, registry, runs, tasks
from hfpc.serving.client import Client
from tests.containers.conftest import USER, docker, readable

pytestmark = pytest.mark.docker

SETTINGS = ("name=tweets", "labels=negative,positive", "max_rows=400", "epochs=1", "learning_rate=2e-4")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("containers") / "home"


@pytest.fixture(scope="module")
def done(home) -> runs.Run:
    """The run, made by the command line as a person would."""
    readable(home.parent)
    command = [sys.executable, "-m", "hfpc.cli", "run", "finetune_local", "--docker", "--no-network"]
    ended = subprocess.run(
        [*command, *(part for setting in SETTINGS for part in ("--set", setting))],
        env={**os.environ, "HFPC_HOME": str(home)},
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
    logs = "\n".join(path.read_text(errors="replace") for path in home.glob("runs/*/logs/*.log"))
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}\n{logs}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFPC_HOME", str(home))
        return runs.all_runs()[0]


@pytest.fixture
def model(done, home) -> Path:
    return readable(registry.locate("tweets@champion", str(home / "registry")))


def replay(url: str, model: Path) -> None:
    requests = golden.read(model)
    with Client(url) as client:
        responses = client.ask([request["inputs"] for request in requests])
    assert len(requests) > 3
    assert golden.differences(tasks.get(manifest.read(model, "model").task), requests, responses) == []


def test_every_step_of_the_demo_ran_in_a_container_without_a_network(done, home):
    assert {task.name: task.error for task in done.tasks if task.state != "succeeded"} == {}
    ran = {task.component for task in done.tasks}
    assert {"load_dataset", "finetune", "evaluate", "register_local_model", "deploy_local", "test_endpoint"} <= ran
    assert done.metrics["test_endpoint/requests"] == 50
    if os.getuid() == 0:  # what they wrote says who they were
        assert {path.stat().st_uid for path in (home / "registry").rglob("hfpc.json")} == {USER}
    assert docker("ps", "--all", "--quiet", f"--filter=label=hfpc.run={done.id}") == ""


def test_the_model_answers_from_a_container_as_it_did_when_it_was_made(model, serving):
    container, url = serving(model)
    replay(url, model)
    state = json.loads(docker("inspect", container))[0]
    assert state["HostConfig"]["ReadonlyRootfs"] and state["HostConfig"]["CapDrop"] == ["ALL"]
    assert docker("exec", container, "id", "-u") == str(USER)
    docker("stop", "--time=60", container)
    assert json.loads(docker("inspect", container))[0]["State"]["ExitCode"] == 0


def test_sagemaker_starts_it_with_the_command_serve(model, serving):
    _, url = serving(model, "serve")
    assert httpx.get(f"{url}/ping").status_code == 200
    requests = golden.read(model)
    answer = httpx.post(f"{url}/invocations", json={"inputs": [request["inputs"] for request in requests]})
    assert golden.differences(tasks.get("text-classification"), requests, answer.json()) == []


def test_any_other_user_can_serve(model, serving):
    _, url = serving(model, options=("--user=1234567:0",))
    replay(url, model)
