"""What is compiled loads where it is meant to run."""

import pytest
import yaml
from google.protobuf import json_format
from kfp import components, dsl
from kfp.pipeline_spec import pipeline_spec_pb2

from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.compile import TARGETS, compile_all, compile_component, compile_pipeline


@pytest.mark.parametrize("target", TARGETS)
def test_every_file_is_a_valid_pipeline_spec_that_kfp_loads(target, tmp_path):
    files = compile_all(target, tmp_path)
    assert len(files) > 10
    for file in files:
        components.load_component_from_file(str(file))
        documents = list(yaml.safe_load_all(file.read_text()))
        json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        for settings in documents[1:]:
            json_format.ParseDict(settings, pipeline_spec_pb2.PlatformSpec())
        with_settings = target == "kubeflow" and file.parent.name == "pipelines"
        assert len(documents) == (2 if with_settings else 1), file


def test_vertex_loads_the_pipelines(tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    compile_pipeline("finetune_local", "vertex", tmp_path / "pipeline.yaml")
    job = aiplatform.PipelineJob(
        display_name="test",
        template_path=str(tmp_path / "pipeline.yaml"),
        pipeline_root="gs://bucket/root",
        parameter_values={"epochs": 1.0},
        project="project",
        location="europe-west4",
        credentials=AnonymousCredentials(),
    )
    assert job.to_dict()["pipelineSpec"]["pipelineInfo"]["name"] == "finetune-local"


def test_a_pipeline_with_kubernetes_settings_is_refused_for_vertex(tmp_path, monkeypatch):
    from hfpc import pipelines

    @dsl.component(base_image="python", install_kfp_package=False)
    def step():
        pass

    workspace = dsl.WorkspaceConfig(size="1Gi", kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={}))

    @dsl.pipeline(pipeline_config=dsl.PipelineConfig(workspace=workspace))
    def with_workspace():
        step()

    monkeypatch.setattr(pipelines, "__all__", ["with_workspace"])
    monkeypatch.setattr(pipelines, "with_workspace", with_workspace, raising=False)
    with pytest.raises(HfpcError, match="Kubernetes settings"):
        compile_pipeline("with_workspace", "vertex", tmp_path / "vertex.yaml")
    compile_pipeline("with_workspace", "kubeflow", tmp_path / "kubeflow.yaml")
    assert len(list(yaml.safe_load_all((tmp_path / "kubeflow.yaml").read_text()))) == 2


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(ArgumentError, match="load_dataset"):
        compile_component("load_datset", tmp_path / "x.yaml")
    with pytest.raises(ArgumentError, match="finetune_local"):
        compile_pipeline("finetun", "vertex", tmp_path / "x.yaml")
    with pytest.raises(ArgumentError, match="vertex, kubeflow"):
        compile_pipeline("finetune_local", "sagemaker", tmp_path / "x.yaml")
    assert not list(tmp_path.iterdir())
