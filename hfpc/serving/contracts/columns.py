"""Responses as columns of plain values, for formats that hold no lists of objects."""

import json
from collections.abc import Sequence
from typing import Any

WHOLE = "response"
"""Name of the column that holds the response itself, as JSON."""


def columns(responses: Sequence[Any]) -> dict[str, list[Any]]:
    """Name of a column to its values, one for each response.

    Labels that are ranked by score give the columns `label` and `score`, of the best. An object of plain
    values gives a column for each. Anything else, such as a list of entities, cannot be cut down without
    loss and gives the column `response`, which holds it as JSON.
    """
    rows = [_fields(response) for response in responses]
    names = rows[0].keys() if rows else set()
    if not names or any(row.keys() != names for row in rows):
        return {WHOLE: [as_json(response) for response in responses]}
    return {name: [row[name] for row in rows] for name in names}


def as_json(response: Any) -> str:
    """A response as JSON, in one line."""
    return json.dumps(response, ensure_ascii=False, separators=(",", ":"))


def _fields(response: Any) -> dict[str, Any]:
    """The plain values that stand for a response, by name; none where they cannot."""
    chosen = response[0] if _is_ranking(response) else response
    if not isinstance(chosen, dict) or not all(isinstance(value, str | int | float) for value in chosen.values()):
        return {}
    return chosen


def _is_ranking(response: Any) -> bool:
    """Whether it is the Hub's shape of a classification: labels with their scores, best first."""
    return (
        isinstance(response, list)
        and bool(response)
        and all(isinstance(item, dict) and item.keys() == {"label", "score"} for item in response)
    )
