"""The batcher with a model that adds up what it is given, and tells what it was given together."""

import asyncio
import random
import threading

import numpy as np
import pytest

from hfpc.serving.batching import Batch, Batcher
from hfpc.serving.refusals import RefusedError


class Model:
    """Sums each row's ids; waits for `go` before every batch where it is held."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.cores: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def forward(self, rows, cores):
        assert self.go.wait(20)
        self.batches.append([len(row["input_ids"]) for row in rows])
        self.cores.append(cores)
        if any(row["input_ids"][0] < 0 for row in rows):
            raise ValueError("a row that cannot be computed")
        return np.array([[sum(row["input_ids"])] for row in rows])


def rows(*lengths: int, value: int = 1) -> list[dict]:
    return [{"input_ids": [value] * length} for length in lengths]


def batcher(model: Model, **options) -> Batcher:
    settings = {"workers": 1, "tokens_per_batch": 100, "queue": 1000, "window": 0.0, "observe": lambda batch: None}
    return Batcher(model.forward, **{**settings, **options})


async def settle() -> None:
    """Lets tasks that were just made reach the queue."""
    for _ in range(5):
        await asyncio.sleep(0)


def run(test):
    async def within_time():
        async with asyncio.timeout(30):
            await test

    asyncio.run(within_time())


@pytest.mark.parametrize("workers", [1, 3])
def test_each_request_gets_its_own_outputs_in_order(workers):
    async def test():
        model, rng = Model(), random.Random(0)
        batching = batcher(model, workers=workers, window=0.001)
        lengths = [[rng.randint(1, 40) for _ in range(rng.randint(1, 12))] for _ in range(60)]
        given = await asyncio.gather(*(batching.submit(rows(*each)) for each in lengths))
        assert [[int(output[0]) for output in each] for each in given] == lengths
        assert batching.waiting == 0
        assert len(model.batches) < sum(map(len, lengths)) / 2, "requests share batches"

    run(test())


def test_a_batch_keeps_to_its_budget_and_to_similar_lengths():
    async def test():
        model, rng, seen = Model(), random.Random(1), []
        batching = batcher(model, observe=seen.append)
        lengths = [rng.randint(1, 120) for _ in range(300)]
        await asyncio.gather(*(batching.submit(rows(length)) for length in lengths))
        for batch in model.batches:
            assert len(batch) == 1 or len(batch) * max(batch) <= 100
            assert min(batch) >= 0.85 * max(batch)
        assert [(batch.rows, batch.tokens, batch.padded_tokens) for batch in seen] == [
            (len(batch), sum(batch), len(batch) * max(batch)) for batch in model.batches
        ]
        assert all(isinstance(batch, Batch) and batch.seconds >= 0 for batch in seen)

    run(test())


def test_a_long_request_takes_turns_with_short_ones():
    """50 batches' worth of work are waiting when a short request comes: it is in the next batch but one."""

    async def test():
        model = Model()
        batching = batcher(model)
        model.go.clear()
        long = asyncio.create_task(batching.submit(rows(*[90] * 50)))
        await settle()
        short = asyncio.create_task(batching.submit(rows(5)))
        await settle()
        model.go.set()
        await short
        assert model.batches.index([5]) <= 2
        await long

    run(test())


def test_a_stream_of_short_requests_does_not_keep_a_long_one_waiting_for_ever():
    async def test():
        model = Model()
        batching = batcher(model)
        model.go.clear()
        long = asyncio.create_task(batching.submit(rows(90, 90, 90)))
        await settle()
        model.go.set()
        sent = 0
        while not long.done():
            sent += 1
            await batching.submit(rows(5))
            assert sent < 100

    run(test())


def test_what_does_not_fit_into_the_queue_is_refused_at_once():
    async def test():
        model = Model()
        batching = batcher(model, queue=10)
        model.go.clear()
        running = asyncio.create_task(batching.submit(rows(90)))
        await settle()
        waiting = asyncio.create_task(batching.submit(rows(*[90] * 8)))
        await settle()
        assert batching.waiting == 8
        with pytest.raises(RefusedError) as refused:
            await batching.submit(rows(1, 1, 1))
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        assert batching.waiting == 8
        fits = asyncio.create_task(batching.submit(rows(1, 1)))
        await settle()
        model.go.set()
        await asyncio.gather(running, waiting, fits)

    run(test())


def test_what_is_given_up_is_not_computed():
    async def test():
        model = Model()
        batching = batcher(model)
        model.go.clear()
        running = asyncio.create_task(batching.submit(rows(90)))
        await settle()
        given_up = asyncio.create_task(batching.submit(rows(60, 60)))
        kept = asyncio.create_task(batching.submit(rows(70)))
        await settle()
        given_up.cancel()
        running.cancel()
        await settle()
        assert batching.waiting == 1
        model.go.set()
        assert int((await kept)[0][0]) == 70
        assert model.batches == [[90], [70]]

    run(test())


def test_an_error_reaches_those_that_shared_the_batch_and_no_others():
    async def test():
        model = Model()
        batching = batcher(model)
        model.go.clear()
        first = asyncio.create_task(batching.submit(rows(90)))
        await settle()
        shared = [asyncio.create_task(batching.submit(rows(40, value=value))) for value in (-1, 1)]
        later = asyncio.create_task(batching.submit(rows(3)))
        await settle()
        model.go.set()
        results = await asyncio.gather(*shared, return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, ValueError]
        await asyncio.gather(first, later)
        assert batching.waiting == 0

    run(test())


def test_the_window_gathers_what_comes_while_others_are_computed():
    async def test():
        model = Model()
        batching = batcher(model, workers=2, window=0.05)
        model.go.clear()
        tasks = [asyncio.create_task(batching.submit(rows(90)))]
        await settle()
        for _ in range(4):
            tasks.append(asyncio.create_task(batching.submit(rows(10))))
            await settle()
            await asyncio.sleep(0.001)
        assert batching.waiting == 4
        await asyncio.sleep(0.1)
        assert batching.waiting == 0, "they wait no longer than the window"
        model.go.set()
        await asyncio.gather(*tasks)
        assert sorted(model.batches) == [[10, 10, 10, 10], [90]]

    run(test())


def test_one_alone_does_not_wait_for_the_window():
    async def test():
        model = Model()
        assert int((await batcher(model, window=3600).submit(rows(7)))[0][0]) == 7

    run(test())


def test_a_full_batch_does_not_wait_for_the_window():
    async def test():
        model = Model()
        batching = batcher(model, workers=2, window=3600)
        model.go.clear()
        tasks = [asyncio.create_task(batching.submit(rows(90)))]
        await settle()
        tasks += [asyncio.create_task(batching.submit(rows(25))) for _ in range(4)]
        await settle()
        assert batching.waiting == 0
        model.go.set()
        await asyncio.gather(*tasks)
        assert sorted(model.batches) == [[25] * 4, [90]]

    run(test())


def test_one_alone_has_all_cores_and_others_share_them():
    async def test():
        model = Model()
        batching = batcher(model, workers=2)
        await batching.submit(rows(5))
        model.go.clear()
        tasks = [asyncio.create_task(batching.submit(rows(length))) for length in (90, 10)]
        await settle()
        model.go.set()
        await asyncio.gather(*tasks)
        assert sorted(zip(model.batches, model.cores, strict=True)) == [([5], 2), ([10], 1), ([90], 2)]

    run(test())
