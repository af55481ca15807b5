"""A pipeline's parameters: from text to their types, and checked before anything starts."""

import ast
import difflib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any

from hfpc.errors import ArgumentError
from hfpc.submit.graph import Graph, Spec, Step, Value

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def resolve(spec: Spec, given: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a pipeline in the types of its signature, defaults included.

    Args:
        spec: The pipeline spec as a dictionary.
        given: Parameter name to value, or to the text of a value: `"1e-4"`, `"true"`,
            `"negative,positive"` or JSON for a list, JSON for a dictionary.

    Raises:
        ArgumentError: A name is unknown, a value does not fit its type, or one is missing.
    """
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name in given:
        if name not in inputs:
            raise ArgumentError(name, given[name], unknown(name, inputs, "the pipeline has no such parameter"))
    values = {}
    for name, definition in sorted(inputs.items()):
        if name in given:
            values[name] = _typed(name, given[name], definition["parameterType"])
        elif "defaultValue" in definition:
            values[name] = _typed(name, definition["defaultValue"], definition["parameterType"])
    missing = [name for name, each in sorted(inputs.items()) if name not in values and not each.get("isOptional")]
    if missing:
        others = "".join(f", to {name}" for name in missing[1:])
        raise ArgumentError(missing[0], None, f"the pipeline needs this parameter; give a value to it{others}")
    return values


def unknown(name: str, valid: Iterable[str], what: str) -> str:
    """A fix for a name that does not exist: the closest valid one, else all of them."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"{what}; did you mean {close[0]}?" if close else f"{what}; valid are {', '.join(sorted(valid)) or 'none'}"


def check(graph: Graph) -> None:
    """Builds every step's configuration from what is known of it, so that it validates itself now.

    A component's function is called with a configuration, a dataclass named after it
    (`finetune`, `FinetuneConfig`), which refuses values that cannot work. Inputs that only an
    earlier task makes are left to the run.

    Raises:
        ArgumentError: Names the pipeline's parameter, where the value comes from one.
    """
    composed: list[ArgumentError] = []
    for step in graph.steps:
        config = _config_class(step)
        if config is None:
            continue
        names = {field.name for field in fields(config)} & {name for name, value in step.inputs.items() if value.known}
        needed = {f.name for f in fields(config) if f.default is MISSING and f.default_factory is MISSING}
        if not needed <= names:
            continue
        try:
            config(**{name: step.inputs[name].value for name in names}, **_rare_settings(step, config))
        except ArgumentError as error:
            given = step.inputs.get(error.argument, Value())
            told = ArgumentError(given.origin or error.argument, error.value, error.fix)
            # Of f"{name}@champion", the step that takes `name` itself can say more.
            if given.origin and given.value != graph.parameters[given.origin]:
                composed.append(told)
                continue
            raise told from error
    if composed:
        raise composed[0]


def _config_class(step: Step) -> Any:
    """The configuration that a component's function imports, or None."""
    return _imported(step, "".join(word.capitalize() for word in step.function.split("_")) + "Config")


def _rare_settings(step: Step, config: Any) -> dict[str, Any]:
    """The settings that a component's function makes of `extra`, where the configuration does not take that itself."""
    extra, settings_of = step.inputs.get("extra", Value()), _imported(step, "extra_settings")
    if settings_of is None or not extra.known or "extra" in {field.name for field in fields(config)}:
        return {}
    settings: dict[str, Any] = settings_of(extra.value)
    return settings


def _imported(step: Step, wanted: str) -> Any:
    """What a component's function imports under a name; None where it does not."""
    for node in ast.walk(ast.parse(step.source)):
        if isinstance(node, ast.ImportFrom) and wanted in (alias.name for alias in node.names):
            return getattr(import_module(str(node.module)), wanted)
    return None


def _typed(name: str, value: Any, kind: str) -> Any:
    convert, fix = _TYPES[kind]
    try:
        return convert(value)
    except (ValueError, TypeError, OverflowError):
        raise ArgumentError(name, value, fix) from None


def _integer(value: Any) -> int:
    number = float(value) if not isinstance(value, bool) else math.nan
    if number != int(number):
        raise ValueError
    return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(number)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in _TRUE + _FALSE:
        raise ValueError
    return str(value).lower() in _TRUE


def _text(value: Any) -> str:
    if isinstance(value, dict | list | bool) or value is None:
        raise ValueError
    return str(value)


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = (
            json.loads(value) if value.lstrip().startswith("[") else [item.strip() for item in value.split(",") if item]
        )
    if not isinstance(value, list | tuple):
        raise ValueError
    return list(value)


def _dictionary(value: Any) -> dict[str, Any]:
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError
    return value


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "STRING": (_text, "give text"),
    "NUMBER_INTEGER": (_integer, "give a whole number"),
    "NUMBER_DOUBLE": (_number, "give a number"),
    "BOOLEAN": (_boolean, "give true or false"),
    "LIST": (_list, "give items with commas between them, or a JSON list"),
    "STRUCT": (_dictionary, 'give a JSON object, e.g. {"text": "tweet"}'),
}
