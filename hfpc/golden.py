"""Golden requests: a few inputs kept with a model, with the answers it gave when it was made.

Whatever serves the model must give the same labels. Scores may differ in the last digits between
machines and runtimes, so they are kept for reading but not compared.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfpc.errors import DataError
from hfpc.tasks import Task

FILE_NAME = "golden.json"
INPUTS_FILE_NAME = "golden_inputs.json"


def write(folder: Path, inputs: Sequence[Any], responses: Sequence[Any]) -> None:
    """Writes `golden.json` into a model folder: one response for each input."""
    requests = [{"inputs": item, "response": response} for item, response in zip(inputs, responses, strict=True)]
    text = json.dumps(requests, indent=2, ensure_ascii=False)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def write_inputs(folder: Path, inputs: Sequence[Any]) -> None:
    """Writes the inputs that a model made from this tokenized folder will answer as golden requests."""
    text = json.dumps(list(inputs), indent=2, ensure_ascii=False)
    (folder / INPUTS_FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_inputs(folder: Path) -> list[Any]:
    """The inputs that `write_inputs` left in a tokenized folder."""
    inputs: list[Any] = json.loads((folder / INPUTS_FILE_NAME).read_text(encoding="utf-8"))
    return inputs


def read(folder: Path) -> list[dict[str, Any]]:
    """The golden requests of a model folder, each with `inputs` and `response`.

    Raises:
        DataError: The folder has none, or they cannot be read.
    """
    try:
        requests: list[dict[str, Any]] = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} has no {FILE_NAME}: fine-tune the model again to make its golden requests") from None
    except ValueError as error:
        raise DataError(f"{folder / FILE_NAME} cannot be read ({error}): fine-tune the model again") from error
    if not requests:
        raise DataError(f"{folder / FILE_NAME} holds no request: fine-tune the model on rows that have some")
    return requests


def differences(task: Task, requests: Sequence[dict[str, Any]], responses: Sequence[Any]) -> list[str]:
    """What is answered otherwise than when the model was made, a sentence each."""
    found = []
    for request, response in zip(requests, responses, strict=True):
        expected, given = task.answer(request["response"]), task.answer(response)
        if expected != given:
            found.append(f"{request['inputs']!r} gave {given!r}, but {expected!r} when the model was made")
    return found
