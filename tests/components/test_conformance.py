"""What every component must keep to, whoever wrote it."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import components as kfp_components
from kfp.pipeline_spec import pipeline_spec_pb2

from hfpc import components, images, pipelines
from hfpc.submit.compile import TARGETS, compile_component, compile_pipeline

FOLDER = Path(components.__file__).parent
MOST_PARAMETERS = 13
MOST_LINES = 115  # docstring included: what fits on one tall screen


def source(name: str) -> str:
    return (FOLDER / name / "component.py").read_text("utf-8")


def spec(name: str) -> dict:
    return yaml.safe_load((FOLDER / name / "component.yaml").read_text("utf-8"))


def test_every_folder_is_a_component():
    assert sorted(path.parent.name for path in FOLDER.glob("*/component.py")) == sorted(components.__all__)


@pytest.mark.parametrize("name", components.__all__)
def test_is_named_like_its_folder_and_module(name):
    assert getattr(components, name).python_func.__name__ == name
    assert spec(name)["pipelineInfo"]["name"] == name.replace("_", "-")


@pytest.mark.parametrize("name", components.__all__)
def test_describes_itself_and_everything_it_takes_and_gives(name):
    definition = spec(name)
    assert inspect.getdoc(getattr(components, name).python_func)
    described = 0
    for side in ("inputDefinitions", "outputDefinitions"):
        for kind in definition["root"].get(side, {}).values():
            for argument, item in kind.items():
                assert item.get("description"), f"{name}.{argument} has no description"
                described += 1
    assert described


@pytest.mark.parametrize("name", components.__all__)
def test_fits_on_a_screen(name):
    signature = inspect.signature(getattr(components, name).python_func)
    plain = [p for p in signature.parameters.values() if not str(p.annotation).startswith("typing.Annotated")]
    assert len(plain) <= MOST_PARAMETERS, [p.name for p in plain]
    assert len(source(name).splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", components.__all__)
def test_runs_from_the_images_table_and_installs_nothing(name):
    container = next(iter(spec(name)["deploymentSpec"]["executors"].values()))["container"]
    assert container["image"] == images.CPU
    assert "pip install" not in " ".join(container["command"])


@pytest.mark.parametrize("name", components.__all__)
def test_imports_only_kfp_typing_and_images_at_the_top_and_one_room_inside(name):
    tree = ast.parse(source(name))
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert top <= {"kfp", "kfp.dsl", "typing", "hfpc", "hfpc.submit.google_artifacts"}, top
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    inner = {node.module for node in ast.walk(function) if isinstance(node, ast.ImportFrom)}
    rooms = {module for module in inner if module.startswith("hfpc")} - {"hfpc.sinks.artifact_uri"}
    assert len(rooms) == 1, rooms
    assert inner - rooms <= {"pathlib", "hfpc.sinks.artifact_uri"}


@pytest.mark.parametrize("name", components.__all__)
def test_committed_yaml_loads_and_is_a_valid_pipeline_spec(name):
    file = FOLDER / name / "component.yaml"
    assert kfp_components.load_component_from_file(str(file)).name == name.replace("_", "-")
    json_format.ParseDict(spec(name), pipeline_spec_pb2.PipelineSpec())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*components.__all__, *pipelines.__all__])
def test_compiles_for_every_target(name, target, tmp_path):
    file = tmp_path / f"{name}.yaml"
    if name in components.__all__:
        compile_component(name, file)
    else:
        compile_pipeline(name, target, file)
    documents = list(yaml.safe_load_all(file.read_text("utf-8")))
    if target == "vertex":
        assert len(documents) == 1
    json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    kfp_components.load_component_from_file(str(file))


@pytest.mark.slow
def test_vertex_sdk_loads_every_pipeline(tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    for name in pipelines.__all__:
        file = tmp_path / f"{name}.yaml"
        compile_pipeline(name, "vertex", file)
        job = aiplatform.PipelineJob(
            display_name=name,
            template_path=str(file),
            pipeline_root="gs://bucket/root",
            project="project",
            location="europe-west4",
            credentials=AnonymousCredentials(),
        )
        assert job.pipeline_spec["pipelineInfo"]["name"] == name.replace("_", "-")


def test_every_task_of_a_pipeline_has_a_display_name(tmp_path):
    for name in pipelines.__all__:
        file = tmp_path / f"{name}.yaml"
        compile_pipeline(name, "vertex", file)
        compiled = yaml.safe_load(file.read_text("utf-8"))
        dags = [compiled["root"]] + [item for item in compiled["components"].values() if "dag" in item]
        for dag in dags:
            for task_name, task in dag["dag"]["tasks"].items():
                assert task["taskInfo"]["name"] != task_name, f"{name}: {task_name} has no display name"


def test_all_logic_imports_inside_a_running_component():
    """There `_KFP_RUNTIME` is set, and kfp's decorators do not exist."""
    root = Path(importlib.import_module("hfpc").__file__).parent
    modules = [
        "hfpc." + ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] not in ("submit", "cli.py", "__init__.py", "components", "pipelines")
    ]
    assert len(modules) > 20
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print('kfp' in sys.modules)"
    environment = {"_KFP_RUNTIME": "true"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
