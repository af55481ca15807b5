"""What a profile makes of the step finetune, read from the compiled YAML, and what it leaves alone."""

from pathlib import Path

import pytest
import yaml
from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format
from kfp import components
from typer.testing import CliRunner

from hfpc.cli import app
from hfpc.errors import ArgumentError
from hfpc.submit.compile import TARGETS, compile_all, compile_pipeline
from hfpc.submit.profiles import PROFILES, find_profile

pytest.importorskip("google_cloud_pipeline_components")

OWN = Path(__file__).with_name("own_training.py")
LOADING = ("comp-compare-models", "comp-evaluate", "comp-optimize")
LAUNCHER = "google_cloud_pipeline_components.container.v1.custom_job.launcher"


def compiled(tmp_path, profile, name="finetune_local", target="vertex"):
    file = tmp_path / f"{profile}-{target}.yaml"
    compile_pipeline(name, target, file, profile)
    components.load_component_from_file(str(file))
    return list(yaml.safe_load_all(file.read_text()))


def container(spec, component="comp-finetune"):
    return spec["deploymentSpec"]["executors"][spec["components"][component]["executorLabel"]]["container"]


def defaults(spec, component="comp-finetune"):
    parameters = spec["components"][component]["inputDefinitions"]["parameters"]
    return {name: parameter.get("defaultValue") for name, parameter in parameters.items()}


def pools(spec, component="comp-finetune"):
    """Machine type, accelerator and count of each replica, as Vertex AI's own type reads them."""
    read = [v1.WorkerPoolSpec() for _ in defaults(spec, component)["worker_pool_specs"]]
    for pool, given in zip(read, defaults(spec, component)["worker_pool_specs"], strict=True):
        json_format.ParseDict(given, pool._pb)
    return [
        (pool.machine_spec.machine_type, pool.machine_spec.accelerator_type.name, pool.machine_spec.accelerator_count)
        for pool in read
        for _ in range(pool.replica_count)
    ]


def test_two_nodes_are_two_worker_pools_that_run_the_same_finetune(tmp_path):
    [plain], [spec] = compiled(tmp_path, "cpu"), compiled(tmp_path, "gpu-h100x8x2")
    assert pools(spec) == [("a3-highgpu-8g", "NVIDIA_H100_80GB", 8)] * 2
    assert len(defaults(spec)["worker_pool_specs"]) == 2
    assert defaults(spec) | defaults(plain) | {"processes": 16} == defaults(spec)
    assert LAUNCHER in container(spec)["command"]
    for pool in defaults(spec)["worker_pool_specs"]:
        assert pool["disk_spec"] == {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 500}
        run = pool["container_spec"]
        assert run["command"] == container(plain)["command"]
        assert run["args"][-2:] == ["--function_to_execute", "finetune"]
        assert run["image_uri"] == container(plain)["image"].replace("-cpu:", "-gpu:")
    assert (defaults(spec)["strategy"], defaults(spec)["restart_job_on_worker_restart"]) == ("STANDARD", False)


def test_eight_gpus_are_one_worker_pool_because_no_task_may_ask_for_such_a_machine(tmp_path):
    [spec] = compiled(tmp_path, "gpu-h100x8")
    assert pools(spec) == [("a3-highgpu-8g", "NVIDIA_H100_80GB", 8)]
    assert defaults(spec)["processes"] == 8


def test_a_tpu_is_named_by_machine_and_topology(tmp_path):
    [spec] = compiled(tmp_path, "tpu-v5e")
    [pool] = defaults(spec)["worker_pool_specs"]
    assert pool["machine_spec"] == {"machine_type": "ct5lp-hightpu-1t", "tpu_topology": "1x1"}
    assert "hfpc-python-tpu:" in pool["container_spec"]["image_uri"] and "disk_spec" not in pool
    assert defaults(spec)["processes"] == 1


def test_spot_machines_start_the_job_again(tmp_path):
    [spec] = compiled(tmp_path, "gpu-h100x8x2-spot")
    assert pools(spec) == [("a3-highgpu-8g", "NVIDIA_H100_80GB", 8)] * 2
    assert (defaults(spec)["strategy"], defaults(spec)["restart_job_on_worker_restart"]) == ("SPOT", True)
    [spec] = compiled(tmp_path, "gpu-l4-spot")
    assert pools(spec) == [("g2-standard-8", "NVIDIA_L4", 1)]
    assert (defaults(spec)["strategy"], defaults(spec)["restart_job_on_worker_restart"]) == ("SPOT", True)


@pytest.mark.parametrize(
    ("profile", "accelerator", "count", "cpus", "memory"),
    [
        ("gpu-t4", "NVIDIA_TESLA_T4", "1", 8, "30G"),
        ("gpu-l4", "NVIDIA_L4", "1", 8, "32G"),
        ("gpu-a100x4", "NVIDIA_TESLA_A100", "4", 48, "340G"),
    ],
)
def test_one_node_is_settings_of_the_task(tmp_path, profile, accelerator, count, cpus, memory):
    [spec] = compiled(tmp_path, profile)
    asked = container(spec)["resources"]
    assert asked["accelerator"] == {
        "type": accelerator,
        "resourceType": accelerator,
        "count": count,
        "resourceCount": count,
    }
    assert (asked["cpuLimit"], asked["resourceCpuLimit"]) == (cpus, str(cpus))
    assert (asked["memoryLimit"], asked["resourceMemoryLimit"]) == (float(memory[:-1]), memory)
    assert defaults(spec)["processes"] == int(count)
    assert "hfpc-python-gpu:" in container(spec)["image"]
    assert container(spec)["env"] == [{"name": "HFPC_DEVICE", "value": "cuda"}]


@pytest.mark.parametrize("profile", [profile.name for profile in PROFILES])
def test_all_other_tasks_stay_and_what_finetune_takes_and_gives_stays(tmp_path, profile):
    [plain], [spec] = compiled(tmp_path, "cpu"), compiled(tmp_path, profile)
    before, after = plain["components"]["comp-finetune"], spec["components"]["comp-finetune"]
    for kind in ("inputDefinitions", "outputDefinitions"):
        assert after[kind]["artifacts"] == before[kind]["artifacts"]
    assert set(defaults(plain)) <= set(defaults(spec))
    for each in (plain, spec):
        del each["components"]["comp-finetune"], each["deploymentSpec"]["executors"]["exec-finetune"]
    for component in LOADING:
        container(spec, component).pop("resources", None)  # see the test below
    assert spec == plain


@pytest.mark.parametrize("name", ["finetune_local", "finetune_vertex", "retrain_vertex"])
@pytest.mark.parametrize(
    ("profile", "cpus", "memory"), [("gpu-l4", 8, 30), ("gpu-a100x4", 16, 120), ("gpu-h100x8x2-spot", 16, 120)]
)
def test_steps_that_load_what_large_gpus_trained_get_the_memory(tmp_path, name, profile, cpus, memory):
    [spec] = compiled(tmp_path, profile, name)
    for component in LOADING:
        assert container(spec, component)["resources"] == {
            "cpuLimit": cpus,
            "resourceCpuLimit": str(cpus),
            "memoryLimit": memory,
            "resourceMemoryLimit": f"{memory}G",
        }, component
    others = set(spec["components"]) - {"comp-finetune", *LOADING}
    labels = {spec["components"][each].get("executorLabel") for each in others} - {None}
    assert labels
    for label in labels:
        assert "resources" not in spec["deploymentSpec"]["executors"][label]["container"], label


@pytest.mark.parametrize("name", ["cpu", "gpu-t4", "tpu-v5e"])
def test_steps_after_small_accelerators_stay_on_the_platforms_own_machines(tmp_path, name):
    [spec] = compiled(tmp_path, name)
    assert all("resources" not in container(spec, component) for component in LOADING)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_what_fits_an_accelerator_fits_the_machines_that_load_it(profile):
    """Both hold the weights in fp32."""
    assert (profile.loading_memory or 16) >= profile.device_memory
    assert bool(profile.loading_cpus) == bool(profile.loading_memory)


def test_on_kubeflow_steps_that_load_the_model_ask_for_memory(tmp_path):
    spec, _ = compiled(tmp_path, "gpu-a100x4", target="kubeflow")
    for component in LOADING:
        wanted = {"memoryRequest": 120, "resourceMemoryRequest": "120G"}
        assert container(spec, component)["resources"] == wanted, component
    spec, _ = compiled(tmp_path, "gpu-t4", target="kubeflow")
    assert all("resources" not in container(spec, component) for component in LOADING)


def test_the_memory_that_a_pipeline_asks_for_itself_stays(tmp_path):
    [plain], [spec] = (compiled(tmp_path, name, f"{OWN}:with_own_memory") for name in ("cpu", "gpu-h100x8"))
    own = container(spec, "comp-evaluate")["resources"]
    assert own["resourceMemoryLimit"] == "64G" and own == container(plain, "comp-evaluate")["resources"]
    assert "resources" not in container(spec, "comp-compare-models")  # not ours


def test_a_pipeline_of_ones_own(tmp_path):
    [spec] = compiled(tmp_path, "gpu-h100x8x2", f"{OWN}:two_trainings")
    assert len(pools(spec, "comp-finetune")) == len(pools(spec, "comp-finetune-2")) == 2
    for pool in defaults(spec)["worker_pool_specs"]:
        # What one sets on the task goes to every node; there a training on CPUs is refused.
        wanted = [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "HFPC_DEVICE", "value": "cuda"}]
        assert pool["container_spec"]["env"] == wanted
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["finetune"]["inputs"]["parameters"]["epochs"] == {"runtimeValue": {"constant": 1.0}}
    assert "processes" not in tasks["finetune-2"]["inputs"]["parameters"]


def test_another_number_of_processes_than_the_profiles_is_refused(tmp_path):
    compile_pipeline(f"{OWN}:on_four", "vertex", tmp_path / "four.yaml", "gpu-a100x4")
    with pytest.raises(ArgumentError, match="processes=4: profile gpu-h100x8 runs 8 in finetune"):
        compile_pipeline(f"{OWN}:on_four", "vertex", tmp_path / "x.yaml", "gpu-h100x8")


def test_on_kubeflow_gpus_and_shared_memory_are_asked_for(tmp_path):
    spec, platforms = compiled(tmp_path, "gpu-a100x4", target="kubeflow")
    assert container(spec)["resources"] == {
        "accelerator": {"type": "nvidia.com/gpu", "resourceType": "nvidia.com/gpu", "count": "4", "resourceCount": "4"}
    }
    [mount] = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-finetune"]["emptyDirMounts"]
    assert (mount["mountPath"], mount["medium"], mount["sizeLimit"]) == ("/dev/shm", "Memory", "64Gi")


@pytest.mark.parametrize("profile", ["gpu-h100x8x2", "tpu-v5e", "tpu-v5e-spot"])
def test_what_kubeflow_cannot_do_is_refused(tmp_path, profile):
    with pytest.raises(ArgumentError, match=f"profile='{profile}': for kubeflow it is one node with GPUs"):
        compile_pipeline("finetune_local", "kubeflow", tmp_path / "x.yaml", profile)


@pytest.mark.parametrize("target", TARGETS)
def test_everything_compiles_for_a_profile(tmp_path, target):
    files = compile_all(target, tmp_path, "gpu-l4")
    pipelines = [file for file in files if file.parent.name == "pipelines"]
    assert "finetune_local.yaml" in {file.name for file in pipelines}
    for file in pipelines:
        spec = next(yaml.safe_load_all(file.read_text()))
        kind = {"vertex": "NVIDIA_L4", "kubeflow": "nvidia.com/gpu"}[target]
        assert container(spec)["resources"]["accelerator"]["type"] == kind, file


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu-l5", "gpu-l4, gpu-a100x4"),
        ("cpu-spot", "give cpu"),
        ("gpu-l4-spot-spot", "give one of"),
    ],
)
def test_unknown_profiles_name_those_there_are(name, told):
    with pytest.raises(ArgumentError, match=told):
        find_profile(name)


def test_a_pipeline_without_training_and_a_component_have_no_profile(tmp_path):
    with pytest.raises(ArgumentError, match="the pipeline has no step finetune"):
        compile_pipeline(f"{OWN}:no_training", "vertex", tmp_path / "x.yaml", "gpu-l4")
    done = CliRunner().invoke(app, ["compile", "evaluate", "--profile", "gpu-l4"])
    assert done.exit_code == 1 and "profile='gpu-l4': a profile is for pipelines" in done.output


def test_the_command_line_lists_them_and_compiles_for_them(tmp_path):
    listed = CliRunner().invoke(app, ["profiles"], env={"COLUMNS": "200"})
    assert all(profile.name in listed.output for profile in PROFILES)
    assert "2 x a3-highgpu-8g, 8 x H100_80GB each" in listed.output
    file = tmp_path / "out.yaml"
    arguments = ["compile", "finetune_local", "--profile", "gpu-t4", "--output", str(file)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert "NVIDIA_TESLA_T4" in file.read_text()
