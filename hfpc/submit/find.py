"""A pipeline by its name, or the user's own by its file."""

import importlib.util
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.graph import Spec
from hfpc.submit.parameters import unknown


def find(pipeline: str) -> Spec:
    """The pipeline spec, as a dictionary in the form of its JSON.

    Args:
        pipeline: A name in `hfpc.pipelines`, a compiled YAML file, or `file.py:function`.

    Raises:
        ArgumentError: There is no such pipeline.
    """
    from google.protobuf import json_format  # type: ignore[import-untyped]

    spec: Spec = json_format.MessageToDict(definition(pipeline).pipeline_spec)
    return spec


def definition(pipeline: str) -> Any:
    """The pipeline as an object of kfp, from what `find` takes.

    Raises:
        ArgumentError: There is no such pipeline.
    """
    if pipeline.endswith((".yaml", ".yml")):
        return _compiled(Path(pipeline))
    if pipeline.endswith(".py"):
        raise ArgumentError("pipeline", pipeline, f"name the function too: {pipeline}:my_pipeline")
    if ".py:" in pipeline:
        path, _, function = pipeline.rpartition(":")
        return _function(Path(path), function)
    return _named(pipeline)


def _named(name: str) -> Any:
    pipelines = import_module("hfpc.pipelines")
    folder_name = name.replace("-", "_")
    if folder_name not in pipelines.__all__:
        fix = unknown(folder_name, pipelines.__all__, "there is no such pipeline")
        raise ArgumentError("pipeline", name, f"{fix} (or give a compiled .yaml, or file.py:function)")
    return getattr(pipelines, folder_name)


def _compiled(path: Path) -> Any:
    from kfp.components import load_component_from_file

    if not path.is_file():
        raise ArgumentError("pipeline", str(path), "there is no such file")
    try:
        return load_component_from_file(str(path))
    except Exception as error:  # kfp raises whatever its YAML and protobuf readers do
        raise ArgumentError("pipeline", str(path), f"it is not a compiled pipeline ({error})") from error


def _function(path: Path, function: str) -> Any:
    if not path.is_file():
        raise ArgumentError("pipeline", f"{path}:{function}", "there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.absolute()))  # as `python file.py` does, for what it imports
    try:
        spec.loader.exec_module(module)
    except HfpcError:
        raise
    except Exception as error:  # whatever is wrong in the user's file, and whatever kfp says of it
        raise ArgumentError("pipeline", f"{path}:{function}", _mistake(path, error)) from error
    finally:
        sys.path.pop(0)
    found = getattr(module, function, None)
    if not hasattr(found, "pipeline_spec"):
        pipelines = [name for name, value in vars(module).items() if hasattr(value, "pipeline_spec")]
        fix = unknown(function, pipelines, "the file has no such @dsl.pipeline function")
        raise ArgumentError("pipeline", f"{path}:{function}", fix)
    return found


def _mistake(path: Path, error: Exception) -> str:
    """What is wrong in a pipeline file, with the last of its own lines that led there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    kind, text = type(error).__name__, str(error)
    if isinstance(error, KeyError):
        text = f"there is no output {error}; `hfpc describe` lists those of a component"
    if "NUMBER_INTEGER is incompatible with type NUMBER_DOUBLE" in text:
        text += " (write a float as 1.0)"
    return f"line {line}: {kind}: {text}" if line else f"{kind}: {text}"
