"""Dynamic batching: inputs of concurrent requests that are of similar length share a forward pass.

Which input comes first is start-time fair queueing (Goyal, Vin and Cheng, 1996) by tokens: each
input starts after those before it in its own request, not after those of other requests that came
earlier. So a request of many long inputs takes turns with short ones that come while it is computed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hfpc.serving.refusals import overloaded

if TYPE_CHECKING:
    import numpy as np

_LEAST_FILL = 0.85
"""Least length of an input in a batch, as a share of the longest. On a CPU padding costs as much as content: with
0.5 a quarter of what is computed is padding, and a sixth fewer requests are answered (MiniLM in INT8, tweets)."""


@dataclass(eq=False, slots=True)
class Item:
    """One encoded input that waits or is computed.

    Attributes:
        row: What the model takes.
        length: Its tokens.
        start: Its place in the queue, in tokens of work.
        arrival: Time of the event loop at which it came, in seconds.
        logits: The model's output, once it is there.
    """

    row: Mapping[str, Any]
    length: int
    start: float = 0.0
    arrival: float = 0.0
    logits: "asyncio.Future[np.ndarray]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True)
class Batch:
    """What was computed together, for whoever counts it.

    Attributes:
        rows: Inputs.
        tokens: Their tokens, without padding.
        padded_tokens: Tokens that were computed.
        seconds: How long that took.
    """

    rows: int
    tokens: int
    padded_tokens: int
    seconds: float


class Batcher:
    """Runs batches in threads, as many at once as there are workers.

    All methods belong to one event loop. The threads end with the object.

    Args:
        forward: Computes the outputs of a batch of rows, in their order, on so many cores. Called in
            threads.
        workers: Batches that run at once.
        tokens_per_batch: Padded tokens of a batch; a longer input gets a batch of its own.
        queue: Most inputs that wait.
        window: Seconds that an input waits for others, where others are computed at the time.
        observe: Is told of each batch.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Mapping[str, Any]], int], "np.ndarray"],
        *,
        workers: int,
        tokens_per_batch: int,
        queue: int,
        window: float,
        observe: Callable[[Batch], None],
    ) -> None:
        self._forward = forward
        self._workers = workers
        self._tokens_per_batch = tokens_per_batch
        self._queue = queue
        self._window = window
        self._observe = observe
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batch")
        self._waiting: list[Item] = []
        self._running = 0
        self._clock = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Inputs that wait."""
        return len(self._waiting)

    async def submit(self, rows: Sequence[Mapping[str, Any]]) -> list["np.ndarray"]:
        """The outputs of rows, in their order.

        Cancelled, it takes the rows that still wait out of the queue.

        Raises:
            RefusedError: There is no room for them.
        """
        if len(self._waiting) + len(rows) > self._queue:
            raise overloaded()
        now, start = asyncio.get_running_loop().time(), self._clock
        items = []
        for row in rows:
            items.append(Item(row, len(row["input_ids"]), start, now))
            start += items[-1].length
        self._waiting += items
        self._dispatch()
        try:
            return await asyncio.gather(*(item.logits for item in items))
        except BaseException:
            for item in items:
                item.logits.cancel()
            self._waiting = [item for item in self._waiting if not item.logits.cancelled()]
            raise

    def _dispatch(self) -> None:
        """Starts batches while there are inputs and workers."""
        while self._waiting and self._running < self._workers:
            delay = self._delay()
            if delay > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(delay, self._wake)
                return
            self._start(self._take())

    def _delay(self) -> float:
        """Seconds to wait for more inputs: none for one that is alone, has waited, or fills a batch with others."""
        if not self._running or sum(item.length for item in self._waiting) >= self._tokens_per_batch:
            return 0.0
        oldest = min(item.arrival for item in self._waiting)
        return oldest + self._window - asyncio.get_running_loop().time()

    def _wake(self) -> None:
        self._timer = None
        self._dispatch()

    def _take(self) -> list[Item]:
        """Takes the next batch out of the queue: the first input, and those nearest to it in length."""
        first = min(self._waiting, key=lambda item: item.start)
        self._clock = max(self._clock, first.start)
        batch: list[Item] = []
        width, shortest = 0, first.length
        for item in sorted(self._waiting, key=lambda item: (abs(item.length - first.length), item.start)):
            wider, least = max(width, item.length), min(shortest, item.length)
            if batch and ((len(batch) + 1) * wider > self._tokens_per_batch or least < _LEAST_FILL * wider):
                break
            batch.append(item)
            width, shortest = wider, least
        taken = set(batch)
        self._waiting = [item for item in self._waiting if item not in taken]
        return batch

    def _start(self, batch: list[Item]) -> None:
        alone = not self._running and not self._waiting
        self._running += 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        future = loop.run_in_executor(
            self._pool, self._forward, [item.row for item in batch], self._workers if alone else 1
        )
        future.add_done_callback(partial(self._finish, batch, started))

    def _finish(self, batch: list[Item], started: float, future: "asyncio.Future[np.ndarray]") -> None:
        self._running -= 1
        error = future.exception()
        for index, item in enumerate(batch):
            if item.logits.done():  # its request was given up
                continue
            if error is None:
                item.logits.set_result(future.result()[index])
            else:
                item.logits.set_exception(error)
        lengths = [item.length for item in batch]
        seconds = asyncio.get_running_loop().time() - started
        self._observe(Batch(len(batch), sum(lengths), len(batch) * max(lengths), seconds))
        self._dispatch()
