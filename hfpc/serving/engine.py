"""What answers the requests of a served model, behind every contract."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hfpc.errors import ArgumentError
from hfpc.serving.batching import Batch, Batcher
from hfpc.serving.limits import Limits

if TYPE_CHECKING:
    import numpy as np

    from hfpc.inference.predictor import Predictor
    from hfpc.tasks import Rows

_INLINE_CHARACTERS = 4000
"""Longest inputs that are tokenized in the event loop: a millisecond's work, less than handing it over costs."""


class Engine(Protocol):
    """A warm model that answers requests."""

    task: str
    """The Hub's name of the task."""

    nests_single_response: bool
    """Whether the Hub's clients expect the response to one input in a list of one."""

    async def respond(self, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """A response for each input, in the shape of the Hub's specification of the task.

        Raises:
            ArgumentError: An input or a parameter cannot be used.
            RefusedError: There is no room in the queue, or no answer in time.
        """

    def stream(self, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The parts of the response to one input, as they are made.

        Raises:
            ArgumentError: The task has no such parts, or an input or a parameter cannot be used.
            RefusedError: There is no room in the queue, or no answer in time.
        """

    @property
    def waiting(self) -> int:
        """Inputs that wait to be computed."""

    def close(self) -> None:
        """Is called when another model has taken its place; what it was asked before is still answered."""


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A warm model, and what it is called.

    Attributes:
        engine: Answers its requests.
        name: What it is called: `NAME@ALIAS`, `NAME@VERSION`, or the name of its folder.
        version: Its version in the registry; "" for a folder.
        fingerprint: SHA-256 of its files.
    """

    engine: Engine
    name: str
    version: str
    fingerprint: str


class PredictionEngine:
    """Answers with a `Predictor`, whose forward passes concurrent requests share. See `Engine`.

    Args:
        predictor: The model.
        limits: What it accepts at most.
        observe: Is told of each batch.
    """

    def __init__(self, predictor: "Predictor", limits: Limits, observe: Callable[[Batch], None]) -> None:
        self.predictor = predictor
        self.task = predictor.task.name
        self.nests_single_response = predictor.task.nests_single_response
        # One thread: encoding long inputs may not take the cores from the model.
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._batcher = Batcher(
            predictor.forward,
            workers=predictor.workers,
            tokens_per_batch=predictor.tokens_per_batch,
            queue=limits.queue,
            window=limits.window_ms / 1000,
            observe=observe,
        )

    async def respond(self, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """A response for each input, in the shape of the Hub's specification of the task.

        Raises:
            ArgumentError: An input or a parameter cannot be used.
            RefusedError: There is no room in the queue.
        """
        run = _at_once if _characters(inputs) <= _INLINE_CHARACTERS else self._in_thread
        rows, encoded = await run(self._encode, inputs)
        logits = await self._batcher.submit(encoded)
        responses: list[Any] = await run(self._responses, rows, encoded, logits, parameters)
        return responses

    def stream(self, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> AsyncIterator[Any]:
        """No part of a response is there before the others."""
        raise ArgumentError("stream", True, f"a response of {self.task} is made at once: leave it out")

    @property
    def waiting(self) -> int:
        """Inputs that wait to be computed."""
        return self._batcher.waiting

    def close(self) -> None:
        """Nothing to do: its threads end when the last request that holds it is answered."""

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._encoding, function, *arguments)

    def _encode(self, inputs: Sequence[Any]) -> tuple["Rows", list[dict[str, Any]]]:
        rows = self.predictor.task.parse(inputs)
        return rows, self.predictor.encode(rows)

    def _responses(
        self, rows: "Rows", encoded: list[dict[str, Any]], logits: list["np.ndarray"], parameters: Mapping[str, Any]
    ) -> list[Any]:
        decode = self.predictor.task.decode
        predictions = [decode(row_logits, row) for row_logits, row in zip(logits, encoded, strict=True)]
        return self.predictor.responses(rows, predictions, parameters)


async def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _characters(inputs: Sequence[Any]) -> int:
    """About how long inputs are, whatever they are."""
    return sum(len(item) if isinstance(item, str) else len(repr(item)) for item in inputs)
