"""Loading a model folder into the engine that answers for its task, warm."""

import contextlib
from pathlib import Path
from typing import Any

from hfpc import golden
from hfpc.errors import DataError
from hfpc.inference.plain_model import manifest_of
from hfpc.serving.engine import Engine, PredictionEngine
from hfpc.serving.generation import GenerationEngine
from hfpc.serving.limits import Limits
from hfpc.serving.telemetry import Telemetry

_WARM_UP = "Hello"
_WARM_UP_TOKENS = 2
"""Tokens of each generation to warm up: the first comes of reading the prompt, the next as all others do."""


def engine_for(folder: Path, limits: Limits, telemetry: Telemetry) -> Engine:
    """The engine of a model folder; it has answered the golden requests, or one short input where there are none.

    Args:
        folder: A model folder, with `hfpc.json` or plain.
        limits: What the engine accepts at most.
        telemetry: Counts its batches and tokens.

    Raises:
        DataError: It is no model folder.
        ModelError: It does not load, or is for no task that can be served.
    """
    inputs: list[Any] = [_WARM_UP]
    with contextlib.suppress(DataError):
        inputs = [request["inputs"] for request in golden.read(folder)]
    if manifest_of(folder).task == GenerationEngine.task:
        from hfpc.inference.generator import Generator

        generator = Generator(folder)
        generator.respond(inputs, {"max_new_tokens": _WARM_UP_TOKENS})
        return GenerationEngine(generator, limits, telemetry.count_tokens)
    from hfpc.inference.predictor import Predictor

    predictor = Predictor(folder)
    predictor.respond(inputs)
    return PredictionEngine(predictor, limits, telemetry.count_batch)
