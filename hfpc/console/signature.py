"""Inputs and outputs of a component or pipeline, from what it compiles to."""

import json
from typing import Any

_TYPES = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
}
REQUIRED = "required"

Row = tuple[str, ...]


def inputs(spec: dict[str, Any]) -> list[Row]:
    """Name, type, default (or `REQUIRED`) and description of each input, the required ones first."""
    rows = [(name, _type(item), _default(item), _words(item)) for name, item in _items(spec, "inputDefinitions")]
    return sorted(rows, key=lambda row: row[2] != REQUIRED)


def outputs(spec: dict[str, Any]) -> list[Row]:
    """Name, type and description of each output."""
    return [(name, _type(item), _words(item)) for name, item in _items(spec, "outputDefinitions")]


def _items(spec: dict[str, Any], side: str) -> list[tuple[str, dict[str, Any]]]:
    definitions = spec["root"].get(side, {})
    return [*definitions.get("artifacts", {}).items(), *definitions.get("parameters", {}).items()]


def _type(item: dict[str, Any]) -> str:
    if "artifactType" in item:
        return str(item["artifactType"]["schemaTitle"].rpartition(".")[2])
    return _TYPES[item["parameterType"]]


def _default(item: dict[str, Any]) -> str:
    if "defaultValue" not in item:
        return "none" if item.get("isOptional") else REQUIRED
    value = item["defaultValue"]
    return json.dumps(int(value) if item["parameterType"] == "NUMBER_INTEGER" else value)


def _words(item: dict[str, Any]) -> str:
    return " ".join(item.get("description", "").split())
