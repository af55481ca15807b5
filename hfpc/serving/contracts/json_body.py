"""Reading JSON that strangers sent."""

import json
from typing import Any

from hfpc.serving.refusals import RefusedError

_DEEPEST = 64
"""Lists and objects inside each other. No task needs more, and code that walks them may not overflow its stack."""


def parse(body: bytes) -> Any:
    """The content of a JSON body.

    Raises:
        RefusedError: It is not JSON in UTF-8, or holds a number that no double can, or is nested too deep.
    """
    try:
        content = json.loads(body, parse_int=_integer)
        # What cannot be written back, NaN or half a surrogate pair, is not JSON, though Python reads it.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, OverflowError, RecursionError):
        raise RefusedError(400, "the body is not JSON in UTF-8") from None
    if _is_deep(content):
        raise RefusedError(400, f"the body has lists or objects inside each other, more than {_DEEPEST} of them")
    return content


def parameters(content: dict[str, Any], name: str = "parameters") -> dict[str, Any]:
    """The object of parameters in a request; none where it is missing or null.

    Raises:
        RefusedError: It is something else.
    """
    found = content.get(name)
    if found is not None and not isinstance(found, dict):
        raise RefusedError(400, f"{name} must be an object")
    return found or {}


def flag(content: dict[str, Any], name: str) -> bool:
    """A value of a request that is true or false; false where it is missing or null.

    Raises:
        RefusedError: It is something else.
    """
    value = content.get(name)
    if value is not None and not isinstance(value, bool):
        raise RefusedError(400, f"{name} must be true or false")
    return bool(value)


def event(content: Any) -> bytes:
    """A server-sent event with JSON in it."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _integer(digits: str) -> int:
    """The number; OverflowError beyond the range of a double, as it is an error for fractions."""
    value = int(digits)
    float(value)
    return value


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            child
            for item in level
            if isinstance(item, list | dict)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return any(isinstance(item, list | dict) for item in level)
