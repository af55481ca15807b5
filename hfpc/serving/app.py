"""The web application that serves a model: requests in, responses out, errors as JSON.

`POST /` takes what the Hub's clients send, `{"inputs": …, "parameters": {…}}`; `GET /` says what is
served; `GET /health` answers 200 once the model is warm.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from hfpc.errors import ArgumentError

if TYPE_CHECKING:
    from hfpc.inference.predictor import Predictor

MAX_BODY_BYTES = 1 << 20
"""Longest body of a request: some hundred long texts."""

MAX_INPUTS = 256
"""Most inputs in one request, so that none keeps others waiting for long."""


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A warm model.

    Attributes:
        predictor: The model, ready to answer.
        name: What it is called: `NAME@ALIAS`, `NAME@VERSION`, or the name of its folder.
        version: Its version in the registry; "" for a folder.
        fingerprint: SHA-256 of its files.
    """

    predictor: "Predictor"
    name: str
    version: str
    fingerprint: str


@dataclass
class Slot:
    """What is served now: None until it is warm; replaced by one assignment while requests run."""

    model: ServedModel | None = None


def create_app(slot: Slot, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The application; it serves whatever is in the slot when a request comes.

    Args:
        slot: Where the loader puts the model.
        lifespan: Started and ended with the application.
    """
    one_at_a_time = CapacityLimiter(1)

    async def predict(request: Request) -> Response:
        model = _warm(slot)
        inputs, parameters, single = _parse(await _body(request))
        async with one_at_a_time:
            responses = await run_in_threadpool(model.predictor.respond, inputs, parameters)
        unnested = single and not model.predictor.task.nests_single_response
        return JSONResponse(responses[0] if unnested else responses)

    async def describe(request: Request) -> Response:
        model = _warm(slot)
        task = model.predictor.task.name
        content = {"model": model.name, "version": model.version, "task": task, "fingerprint": model.fingerprint}
        return JSONResponse(content)

    async def health(request: Request) -> Response:
        _warm(slot)
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/", predict, methods=["POST"]),
            Route("/", describe, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_error, ArgumentError: _argument_error, Exception: _unexpected},
        lifespan=lifespan,
    )


def _warm(slot: Slot) -> ServedModel:
    if slot.model is None:
        raise HTTPException(503, "the model is still being loaded", headers={"Retry-After": "5"})
    return slot.model


async def _body(request: Request) -> bytes:
    """The body, read no further than allowed."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES} bytes: send fewer inputs at once")
    return body


def _parse(body: bytes) -> tuple[list[Any], Mapping[str, Any], bool]:
    """The inputs, the parameters, and whether there was a single input outside a list."""
    try:
        content = json.loads(body)
        # What cannot be written back, NaN or half a surrogate pair, is not JSON, though Python reads it.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON in UTF-8") from None
    if not isinstance(content, dict) or "inputs" not in content or not content.keys() <= {"inputs", "parameters"}:
        raise HTTPException(400, 'the body must be {"inputs": …} or {"inputs": …, "parameters": {…}}')
    inputs, parameters = content["inputs"], content.get("parameters") or {}
    single = not isinstance(inputs, list)
    inputs = [inputs] if single else inputs
    if not isinstance(parameters, dict):
        raise HTTPException(400, "parameters must be an object")
    if not inputs:
        raise HTTPException(400, "inputs is empty: give at least one")
    if len(inputs) > MAX_INPUTS:
        raise HTTPException(413, f"{len(inputs)} inputs are more than {MAX_INPUTS}: send fewer at once")
    return inputs, parameters, single


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _argument_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _unexpected(request: Request, error: Exception) -> Response:
    """What went wrong is in the server's log, not in the response."""
    return JSONResponse({"error": "the server failed; its log says why"}, 500)
