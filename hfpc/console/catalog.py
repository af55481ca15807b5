"""The components and pipelines of this package, found without importing kfp."""

import ast
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hfpc.errors import ArgumentError

KINDS = {"components": "component.py", "pipelines": "pipeline.py"}


def names(kind: str) -> list[str]:
    """Names of all "components" or "pipelines", in alphabetical order."""
    return sorted(file.parent.name for file in _folder(kind).glob(f"*/{KINDS[kind]}"))


def description(kind: str, name: str) -> str:
    """What a component or pipeline does: its docstring, read from its source, up to its arguments."""
    tree = ast.parse((_folder(kind) / name / KINDS[kind]).read_text("utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(function) or "").partition("\nArgs:")[0].strip()


def kind_of(name: str) -> str:
    """Whether a name is one of the "components" or "pipelines".

    Raises:
        ArgumentError: There is nothing of this name.
    """
    for kind in KINDS:
        if name in names(kind):
            return kind
    from hfpc.submit.parameters import unknown

    every = [name for kind in KINDS for name in names(kind)]
    raise ArgumentError("name", name, unknown(name, every, "there is no such component or pipeline"))


def spec(name: str) -> dict[str, Any]:
    """What a component or pipeline compiles to: the YAML beside it where there is one.

    Raises:
        ArgumentError: There is nothing of this name.
    """
    import yaml

    kind = kind_of(name)
    compiled = _folder(kind) / name / "component.yaml"
    if compiled.exists():
        text = compiled.read_text("utf-8")
    else:
        from hfpc.submit.compile import compile_component, compile_pipeline

        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "compiled.yaml"
            if kind == "components":
                compile_component(name, file)
            else:
                compile_pipeline(name, "vertex", file)
            text = file.read_text("utf-8")
    content: dict[str, Any] = next(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return content


def _folder(kind: str) -> Path:
    found = importlib.util.find_spec(f"hfpc.{kind}")
    assert found and found.submodule_search_locations
    return Path(found.submodule_search_locations[0])
