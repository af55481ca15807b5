"""Kubernetes settings of every pipeline, read from the compiled YAML by kfp-kubernetes' own message."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

from hfpc import pipelines
from hfpc.errors import ArgumentError
from hfpc.submit.compile import compile_pipeline, write_pipeline
from hfpc.submit.kubernetes import CACHE_PATH, CLUSTER_VARIABLE, cluster
from hfpc.submit.profiles import PROFILES, Cluster

README = Path(__file__).parents[2] / "README.md"
OWN = Path(__file__).with_name("own_training.py")
TOYS = Path(__file__).with_name("cloud_pipelines.py")
GPUS = [profile for profile in PROFILES if profile.image == "gpu" and profile.nodes == 1]
VARIABLES = {
    "HF_TOKEN": ("huggingface", "HF_TOKEN"),
    "AWS_ACCESS_KEY_ID": ("aws", "AWS_ACCESS_KEY_ID"),
    "AWS_SECRET_ACCESS_KEY": ("aws", "AWS_SECRET_ACCESS_KEY"),
}


@pytest.fixture(autouse=True)
def _usual_cluster(monkeypatch):
    monkeypatch.delenv(CLUSTER_VARIABLE, raising=False)


def compiled(tmp_path, name, profile="cpu", target="kubeflow"):
    """The pipeline spec, and the settings of each executor; also kfp loads the file."""
    file = tmp_path / f"{profile}-{target}.yaml"
    compile_pipeline(name, target, file, profile)
    components.load_component_from_file(str(file))
    spec, *others = yaml.safe_load_all(file.read_text())
    settings = {}
    if others:
        executors = others[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        settings = {label: json_format.ParseDict(each, KubernetesExecutorConfig()) for label, each in executors.items()}
    return spec, settings


def secrets(settings):
    return {
        pair.env_var: (each.secret_name_parameter.runtime_value.constant.string_value, pair.secret_key)
        for each in settings.secret_as_env
        for pair in each.key_to_env
    }


def tolerations(settings):
    return [(each.key, each.operator, each.value, each.effect) for each in settings.tolerations]


def containers(spec):
    return {label: each["container"] for label, each in spec["deploymentSpec"]["executors"].items()}


@pytest.mark.parametrize("profile", GPUS, ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", pipelines.__all__)
def test_every_pipeline_has_secrets_in_each_step_and_gpus_in_the_training(tmp_path, name, profile):
    spec, settings = compiled(tmp_path, name, profile.name)
    assert set(settings) == set(containers(spec))
    for label, each in settings.items():
        assert secrets(each) == VARIABLES, label
        assert all(secret.optional for secret in each.secret_as_env)
        trains = label == "exec-finetune"
        mounts = [(mount.mount_path, mount.medium, mount.size_limit) for mount in each.empty_dir_mounts]
        assert mounts == ([("/dev/shm", "Memory", f"{profile.shared_memory}Gi")] if trains else [])
        labels = {"nvidia.com/gpu.product": profile.gpu_product} if trains else {}
        assert dict(each.node_selector.labels) == labels
        assert tolerations(each) == ([("nvidia.com/gpu", "Exists", "", "NoSchedule")] if trains else [])
        assert not each.node_affinity and not each.pvc_mount
    accelerator = containers(spec)["exec-finetune"]["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", str(profile.devices))


@pytest.mark.parametrize("profile", ["cpu", "gpu-l4", "gpu-l4-spot"])
@pytest.mark.parametrize("name", pipelines.__all__)
def test_nothing_of_it_is_in_the_yaml_for_vertex(tmp_path, name, profile):
    pytest.importorskip("google_cloud_pipeline_components")
    spec, settings = compiled(tmp_path, name, profile, "vertex")
    assert settings == {}
    for container in containers(spec).values():
        container.pop("command", None)  # the source of a component may speak of anything
    text = yaml.safe_dump(spec["deploymentSpec"])
    for word in ("secretAsEnv", "emptyDir", "nodeSelector", "tolerations", "pvcMount", "nvidia.com/", "/dev/shm"):
        assert word not in text


@pytest.mark.parametrize("name", pipelines.__all__)
def test_without_gpus_there_are_secrets_and_shared_memory_for_the_training(tmp_path, name):
    spec, settings = compiled(tmp_path, name)
    assert set(settings) == set(containers(spec))
    for label, each in settings.items():
        assert secrets(each) == VARIABLES
        mounts = [(mount.mount_path, mount.medium, mount.size_limit) for mount in each.empty_dir_mounts]
        assert mounts == ([("/dev/shm", "Memory", "2Gi")] if label == "exec-finetune" else [])
        assert {field.name for field, _ in each.ListFields()} <= {"secret_as_env", "empty_dir_mounts"}


def test_without_gpus_too_the_shared_memory_of_a_pipeline_stays(tmp_path):
    _, settings = compiled(tmp_path, f"{OWN}:with_settings")
    (mount,) = settings["exec-finetune"].empty_dir_mounts
    assert (mount.mount_path, mount.size_limit) == ("/dev/shm", "1Gi")


def test_on_spot_machines_of_whatever_cloud_and_started_again(tmp_path):
    spec, settings = compiled(tmp_path, "train_and_evaluate", "gpu-l4-spot")
    training = settings["exec-finetune"]
    terms = [(term.key, list(term.values)) for each in training.node_affinity for term in each.match_expressions]
    assert len(training.node_affinity) == 4 and terms == [(key, [each]) for key, each in Cluster().spot_labels.items()]
    taints = [(key, "Equal", value, "NoSchedule") for key, value in Cluster().spot_labels.items()]
    assert tolerations(training) == [("nvidia.com/gpu", "Exists", "", "NoSchedule"), *taints]
    policies = {name: task.get("retryPolicy") for name, task in spec["root"]["dag"]["tasks"].items()}
    assert policies.pop("finetune")["maxRetryCount"] == 5
    assert set(policies.values()) == {None}
    assert not settings["exec-evaluate"].node_affinity


def test_plain_variables_come_from_the_file_and_no_secrets(tmp_path, monkeypatch):
    file = tmp_path / "cluster.yaml"
    monkeypatch.setenv(CLUSTER_VARIABLE, str(file))
    variable = {"name": "AWS_ENDPOINT_URL", "value": "http://minio-service.kubeflow:9000"}
    file.write_text(yaml.safe_dump({"environment": {variable["name"]: variable["value"]}}))
    spec, _ = compiled(tmp_path, "train_and_evaluate")
    assert all(variable in container["env"] for container in containers(spec).values())
    for wrong in ({"HF_TOKEN": "hf_abc"}, {"A B": "c"}, {"PORT": 9000}):
        file.write_text(yaml.safe_dump({"environment": wrong}))
        with pytest.raises(ArgumentError, match="environment=") as caught:
            cluster()
        assert "hf_abc" not in str(caught.value)


def test_the_file_that_the_readme_shows(tmp_path, monkeypatch):
    """With it the steps reach Kubeflow's own store."""
    _, _, section = README.read_text().partition("## Run it on Kubeflow")
    file = tmp_path / "cluster.yaml"
    file.write_text(section.partition("```yaml\n")[2].partition("```")[0])
    monkeypatch.setenv(CLUSTER_VARIABLE, str(file))
    spec, settings = compiled(tmp_path, "finetune_kubeflow")
    address = {"name": "AWS_ENDPOINT_URL", "value": "http://seaweedfs.kubeflow:9000"}
    steps = {name: container for name, container in containers(spec).items() if "/hfpc-" in container["image"]}
    assert "exec-deploy-kserve" in steps and all(address in container["env"] for container in steps.values())
    for name in steps:
        assert secrets(settings[name]) == {
            "AWS_ACCESS_KEY_ID": ("mlpipeline-minio-artifact", "accesskey"),
            "AWS_SECRET_ACCESS_KEY": ("mlpipeline-minio-artifact", "secretkey"),
            "HF_TOKEN": ("hub", "token"),
        }


def test_names_of_a_cluster_come_from_a_file(tmp_path, monkeypatch):
    file = tmp_path / "cluster.yaml"
    content = {
        "gpu_resource": "amd.com/gpu",
        "node_selectors": {"gpu-l4": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
        "tolerations": [{"key": "team", "operator": "Equal", "value": "nlp", "effect": "NoExecute"}],
        "secrets": {"HF_TOKEN": "hub-login/token"},
        "image_pull_secrets": ["registry"],
        "cache_claim": "hub-cache",
        "spot_labels": {"pool": "cheap"},
        "spot_retries": 2,
    }
    file.write_text(yaml.safe_dump(content))
    monkeypatch.setenv(CLUSTER_VARIABLE, str(file))
    spec, settings = compiled(tmp_path, "train_and_evaluate", "gpu-l4-spot")
    for label, each in settings.items():
        assert secrets(each) == {"HF_TOKEN": ("hub-login", "token")}
        assert [pulled.secret_name for pulled in each.image_pull_secret] == ["registry"]
        assert [(mount.constant, mount.mount_path) for mount in each.pvc_mount] == [("hub-cache", CACHE_PATH)]
        assert {"name": "HF_HOME", "value": CACHE_PATH} in containers(spec)[label]["env"]
    training = settings["exec-finetune"]
    assert dict(training.node_selector.labels) == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert tolerations(training) == [("team", "Equal", "nlp", "NoExecute"), ("pool", "Equal", "cheap", "NoSchedule")]
    assert [term.key for each in training.node_affinity for term in each.match_expressions] == ["pool"]
    assert containers(spec)["exec-finetune"]["resources"]["accelerator"]["resourceType"] == "amd.com/gpu"
    assert spec["root"]["dag"]["tasks"]["finetune"]["retryPolicy"]["maxRetryCount"] == 2


def test_what_a_pipeline_says_itself_stays_and_compiling_again_changes_nothing(tmp_path):
    spec, settings = compiled(tmp_path, f"{OWN}:with_settings", "gpu-l4-spot")
    training = settings["exec-finetune"]
    assert secrets(training)["HF_TOKEN"] == ("mine", "key") and set(secrets(training)) == set(VARIABLES)
    assert [(mount.mount_path, mount.size_limit) for mount in training.empty_dir_mounts] == [("/dev/shm", "1Gi")]
    assert dict(training.node_selector.labels) == {"nvidia.com/gpu.product": "NVIDIA-L40S"}
    assert spec["root"]["dag"]["tasks"]["finetune"]["retryPolicy"]["maxRetryCount"] == 1
    first, again = tmp_path / "gpu-l4-spot-kubeflow.yaml", tmp_path / "again.yaml"
    write_pipeline(str(first), "kubeflow", again, "gpu-l4-spot")
    assert list(yaml.safe_load_all(again.read_text())) == list(yaml.safe_load_all(first.read_text()))


def test_images_of_others_get_no_secret(tmp_path):
    _, settings = compiled(tmp_path, f"{TOYS}:toy_cloud")
    assert settings == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("gpus: 1", "give a file of gpu_resource, gpu_label"),
        ("- 1", "give a file of gpu_resource"),
        ("{", "it cannot be read"),
        ("cache_claim: 1", "cache_claim=1: give a str"),
        ("secrets: {HF_TOKEN: hf_verysecret}", "secrets='HF_TOKEN': give VARIABLE: SECRET/KEY"),
        ("secrets: [HF_TOKEN]", "give a dict"),
        ("image_pull_secrets: [My Secret]", "give the name of a Kubernetes object"),
        ("tolerations: [{taint: x}]", "give effect, key, operator, value"),
        ("node_selectors: {gpu-l5: {a: b}}", "node_selectors='gpu-l5'"),
        ("spot_retries: -1", "spot_retries=-1"),
    ],
)
def test_what_no_cluster_has_is_refused(tmp_path, monkeypatch, content, told):
    file = tmp_path / "cluster.yaml"
    file.write_text(content)
    monkeypatch.setenv(CLUSTER_VARIABLE, str(file))
    with pytest.raises(ArgumentError, match=told) as caught:
        cluster()
    assert "verysecret" not in str(caught.value)


def test_a_file_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv(CLUSTER_VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(ArgumentError, match=r"HFPC_CLUSTER=.*it cannot be read"):
        cluster()
