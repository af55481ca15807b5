"""What a submitted job starts on each node of a profile is started here: two containers' own commands train one model.

What stands for the cloud: the placeholder of the executor input is filled in, as Vertex AI does before it makes the
custom job, and each process has the `CLUSTER_SPEC` of its node. For want of GPUs the profile's device and number of
processes are those of this machine.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from typer.testing import CliRunner

from hfpc import manifest
from hfpc.cli import app
from tests.cloud.google_fixtures import LOCATION, PROJECT
from tests.training.nodes import free_port

pytestmark = pytest.mark.slow
pytest.importorskip("google.cloud.aiplatform_v1")
pytest.importorskip("google_cloud_pipeline_components")

PIPELINE = f"{Path(__file__).with_name('own_training.py')}:two_trainings"
PLACEHOLDER = "{{$.json_escape[1]}}"
SECONDS = 400


@pytest.fixture
def spec(google_cloud):
    """The pipeline that reached Vertex AI, for two nodes."""
    where = ["--project", PROJECT, "--location", LOCATION, "--pipeline-root", "gs://artifacts/runs"]
    command = ["submit", PIPELINE, *where, "--skip-preflight", "--profile", "gpu-h100x8x2", "--job-id", "two-1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    job = google_cloud.vertex.objects[f"projects/{PROJECT}/locations/{LOCATION}/pipelineJobs/two-1"]
    return json_format.MessageToDict(job._pb)["pipelineSpec"]


def values(spec):
    """The parameters of the custom job: what the pipeline says, else the component's defaults."""
    declared = spec["components"]["comp-finetune"]["inputDefinitions"]["parameters"]
    given = spec["root"]["dag"]["tasks"]["finetune"]["inputs"]["parameters"]
    own = {name: each["runtimeValue"]["constant"] for name, each in given.items()}
    defaults = {name: each["defaultValue"] for name, each in declared.items() if "defaultValue" in each}
    whole = {name for name, each in declared.items() if each["parameterType"] == "NUMBER_INTEGER"}
    # Python's JSON of protobuf is the only one that writes whole numbers as 42.0.
    found = {name: int(value) if name in whole else value for name, value in {**defaults, **own}.items()}
    assert found["processes"] == 16
    return {**found, "processes": 2}


def executor_input(spec, tokenized, out):
    """What kfp's executor is told: the parameters of the whole job, and where its data and outputs are."""
    made = spec["components"]["comp-finetune"]["outputDefinitions"]
    artifacts = {
        name: {"artifacts": [{"name": name, "uri": str(out / name), "type": each["artifactType"], "metadata": {}}]}
        for name, each in made["artifacts"].items()
    }
    data = {"name": "tokenized", "uri": str(tokenized), "type": {"schemaTitle": "system.Dataset"}, "metadata": {}}
    return {
        "inputs": {"parameterValues": values(spec), "artifacts": {"tokenized": {"artifacts": [data]}}},
        "outputs": {
            "artifacts": artifacts,
            "parameters": {name: {"outputFile": str(out / name)} for name in made["parameters"]},
            "outputFile": str(out / "executor_output.json"),
        },
    }


def container_of(spec, pool, told):
    """The container of a worker pool as the custom job has it."""
    escaped = json.dumps(json.dumps(told))[1:-1]
    return json.loads(json.dumps(values(spec)["worker_pool_specs"][pool]).replace(PLACEHOLDER, escaped))[
        "container_spec"
    ]


def start(container, home, cluster):
    """The container's own command, on a node with a disk of its own."""
    (home / "tmp").mkdir(parents=True)
    own = {item["name"]: item["value"] for item in container["env"]}
    assert own == {"NCCL_DEBUG": "INFO", "HFPC_DEVICE": "cuda"}
    environment = {
        **os.environ,
        **own,
        "HFPC_DEVICE": "cpu",
        "CLUSTER_SPEC": json.dumps(cluster),
        "HFPC_HOME": str(home / "home"),
        "TMPDIR": str(home / "tmp"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with (home / "log.txt").open("w") as log:
        command = [*container["command"], *container["args"]]
        return subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)


def test_the_containers_of_two_worker_pools_train_one_model_and_only_the_first_writes(spec, tokenized, tmp_path):
    nodes = [tmp_path / "node0", tmp_path / "node1"]
    pools = {"workerpool0": [f"127.0.0.1:{free_port()}"], "workerpool1": ["127.0.0.1:1"]}
    started = []
    try:
        for number, (pool, node) in enumerate(zip(pools, nodes, strict=True)):
            container = container_of(spec, number, executor_input(spec, tokenized, node / "out"))
            cluster = {"cluster": pools, "task": {"type": pool, "index": 0}, "environment": "cloud"}
            started.append(start(container, node, cluster))
        codes = [process.wait(timeout=SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes == [0, 0], "\n".join((node / "log.txt").read_text() for node in nodes)
    out = nodes[0] / "out"
    assert [file for file in (nodes[1] / "out").rglob("*") if file.is_file()] == []
    assert list(tmp_path.rglob("executor_output.json")) == [out / "executor_output.json"]
    assert list(tmp_path.rglob("model.safetensors")) == [out / "model" / "model.safetensors"]
    record = manifest.read(out / "model", "model").model
    written = json.loads((out / "executor_output.json").read_text())["artifacts"]
    assert written["model"]["artifacts"][0]["metadata"]["fingerprint"] == record.fingerprint
    assert written["metrics"]["artifacts"][0]["metadata"] == pytest.approx(record.metrics)
    assert (out / "curves").is_file() and list((out / "tensorboard").glob("events*"))
