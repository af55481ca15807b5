"""The web application that serves a model: requests in, responses out, errors as JSON.

Its routes are the contracts and probes of `hfpc.serving.contracts`, all of which are read, bounded,
timed, counted and logged here.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Lifespan

from hfpc.errors import ArgumentError
from hfpc.serving import openapi, refusals
from hfpc.serving.contracts import Asked, Call, Contract, Probe, placeholders
from hfpc.serving.engine import ServedModel
from hfpc.serving.limits import Limits
from hfpc.serving.refusals import RefusedError
from hfpc.serving.telemetry import Telemetry

_log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

_LONGEST_ID = 128


@dataclass
class Slot:
    """What is served now: None until it is warm; replaced by one assignment while requests run.

    Attributes:
        model: The warm model.
        draining: Whether the server is about to end: it answers, but asks clients to connect elsewhere.
    """

    model: ServedModel | None = None
    draining: bool = False


class App:
    """Answers requests with the model that is in the slot when they come.

    Args:
        slot: Where the loader puts the model.
        limits: What is accepted at most.
        telemetry: Counts and logs.
    """

    def __init__(self, slot: Slot, limits: Limits, telemetry: Telemetry) -> None:
        self._slot = slot
        self._limits = limits
        self._telemetry = telemetry
        self._in_progress = 0

    def predicting(self, contract: Contract) -> Endpoint:
        """The endpoint of a contract."""

        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            call: Call | None = None
            self._count(+1)
            try:
                model = self._warm()
                async with asyncio.timeout(self._limits.seconds):
                    call = self._call(contract, model, await self._asked(request))
                    response = await _unless_gone(request, self._answer(contract, call, model))
            except TimeoutError:
                response = _refusal(contract, refusals.too_late(self._limits.seconds))
            except RefusedError as refused:
                response = _refusal(contract, refused)
            except ArgumentError as error:
                response = _refusal(contract, RefusedError(400, str(error)))
            except ClientDisconnect:
                response = _refusal(contract, refusals.gone())
            except Exception:
                _log.exception("a request failed")
                response = _refusal(contract, refusals.failed())
            finally:
                self._count(-1)
            return self._counted(contract, request, response, call, started)

        return endpoint

    def probing(self, probe: Probe) -> Endpoint:
        """The endpoint of a probe."""

        async def endpoint(request: Request) -> Response:
            try:
                model = self._warm() if probe.needs_model else self._slot.model
                if probe.needs_model and self._slot.draining:
                    raise RefusedError(503, "the server is about to end")
                if model is not None:
                    placeholders.check(request.path_params, model)
                return JSONResponse(probe.content(model, request.path_params))
            except RefusedError as refused:
                return _error(refused)

        return endpoint

    def _count(self, change: int) -> None:
        self._in_progress += change
        self._telemetry.in_progress.set(self._in_progress)

    def _warm(self) -> ServedModel:
        if self._slot.model is None:
            raise refusals.loading()
        return self._slot.model

    async def _asked(self, request: Request) -> Asked:
        """What a contract may read; the body no further than allowed, and not at all without room."""
        if self._in_progress > self._limits.queue:
            raise refusals.overloaded()
        most = self._limits.body_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise RefusedError(413, f"the body is longer than {most} bytes: send fewer inputs at once")
        return Asked(body=bytes(body), headers=request.headers, path=request.path_params)

    def _call(self, contract: Contract, model: ServedModel, asked: Asked) -> Call:
        if contract.tasks and model.engine.task not in contract.tasks:
            raise RefusedError(404, f"the model served here is for {model.engine.task}, not for {contract.tasks[0]}")
        placeholders.check(asked.path, model)
        call = contract.parse(asked)
        if not call.inputs:
            raise RefusedError(400, "there is no input: give at least one")
        if len(call.inputs) > self._limits.inputs:
            raise RefusedError(
                413, f"{len(call.inputs)} inputs are more than {self._limits.inputs}: send fewer at once"
            )
        return call

    async def _answer(self, contract: Contract, call: Call, model: ServedModel) -> Response:
        if not call.stream:
            return contract.respond(call, await model.engine.respond(call.inputs, call.parameters), model)
        parts = model.engine.stream(call.inputs, call.parameters)
        if contract.stream is None:
            raise RefusedError(400, "this route does not stream: leave stream out")
        # What is wrong with the request shows before the first part, while the status can still tell it.
        first = await anext(parts, None)
        chunks = contract.stream(call, _from(first, parts), model)
        return StreamingResponse(chunks, media_type="text/event-stream")

    def _counted(
        self, contract: Contract, request: Request, response: Response, call: Call | None, started: float
    ) -> Response:
        request_id = request.headers.get("x-request-id", "")[:_LONGEST_ID] or uuid.uuid4().hex
        response.headers["x-request-id"] = request_id
        if self._slot.draining:
            response.headers["connection"] = "close"
        self._telemetry.count_request(
            contract=contract.name,
            path=request.url.path,
            status=response.status_code,
            seconds=time.perf_counter() - started,
            request_id=request_id,
            inputs=call.inputs if call else None,
        )
        return response


def create_app(
    slot: Slot,
    *,
    contracts: list[Contract],
    probes: list[Probe],
    limits: Limits | None = None,
    telemetry: Telemetry | None = None,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The application; it serves whatever is in the slot when a request comes.

    Args:
        slot: Where the loader puts the model.
        contracts: Ways to ask for predictions.
        probes: Ways to ask about the server.
        limits: What is accepted at most; None for the defaults.
        telemetry: Counts and logs; None for a new one that logs nothing.
        lifespan: Started and ended with the application.
    """
    telemetry = telemetry or Telemetry()
    app = App(slot, limits or Limits(), telemetry)

    async def metrics(request: Request) -> Response:
        return Response(telemetry.exposition(), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            *_routes(
                [
                    *(("POST", contract.path, app.predicting(contract)) for contract in contracts),
                    *(("GET", probe.path, app.probing(probe)) for probe in probes),
                    ("GET", "/metrics", metrics),
                ]
            ),
            *openapi.routes(contracts, probes, lambda: slot.model),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
        lifespan=lifespan,
    )


def _routes(endpoints: list[tuple[str, str, Endpoint]]) -> list[Route]:
    """One route a path, so that the error for a method that it has not names all that it has."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in endpoints:
        paths.setdefault(path, {}).setdefault(method, endpoint)
    return [Route(path, _by_method(methods), methods=list(methods)) for path, methods in paths.items()]


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The answer; what makes it is cancelled when the client leaves, as it is when time runs out."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(request.receive())  # the body is read, so that nothing else can come
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise refusals.gone()
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


async def _from(first: Any, parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    if first is not None:
        yield first
    async for part in parts:
        yield part


def _refusal(contract: Contract, refused: RefusedError) -> Response:
    return _error(refused, contract.error(refused.status, str(refused)) if contract.error else None)


def _error(refused: RefusedError, content: Any = None) -> Response:
    headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else None
    return JSONResponse(content or {"error": str(refused)}, refused.status, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    """What went wrong is in the server's log, not in the response."""
    return _error(refusals.failed())
