"""The placeholders in the paths of routes: `{name}` and `{version}` of the model that is meant."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel


def values(model: "ServedModel") -> dict[str, list[str]]:
    """What each placeholder may be: the model's name, with or without what follows its `@`; its version.

    A Hub id is not a part of a path: there the name is what follows the owner.
    """
    short = model.name.partition("@")[0].rpartition("/")[2]
    return {
        "name": [short] if "/" in model.name else list(dict.fromkeys([model.name, short])),
        "version": [model.version] if model.version else [],
    }


def check(path: Mapping[str, str], model: "ServedModel") -> None:
    """Refuses a path that means another model.

    Args:
        path: Placeholder to its value.
        model: The model that is served.

    Raises:
        RefusedError: A value is none of those that there are.
    """
    for placeholder, allowed in values(model).items():
        if placeholder in path and path[placeholder] not in allowed:
            there = " or ".join(map(repr, allowed)) or f"a route without /versions, as the model has no {placeholder}"
            raise RefusedError(404, f"no model of {placeholder} {path[placeholder]!r} is served here: ask for {there}")
