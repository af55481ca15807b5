"""The OpenAPI document of a server, and a page that shows it without loading anything from elsewhere.

Version 3.0 of OpenAPI, because the Swagger UI that Python's package index has shows no later one.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

import hfpc
from hfpc.serving.contracts import Contract, Probe, placeholders

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

_JSON = "application/json"

_STATUSES = {
    200: "The answer",
    400: "The request cannot be used; the error says why",
    404: "No such model is served here, or it is for another task",
    406: "There is no answer in a form that is accepted",
    413: "The body is too long, or has too many inputs",
    415: "A body of this form cannot be read",
    503: "The model is not warm yet, the queue is full, or time ran out: try again",
}

_SCRIPT = """
SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null, queryConfigEnabled: false});
"""

_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Routes of this server</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<main id="ui"></main>
<script src="docs/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""

_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{_SCRIPT_HASH}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def routes(
    contracts: Sequence[Contract], probes: Sequence[Probe], model: Callable[[], "ServedModel | None"]
) -> list[Route]:
    """`/openapi.json`, and `/docs`, which shows it.

    Args:
        contracts: Ways to ask for predictions.
        probes: Ways to ask about the server.
        model: Gives the model that is served now.
    """
    from swagger_ui_bundle import swagger_ui_path

    async def openapi(request: Request) -> Response:
        return JSONResponse(document(contracts, probes, model()))

    async def page(request: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    async def script(request: Request) -> Response:
        return FileResponse(swagger_ui_path / "swagger-ui-bundle.js")

    async def style(request: Request) -> Response:
        return FileResponse(swagger_ui_path / "swagger-ui.css")

    return [
        Route("/openapi.json", openapi),
        Route("/docs", page),
        Route("/docs/swagger-ui-bundle.js", script),
        Route("/docs/swagger-ui.css", style),
    ]


def document(
    contracts: Sequence[Contract], probes: Sequence[Probe], model: "ServedModel | None" = None
) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        contracts: Ways to ask for predictions; those of other tasks than the model's are left out.
        probes: Ways to ask about the server.
        model: The model that is served; its name and version are the only ones that paths may have.
    """
    paths: dict[str, dict[str, Any]] = {}
    for contract in contracts:
        if model and contract.tasks and model.engine.task not in contract.tasks:
            continue
        paths.setdefault(contract.path, {})["post"] = _asking(contract, model)
    for probe in probes:
        paths.setdefault(probe.path, {})["get"] = _probing(probe, model)
    paths["/metrics"] = {"get": _metrics()}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": model.name if model else "hfpc",
            "version": hfpc.__version__,
            "description": f"A model for {model.engine.task}." if model else "The model is still being loaded.",
        },
        "paths": paths,
    }


def _asking(contract: Contract, model: "ServedModel | None") -> dict[str, Any]:
    bodies = {_JSON: {"schema": contract.schema, "example": contract.request}}
    answers = {_JSON: {"schema": {}, "example": contract.response}}
    streamed = {"text/event-stream": {"schema": {"type": "string"}}} if contract.stream else {}
    statuses = {400, 413, 503, *contract.statuses}
    if contract.tasks or "{" in contract.path:
        statuses.add(404)
    return {
        "summary": contract.summary,
        "operationId": _identifier("post", contract.path),
        "tags": ["Predictions"],
        "parameters": _parameters(contract.path, model),
        "requestBody": {"required": True, "content": {**bodies, **_texts(contract.other_requests)}},
        "responses": {
            "200": {
                "description": _STATUSES[200],
                "content": {**answers, **_texts(contract.other_responses), **streamed},
            },
            **{str(status): _error(status, contract) for status in sorted(statuses)},
        },
    }


def _probing(probe: Probe, model: "ServedModel | None") -> dict[str, Any]:
    statuses = ([404] if "{" in probe.path else []) + ([503] if probe.needs_model else [])
    return {
        "summary": probe.summary,
        "operationId": _identifier("get", probe.path),
        "tags": ["Server"],
        "parameters": _parameters(probe.path, model),
        "responses": {
            "200": {"description": _STATUSES[200], "content": {_JSON: {"schema": {"type": "object"}}}},
            **{str(status): _error(status) for status in statuses},
        },
    }


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "summary": "Metrics for Prometheus",
        "operationId": _identifier("get", "/metrics"),
        "tags": ["Server"],
        "responses": {"200": {"description": _STATUSES[200], "content": content}},
    }


def _parameters(path: str, model: "ServedModel | None") -> list[dict[str, Any]]:
    """The placeholders of a path, with what they may be once that is known."""
    allowed = placeholders.values(model) if model else {}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The model's {name}",
            "schema": {"type": "string", **({"enum": allowed[name]} if allowed.get(name) else {})},
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _texts(examples: Mapping[str, str]) -> dict[str, Any]:
    return {media_type: {"schema": {"type": "string"}, "example": example} for media_type, example in examples.items()}


def _error(status: int, contract: Contract | None = None) -> dict[str, Any]:
    message = _STATUSES[status]
    example = contract.error(status, message) if contract and contract.error else {"error": message}
    schema = {"type": "object", "required": ["error"]}
    return {"description": message, "content": {_JSON: {"schema": schema, "example": example}}}


def _identifier(method: str, path: str) -> str:
    return "_".join([method, *re.findall(r"\w+", path)])
