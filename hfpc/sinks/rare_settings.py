"""Rare settings of a component, which it takes in `extra`."""

from collections.abc import Mapping
from typing import Any

from hfpc.errors import ArgumentError


def rare_settings(extra: Mapping[str, Any], known: Mapping[str, type], argument: str = "extra") -> dict[str, Any]:
    """The settings in `extra`, with the numbers in the type that is wanted: JSON knows one only.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    settings = {}
    for name, value in extra.items():
        if name not in known:
            raise ArgumentError(argument, {name: value}, f"known are {', '.join(sorted(known))}")
        wanted = known[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (wanted is float or (wanted is int and value == int(value))):
            value = wanted(value)
        if not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool):
            # What should be a dictionary may hold values of environment variables.
            shown = type(value).__name__ if wanted is dict else value
            raise ArgumentError(argument, {name: shown}, f"give {wanted.__name__} for {name}")
        settings[name] = value
    return settings
