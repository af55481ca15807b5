"""The load generator: clients that each send a request, wait for the answer, and send the next.

It runs in a process of its own, `python -m benchmarks.serving.load ORDER.json`, and shares the
cores with the server it measures, so it does little: requests are bytes made beforehand, one
connection a client, and answers are kept as they came and read after the clock has stopped.
"""

import asyncio
import dataclasses
import itertools
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PATH = "/invocations"
"""SageMaker's route: `{"inputs": text}` gives `[{"label": …, "score": …}]`."""

GRACE_SECONDS = 30.0
"""How long the last answers are waited for; what has not come by then is an error."""

RETRY_SECONDS = 0.05

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to do.

    Attributes:
        port: Where the server listens on this machine.
        clients: Connections that each have one request under way.
        warmup: Seconds of load before the measurement.
        seconds: Seconds of the measurement.
        texts: What is asked, by turns; each client begins at another place.
        labels: The label that the model as it was trained gives each text.
    """

    port: int
    clients: int
    warmup: float
    seconds: float
    texts: list[str]
    labels: list[str]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What was seen. A right answer has status 200 and the right shape.

    Attributes:
        requests_per_second: Right answers that came within the measurement, by its seconds.
        p50_ms: Median milliseconds from sending to the whole answer, of right answers.
        p95_ms: As above; 95 of 100 took no longer.
        p99_ms: As above; 99 of 100 took no longer.
        answers: How many right answers these are figures of.
        errors: How many of what went wrong, warm-up and last answers included.
        agreement: Share of these answers, 0 to 1, with the label of the model as it was trained.
        generator_cores: Cores the load generator itself used, of those the server could have had.
    """

    requests_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answers: int
    errors: dict[str, int]
    agreement: float
    generator_cores: float


class Exchange(NamedTuple):
    """One request and what came back: a body, or a failure in words."""

    text: int
    sent: float
    received: float
    body: bytes
    failure: str


def request(text: str, port: int) -> bytes:
    """A whole HTTP request."""
    body = json.dumps({"inputs": text}).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answered(body: bytes) -> str | None:
    """The best label in an answer; None where it has neither the official stack's shape nor the Hub's.

    For one text the official stack gives `[{"label": …, "score": …}]`, ours, as the Hub does, a list of all
    labels in a list, the best first.
    """
    try:
        [answer] = json.loads(body)
        answer = answer[0] if isinstance(answer, list) else answer
        score, label = answer["score"], answer["label"]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    right = isinstance(label, str) and isinstance(score, int | float) and answer.keys() == {"label", "score"}
    return label if right else None


async def generate(order: Order) -> Load:
    """Runs all clients, then reads their answers."""
    requests = [request(text, order.port) for text in order.texts]
    exchanges: list[Exchange] = []
    begin = time.monotonic() + order.warmup
    end = begin + order.seconds
    used = time.process_time()
    async with asyncio.TaskGroup() as group:
        for client in range(order.clients):
            first = client * len(requests) // order.clients
            turns = itertools.cycle([*range(first, len(requests)), *range(first)])
            group.create_task(_client(order.port, requests, turns, end, exchanges))
    cores = (time.process_time() - used) / (order.warmup + order.seconds)
    return summary(order, exchanges, begin, end, cores)


async def _client(
    port: int, requests: list[bytes], turns: Iterator[int], end: float, exchanges: list[Exchange]
) -> None:
    """Asks until the end, over one connection as long as the server keeps it."""
    connection = None
    while (sent := time.monotonic()) < end:
        text = next(turns)
        try:
            async with asyncio.timeout_at(end + GRACE_SECONDS):
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                head, body = await _exchange(*connection, requests[text])
        except (OSError, EOFError, ValueError) as error:
            exchanges.append(Exchange(text, sent, time.monotonic(), b"", type(error).__name__))
            _close(connection)
            connection = None
            await asyncio.sleep(RETRY_SECONDS)
            continue
        status = head[9:12].decode()
        failure = "" if status == "200" else f"status {status}"
        exchanges.append(Exchange(text, sent, time.monotonic(), body, failure))
        if _CLOSE.search(head):
            _close(connection)
            connection = None
    _close(connection)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sending: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer."""
    writer.write(sending)
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is None:
        raise ValueError("the answer does not say how long it is")
    return head, await reader.readexactly(int(length[1]))


def _close(connection: tuple[Any, asyncio.StreamWriter] | None) -> None:
    if connection is not None:
        connection[1].close()


def summary(order: Order, exchanges: Iterable[Exchange], begin: float, end: float, generator_cores: float) -> Load:
    """Reads the answers; figures are of the right ones that came between `begin` and `end`."""
    errors: Counter[str] = Counter()
    milliseconds, agreed = [], 0
    for exchange in exchanges:
        label = answered(exchange.body)
        if exchange.failure or label is None:
            errors[exchange.failure or "wrong shape"] += 1
        elif begin <= exchange.received < end:
            milliseconds.append(1000 * (exchange.received - exchange.sent))
            agreed += label == order.labels[exchange.text]
    milliseconds.sort()
    count = len(milliseconds)
    return Load(
        requests_per_second=count / order.seconds,
        p50_ms=_percentile(milliseconds, 50),
        p95_ms=_percentile(milliseconds, 95),
        p99_ms=_percentile(milliseconds, 99),
        answers=count,
        errors=dict(errors),
        agreement=agreed / count if count else 0.0,
        generator_cores=generator_cores,
    )


def _percentile(ordered: list[float], share: int) -> float:
    """The least value that at least `share` of 100 values do not exceed; 0 where there is none."""
    return ordered[math.ceil(len(ordered) * share / 100) - 1] if ordered else 0.0


def main() -> None:
    """Reads an order, prints what was seen as JSON."""
    order = Order(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(dataclasses.asdict(asyncio.run(generate(order)))))


if __name__ == "__main__":
    main()
