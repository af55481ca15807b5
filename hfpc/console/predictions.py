"""Predictions for reading."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console


def print_predictions(console: Console, inputs: Sequence[Any], responses: Sequence[Any]) -> None:
    """A line for each input: what was predicted, then the input."""
    answers = [answer(response) for response in responses]
    width = max(map(len, answers), default=0)
    for item, told in zip(inputs, answers, strict=True):
        console.print(f"{told:<{width}}  {item}", markup=False, highlight=False, soft_wrap=True)


def answer(response: Any) -> str:
    """A response of a task in few words: its best label, or its entities."""
    if isinstance(response, list) and all(isinstance(item, dict) and "score" in item for item in response):
        if all("word" in item for item in response):
            return ", ".join(f"{item['word']} ({_label(item)})" for item in response) or "nothing found"
        return _label(max(response, key=lambda item: float(item["score"])))
    if isinstance(response, dict) and "generated_text" in response:
        return str(response["generated_text"])
    return json.dumps(response, ensure_ascii=False)


def _label(item: dict[str, Any]) -> str:
    name = item.get("label") or item.get("entity_group") or item.get("entity")
    return f"{name} {item['score']:.1%}"
