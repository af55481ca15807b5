"""Clients for tests under load: raw HTTP/1.1 over asyncio, so that thousands of requests cost little."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What clients saw.

    Attributes:
        statuses: Answers by status.
        lost: Requests that were sent on an open connection and not answered whole.
        refused: Connections that were refused.
        without_retry_after: Answers 503 without that header.
        seconds: Time of each answer 200, in order.
    """

    statuses: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    refused: int = 0
    without_retry_after: int = 0
    seconds: list[float] = field(default_factory=list)


def request(inputs: object, *, keep_alive: bool = True) -> bytes:
    """The bytes of a request to the Hub's route."""
    body = json.dumps({"inputs": inputs}).encode()
    connection = "keep-alive" if keep_alive else "close"
    head = f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\nConnection: {connection}\r\n\r\n"
    return head.encode() + body


class Connection:
    """One connection to a server of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, content: bytes, seen: Seen) -> bool:
        """Sends a request and reads its answer; False where no connection could be made."""
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            seen.refused += 1
            return False
        started = time.perf_counter()
        try:
            self._writer.write(content)
            await self._writer.drain()
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.lost.append(repr(error))
            await self.close()
            return True
        status = int(head.split(b" ", 2)[1])
        seen.statuses[status] += 1
        if status == 200:
            seen.seconds.append(time.perf_counter() - started)
        if status == 503 and b"\r\nretry-after: " not in head:
            seen.without_retry_after += 1
        if b"\r\nconnection: close" in head:
            await self.close()
        return True

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()


async def closed_loop(port: int, requests: list[bytes], clients: int, stop: asyncio.Event) -> Seen:
    """Each client sends its next request when the last is answered, until `stop`, or the server is gone."""
    seen = Seen()

    async def client(first: int) -> None:
        connection, index = Connection(port), first
        while not stop.is_set() and await connection.ask(requests[index % len(requests)], seen):
            index += 1
        await connection.close()

    await asyncio.gather(*(client(index) for index in range(clients)))
    return seen


async def open_loop(port: int, requests: list[bytes], rate: float, seconds: float) -> Seen:
    """Requests come at their own pace, `rate` a second, however long the answers take."""
    seen, idle, tasks = Seen(), [], set()

    async def one(content: bytes) -> None:
        connection = idle.pop() if idle else Connection(port)
        await connection.ask(content, seen)
        idle.append(connection)

    started, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(one(requests[sent % len(requests)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    for connection in idle:
        await connection.close()
    return seen
