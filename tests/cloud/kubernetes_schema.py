"""The definitions that objects are checked against, as an API server checks them against a CRD."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parent / "kubernetes_schemas"
_OWN = {"apiVersion", "kind", "metadata", "status"}


def known(plural: str) -> bool:
    """Whether there is a definition of a kind."""
    return (FOLDER / f"{plural}.yaml").is_file()


def invalid(plural: str, body: dict[str, Any]) -> str:
    """What is wrong with an object, as far as its fields are known; "" for nothing."""
    errors = sorted(_validator(plural).iter_errors(body), key=lambda each: list(map(str, each.absolute_path)))
    return "; ".join(f"{'.'.join(map(str, each.absolute_path))}: {each.message}" for each in errors)


def unknown_fields(plural: str, body: dict[str, Any]) -> list[str]:
    """The fields of an object that its definition does not have."""
    fields = {key: value for key, value in body.items() if key not in _OWN}
    return list(_unknown(_schema(plural), fields, ""))


def _unknown(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if isinstance(value, list) and "items" in schema:
        return [
            each for number, item in enumerate(value) for each in _unknown(schema["items"], item, f"{path}[{number}]")
        ]
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return []
    properties = schema.get("properties", {})
    found = [f"{path}.{key}".lstrip(".") for key in value if key not in properties]
    for key in value.keys() & properties.keys():
        found += _unknown(properties[key], value[key], f"{path}.{key}")
    return sorted(found)


@cache
def _schema(plural: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{plural}.yaml").read_text(encoding="utf-8"))
    return content


@cache
def _validator(plural: str) -> Draft202012Validator:
    schema = _schema(plural)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
