"""Reading JSON that strangers sent."""

import json
from typing import Any

from hfpc.serving.refusals import RefusedError


def parse(body: bytes) -> Any:
    """The content of a JSON body.

    Raises:
        RefusedError: It is not JSON in UTF-8.
    """
    try:
        content = json.loads(body)
        # What cannot be written back, NaN or half a surrogate pair, is not JSON, though Python reads it.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON in UTF-8") from None
    return content


def parameters(content: dict[str, Any], name: str = "parameters") -> dict[str, Any]:
    """The object of parameters in a request; none where it is missing or null.

    Raises:
        RefusedError: It is something else.
    """
    found = content.get(name) or {}
    if not isinstance(found, dict):
        raise RefusedError(400, f"{name} must be an object")
    return found
