"""Answers requests to a causal language model, several at once, each token as it is made."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

from hfpc.errors import ArgumentError
from hfpc.inference.cores import cores, use_cores
from hfpc.inference.generator import Generator, Prompt, Token, part, response
from hfpc.inference.plain_model import TEXT_GENERATION
from hfpc.inference.sampling import Sampling
from hfpc.serving.limits import Limits
from hfpc.serving.refusals import overloaded, too_late

_INLINE_CHARACTERS = 4000
"""Longest inputs that are tokenized in the event loop: a millisecond's work, less than handing it over costs."""

_GENERATING_SHARE = 0.9
"""Share of a request's time after which it gets no more tokens, so that those it has reach the client in time."""


class GenerationEngine:
    """Answers with a `Generator`. See `Engine`.

    So many generations run at once, each on one core; the others wait in the order they came.
    They are more than the cores, so that a short one seldom waits for long ones, and each ends in
    time for the server's deadline, with what it has. When a client leaves, its generation ends with
    the next token.

    Args:
        generator: The model.
        limits: What it accepts at most.
        count_tokens: Is told how many tokens each generation read and made.
        at_once: Generations that run at the same time; None takes twice the cores, at least 4.
    """

    task = TEXT_GENERATION
    nests_single_response = True

    def __init__(
        self,
        generator: Generator,
        limits: Limits,
        count_tokens: Callable[[int], None],
        *,
        at_once: int | None = None,
    ) -> None:
        self.generator = generator
        self._limits = limits
        self._count_tokens = count_tokens
        self._waiting = 0
        at_once = at_once or max(4, 2 * cores())
        self._room = asyncio.Semaphore(at_once)
        self._own_share = max(1, at_once // 2)
        self._generating = ThreadPoolExecutor(
            at_once, thread_name_prefix="generate", initializer=use_cores, initargs=(1,)
        )
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encode")

    async def respond(self, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """A response for each input, in the shape of the Hub's specification of the task.

        Raises:
            ArgumentError: An input or a parameter cannot be used.
            RefusedError: There is no room in the queue, or no answer in time.
        """
        until = self._until()
        sampling = Sampling.parse(parameters)
        prompts = await self._prompts(inputs)
        self._check_room(len(prompts))
        share = asyncio.Semaphore(self._own_share)  # one request may not take the place of all others

        async def answer(prompt: Prompt) -> Any:
            tokens: list[Token] = []
            await self._generate(prompt, sampling, tokens.append, until, share)
            return response(prompt, tokens, sampling)

        tasks = [asyncio.create_task(answer(prompt)) for prompt in prompts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def stream(self, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The parts of the response to one input, as they are made.

        Raises:
            ArgumentError: An input or a parameter cannot be used, or there are several inputs.
            RefusedError: There is no room in the queue, or no answer in time.
        """
        until = self._until()
        sampling = Sampling.parse(parameters)
        if len(inputs) != 1:
            raise ArgumentError("stream", True, f"give one input and not {len(inputs)}, or leave it out")
        [prompt] = await self._prompts(inputs)
        self._check_room(1)
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[Token | None] = asyncio.Queue()

        def emit(token: Token) -> None:
            loop.call_soon_threadsafe(made.put_nowait, token)

        task = asyncio.create_task(self._generate(prompt, sampling, emit, until, asyncio.Semaphore()))
        task.add_done_callback(lambda _: made.put_nowait(None))
        tokens: list[Token] = []
        try:
            while (token := await made.get()) is not None:
                tokens.append(token)
                yield part(prompt, tokens, sampling)
            await task
        finally:
            task.cancel()

    @property
    def waiting(self) -> int:
        """Inputs that wait to be computed."""
        return self._waiting

    def close(self) -> None:
        """Nothing to do: its threads end when the last request that holds it is answered."""

    def _until(self) -> float:
        """Time at which a request that comes now gets no more tokens."""
        return time.monotonic() + _GENERATING_SHARE * self._limits.seconds

    def _check_room(self, inputs: int) -> None:
        if self._waiting + inputs > self._limits.queue:
            raise overloaded()

    async def _prompts(self, inputs: Sequence[Any]) -> list[Prompt]:
        if sum(len(item) if isinstance(item, str) else len(repr(item)) for item in inputs) <= _INLINE_CHARACTERS:
            return self._encode(inputs)
        return await asyncio.get_running_loop().run_in_executor(self._encoding, self._encode, inputs)

    def _encode(self, inputs: Sequence[Any]) -> list[Prompt]:
        return [self.generator.prompt(item) for item in inputs]

    async def _generate(
        self,
        prompt: Prompt,
        sampling: Sampling,
        emit: Callable[[Token], object],
        until: float,
        share: asyncio.Semaphore,
    ) -> None:
        """Waits for its turn, among those of its request and then among all; generates until it is cancelled."""
        self._waiting += 1
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await share.acquire()
                await self._room.acquire()
        except TimeoutError:
            raise too_late(self._limits.seconds) from None
        finally:
            self._waiting -= 1
        gone = Event()
        made = 0

        def count_and_emit(token: Token) -> None:
            nonlocal made
            made += 1
            emit(token)

        def stopped() -> bool:
            return gone.is_set() or time.monotonic() >= until

        generate = partial(self.generator.generate, prompt, sampling, emit=count_and_emit, stopped=stopped)
        try:
            await asyncio.get_running_loop().run_in_executor(self._generating, generate)
        finally:
            gone.set()
            self._room.release()
            share.release()
            self._count_tokens(len(prompt.ids) + made)
