"""Components and pipelines to pipeline-spec YAML, for Vertex AI Pipelines or Kubeflow Pipelines."""

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.find import definition

TARGETS = ("vertex", "kubeflow")


def compile_component(name: str, path: Path) -> None:
    """Writes the YAML of a component, which every target takes.

    Args:
        name: Name of the component, e.g. "finetune".
        path: YAML file to write; its folder is made.

    Raises:
        ArgumentError: There is no such component.
    """
    components = import_module("hfpc.components")
    if name not in components.__all__:
        raise ArgumentError("name", name, f"give one of {', '.join(components.__all__)}")
    _compile(getattr(components, name), path)


def compile_pipeline(name: str, target: str, path: Path) -> None:
    """Writes the YAML of a pipeline.

    Args:
        name: A name in `hfpc.pipelines`, e.g. "finetune_local", or `file.py:function`.
        target: "vertex" or "kubeflow". A file for Vertex is one YAML document.
        path: YAML file to write; its folder is made.

    Raises:
        ArgumentError: There is no such pipeline or target.
        HfpcError: The pipeline has Kubernetes settings, which Vertex cannot load.
    """
    if target not in TARGETS:
        raise ArgumentError("target", target, f"give one of {', '.join(TARGETS)}")
    if name.endswith((".yaml", ".yml")):
        raise ArgumentError("name", name, "it is compiled already; give a pipeline's name or file.py:function")
    pipeline = definition(name)
    # Kubernetes settings (secrets, volumes, workspaces) become a second YAML document.
    if target == "vertex" and pipeline.platform_spec.platforms:
        raise HfpcError(
            f"{name} has Kubernetes settings, and Vertex AI Pipelines loads a single YAML document only: "
            "compile it with --target kubeflow, or leave the kfp-kubernetes calls out"
        )
    _compile(pipeline, path)
    if target == "vertex" and len(list(yaml.safe_load_all(path.read_text("utf-8")))) != 1:
        raise HfpcError(f"{path} holds more than one YAML document, which Vertex AI Pipelines cannot load")


def compile_all(target: str, folder: Path) -> list[Path]:
    """Writes every component and pipeline for a target, and returns the files."""
    files = []
    for name in import_module("hfpc.components").__all__:
        files.append(folder / "components" / f"{name}.yaml")
        compile_component(name, files[-1])
    for name in import_module("hfpc.pipelines").__all__:
        files.append(folder / "pipelines" / f"{name}.yaml")
        compile_pipeline(name, target, files[-1])
    return files


def _compile(compilable: Any, path: Path) -> None:
    from kfp import compiler

    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(compilable, str(path))
