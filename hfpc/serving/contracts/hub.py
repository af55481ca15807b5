"""Hugging Face: what `InferenceClient`, Inference Endpoints and the Hub's own API send.

`{"inputs": …, "parameters": {…}}`; the answer is the response itself, a list of them for a list.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from hfpc.errors import HfpcError
from hfpc.serving.contracts import Asked, Call, Contract, json_body
from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

REQUEST = {"inputs": ["I love this", "My flight was cancelled"], "parameters": {"top_k": 1}}
RESPONSE = [[{"label": "positive", "score": 0.98}], [{"label": "negative", "score": 0.99}]]

TEXT_SCHEMA = {"type": "string"}
INPUT_SCHEMA = {"oneOf": [TEXT_SCHEMA, {"type": "object", "required": ["text"], "properties": {"text": TEXT_SCHEMA}}]}
INPUTS_SCHEMA = {"type": "array", "minItems": 1, "items": INPUT_SCHEMA}
PARAMETERS_SCHEMA = {"type": "object", "nullable": True}
SCHEMA = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "inputs": {"oneOf": [*INPUT_SCHEMA["oneOf"], INPUTS_SCHEMA]},
        "parameters": PARAMETERS_SCHEMA,
        "stream": {"type": "boolean", "nullable": True},
    },
    "additionalProperties": False,
}


def parse(asked: Asked) -> Call:
    """One input, or a list of them."""
    return read(json_body.parse(asked.body))


def respond(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """The responses, or the only one as the Hub's clients expect it."""
    return JSONResponse(write(call, responses, model))


def read(content: Any) -> Call:
    """The call of a request's content."""
    known = {"inputs", "parameters", "stream"}
    if not isinstance(content, dict) or "inputs" not in content or not content.keys() <= known:
        raise RefusedError(400, 'the body must be {"inputs": …} or {"inputs": …, "parameters": {…}}')
    asked = call(content["inputs"], json_body.parameters(content))
    return replace(asked, stream=json_body.flag(content, "stream"))


def call(inputs: Any, parameters: dict[str, Any]) -> Call:
    """The call of one input, or of a list of them."""
    single = not isinstance(inputs, list)
    return Call(inputs=[inputs] if single else inputs, parameters=parameters, single=single)


async def stream(call: Call, parts: AsyncIterator[Any], model: "ServedModel") -> AsyncIterator[bytes]:
    """The parts, as Hugging Face's own servers for text generation send them."""
    try:
        async for part in parts:
            yield json_body.event(part)
    except HfpcError as failed:  # the status is sent already
        yield json_body.event({"error": str(failed), "error_type": "generation"})


def write(call: Call, responses: list[Any], model: "ServedModel") -> Any:
    """The content of an answer."""
    unnested = call.single and not model.engine.nests_single_response
    return responses[0] if unnested else responses


def read_each(items: list[Any]) -> Call:
    """The call of several inputs, each as it is or as a request of its own.

    Raises:
        RefusedError: Their parameters differ.
    """
    requests = [item if _is_request(item) else {"inputs": item} for item in items]
    parameters = [json_body.parameters(request) for request in requests]
    if any(found != parameters[0] for found in parameters):
        raise RefusedError(400, "the inputs differ in their parameters: send those with the same ones together")
    inputs = [request["inputs"] for request in requests]
    return Call(inputs=inputs, parameters=parameters[0] if parameters else {})


def _is_request(item: Any) -> bool:
    return isinstance(item, dict) and "inputs" in item and item.keys() <= {"inputs", "parameters"}


CONTRACT = Contract(
    name="hub",
    path="/",
    summary="Hugging Face clients and Inference Endpoints",
    parse=parse,
    respond=respond,
    stream=stream,
    request=REQUEST,
    response=RESPONSE,
    schema=SCHEMA,
)
