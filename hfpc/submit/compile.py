"""Components and pipelines to pipeline-spec YAML, for Vertex AI Pipelines or Kubeflow Pipelines."""

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.find import definition
from hfpc.submit.kubernetes import with_kubernetes
from hfpc.submit.placement import place
from hfpc.submit.profiles import Profile, find_profile

TARGETS = ("vertex", "kubeflow")


def compile_component(name: str, path: Path) -> None:
    """Writes the YAML of a component, which every target takes.

    Args:
        name: Name of the component, e.g. "finetune".
        path: YAML file to write; its folder is made.

    Raises:
        ArgumentError: There is no such component, or the file cannot be written.
    """
    components = import_module("hfpc.components")
    if name not in components.__all__:
        raise ArgumentError("name", name, f"give one of {', '.join(components.__all__)}")
    _write(getattr(components, name), path)


def compile_pipeline(name: str, target: str, path: Path, profile: str = "cpu") -> None:
    """Writes the YAML of a pipeline.

    Args:
        name: A name in `hfpc.pipelines`, e.g. "finetune_local", or `file.py:function`.
        target: "vertex" or "kubeflow". A file for Vertex is one YAML document.
        path: YAML file to write; its folder is made.
        profile: The machines that its step `finetune` is for; see `hfpc.submit.profiles`.

    Raises:
        ArgumentError: There is no such pipeline, target or profile, they do not go together, or the file cannot be
            written.
        HfpcError: The pipeline has Kubernetes settings, which Vertex cannot load.
        MissingExtraError: The profile needs the extra `google`, which is not installed.
    """
    if name.endswith((".yaml", ".yml")):
        raise ArgumentError("name", name, "it is compiled already; give a pipeline's name or file.py:function")
    write_pipeline(name, target, path, profile)


def write_pipeline(pipeline: str, target: str, path: Path, profile: str = "cpu") -> None:
    """Writes the YAML that is submitted: of what `compile_pipeline` takes, or of a pipeline that is compiled already.

    Args:
        pipeline: A name in `hfpc.pipelines`, `file.py:function`, or a compiled YAML file.
        target: "vertex" or "kubeflow".
        path: YAML file to write.
        profile: The machines that its step `finetune` is for.

    Raises:
        ArgumentError: There is no such pipeline, target or profile, or they do not go together.
        HfpcError: The pipeline has Kubernetes settings, which Vertex cannot load.
    """
    if target not in TARGETS:
        raise ArgumentError("target", target, f"give one of {', '.join(TARGETS)}")
    machines = find_profile(profile)
    compilable = definition(pipeline)
    if target == "vertex":
        _check_single_document(pipeline, compilable)
    _write(compilable, path, machines, target)
    if target == "vertex" and len(list(yaml.safe_load_all(path.read_text("utf-8")))) != 1:
        raise HfpcError(f"{path} holds more than one YAML document, which Vertex AI Pipelines cannot load")


def check_compiled(file: Path) -> None:
    """Refuses a file that Vertex AI Pipelines could not load.

    Raises:
        ArgumentError: It is no compiled pipeline.
        HfpcError: It has Kubernetes settings.
    """
    _check_single_document(str(file), definition(str(file)))


def _check_single_document(name: str, pipeline: Any) -> None:
    # Kubernetes settings (secrets, volumes, workspaces) become a second YAML document.
    if pipeline.platform_spec.platforms:
        raise HfpcError(
            f"{name} has Kubernetes settings, and Vertex AI Pipelines loads a single YAML document only: "
            "compile it with --target kubeflow, or leave the kfp-kubernetes calls out"
        )


def compile_all(target: str, folder: Path, profile: str = "cpu") -> list[Path]:
    """Writes every component, and every pipeline for a target and a profile; returns the files."""
    files = []
    for name in import_module("hfpc.components").__all__:
        files.append(folder / "components" / f"{name}.yaml")
        compile_component(name, files[-1])
    for name in import_module("hfpc.pipelines").__all__:
        files.append(folder / "pipelines" / f"{name}.yaml")
        compile_pipeline(name, target, files[-1], profile)
    return files


def _write(compilable: Any, path: Path, profile: Profile | None = None, target: str = "vertex") -> None:
    from kfp import compiler

    if path.suffix != ".yaml":
        raise ArgumentError("output", str(path), "give a file that ends with .yaml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError("output", str(path), f"give a file in a folder that can be made ({error})") from error
    if profile is None or (target == "vertex" and not profile.machine_type):
        compiler.Compiler().compile(compilable, str(path))
        return
    from google.protobuf import json_format  # type: ignore[import-untyped]
    from kfp.compiler.pipeline_spec_builder import write_pipeline_spec_to_file
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

    placed = place(json_format.MessageToDict(compilable.pipeline_spec), profile, target)
    spec, platforms = placed.spec, json_format.MessageToDict(compilable.platform_spec)
    if target == "kubeflow":
        spec, platforms = with_kubernetes(spec, platforms, profile, placed.executors)
    whole = json_format.ParseDict(spec, PipelineSpec())
    document = json_format.ParseDict(platforms, type(compilable.platform_spec)())
    write_pipeline_spec_to_file(whole, compilable.description, document, str(path))
