"""A server process under more load than it can bear, and one that is told to stop under load."""

import asyncio
import json
import signal
import statistics
from pathlib import Path

import psutil
import pytest

from hfpc import samples
from tests.conftest import make_texts, save_model
from tests.serving.load import closed_loop, open_loop, request
from tests.serving.processes import serving

SECONDS = 60
TIMES_CAPACITY = 4
QUEUE = 256


@pytest.fixture(scope="module")
def minilm(tmp_path_factory, dataset) -> Path:
    """A real model of 22.7 million parameters, so that computing takes longer than HTTP; its head is random."""
    base = samples.model("sample:minilm").locate()
    return save_model(tmp_path_factory.mktemp("minilm"), base, dataset)


REQUESTS = [request(row["text"]) for row in make_texts(200, seed=7)]


async def for_seconds(port: int, clients: int, seconds: float):
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return await closed_loop(port, REQUESTS, clients, stop)


async def overload(port: int, rate: float, process: psutil.Process):
    """What an open loop of requests saw, and the server's resident memory in MB at each second."""
    memory = []
    load = asyncio.create_task(open_loop(port, REQUESTS, rate, SECONDS))
    while not load.done():
        memory.append(process.memory_info().rss >> 20)
        await asyncio.wait([load], timeout=1)
    return await load, memory


@pytest.mark.slow
def test_four_times_the_capacity_is_answered_or_refused_and_leaves_nothing_behind(minilm, tmp_path):
    with serving(minilm, tmp_path, "--queue", str(QUEUE), "--no-log-requests") as server:
        process = psutil.Process(server.process.pid)
        alone = asyncio.run(for_seconds(server.port, clients=1, seconds=3))
        full = asyncio.run(for_seconds(server.port, clients=32, seconds=5))
        capacity = full.statuses[200] / 5
        seen, memory = asyncio.run(overload(server.port, TIMES_CAPACITY * capacity, process))
        rested = asyncio.run(for_seconds(server.port, clients=1, seconds=3))
    print(f"capacity {capacity:.0f}/s, at {TIMES_CAPACITY} times that for {SECONDS} s: {dict(seen.statuses)}")
    print(f"memory in MB, every second: {memory}")
    assert not (seen.lost or seen.refused or seen.without_retry_after)
    assert seen.statuses.keys() == {200, 503}
    assert seen.statuses[503] > seen.statuses[200]
    assert seen.statuses[200] > capacity * SECONDS / 4, "it goes on computing while it refuses"
    # It grows as the queue fills for the first time, and by a step of the runtime's arena (up to 40 MB) when
    # both cores first have their largest batch at once; no more at the end, after tens of thousands of requests.
    quarter = SECONDS // 4
    assert max(memory) - memory[0] < 256
    assert max(memory[-quarter:]) - max(memory[-2 * quarter : -quarter]) < 48
    assert alone.statuses.keys() == rested.statuses.keys() == {200}
    assert statistics.median(rested.seconds) < 3 * statistics.median(alone.seconds)


@pytest.mark.slow
@pytest.mark.parametrize(("keep_alive", "drain_seconds"), [(True, 0), (False, 1)])
def test_a_server_that_is_told_to_stop_loses_no_request(minilm, tmp_path, keep_alive, drain_seconds):
    requests = [request(row["text"], keep_alive=keep_alive) for row in make_texts(200, seed=8)]

    async def load(server):
        stopping = asyncio.Event()
        clients = asyncio.create_task(closed_loop(server.port, requests, 48, stopping))
        await asyncio.sleep(2)
        server.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(clients, 60)

    with serving(minilm, tmp_path, "--drain-seconds", str(drain_seconds)) as server:
        seen = asyncio.run(load(server))
        server.process.wait(20)
        log = server.log.read_text()
    assert not seen.lost
    assert seen.statuses.keys() == {200} and seen.statuses[200] > 48
    assert seen.refused == 48, "each client goes on until the server is gone"
    logged = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert len(logged) == seen.statuses[200]


@pytest.mark.slow
def test_a_request_is_given_up_after_the_servers_limit(minilm, tmp_path):
    """Each of many large requests takes longer than the limit; small ones are answered again afterwards."""
    large = request(["a " * 400] * 200)
    with serving(minilm, tmp_path, "--timeout", "0.5") as server:

        async def ask(content, clients):
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(1, stop.set)
            return await closed_loop(server.port, [content], clients, stop)

        seen = asyncio.run(ask(large, 4))
        small = asyncio.run(ask(REQUESTS[0], 1))
    assert seen.statuses.keys() == {503} and not seen.without_retry_after
    assert 200 in small.statuses
