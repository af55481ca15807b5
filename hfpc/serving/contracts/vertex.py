"""Vertex AI: `{"instances": […], "parameters": {…}}`; the answer is `{"predictions": […]}`, one for each instance.

An instance is an input of the task, alone or as `{"inputs": …}`.
"""

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from hfpc.serving.contracts import Asked, Call, Contract, hub, json_body
from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

REQUEST = {"instances": ["I love this", {"inputs": "My flight was cancelled"}], "parameters": {"top_k": 1}}
RESPONSE = {"predictions": hub.RESPONSE}

_INSTANCE = {"inputs": hub.INPUT_SCHEMA, "parameters": hub.PARAMETERS_SCHEMA}
SCHEMA = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "items": {"oneOf": [hub.TEXT_SCHEMA, {"type": "object", "required": ["inputs"], "properties": _INSTANCE}]},
        },
        "parameters": hub.PARAMETERS_SCHEMA,
    },
    "additionalProperties": False,
}


def contract(path: str) -> Contract:
    """The contract at the path that Vertex AI was told to ask at."""
    return Contract(
        name="vertex",
        path=path,
        summary="Vertex AI endpoints and batch prediction",
        parse=parse,
        respond=respond,
        request=REQUEST,
        response=RESPONSE,
        schema=SCHEMA,
    )


def parse(asked: Asked) -> Call:
    """A list of instances."""
    return read(json_body.parse(asked.body))


def respond(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """A prediction for each instance."""
    return JSONResponse(write(call, responses, model))


def read(content: Any) -> Call:
    """The call of a request's content."""
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("instances"), list)
        or not content.keys() <= {"instances", "parameters"}
    ):
        raise RefusedError(400, 'the body must be {"instances": […]} or {"instances": […], "parameters": {…}}')
    call = hub.read_each(content["instances"])
    parameters = {**json_body.parameters(content), **call.parameters}
    return Call(inputs=call.inputs, parameters={name: _whole(value) for name, value in parameters.items()})


def write(call: Call, responses: list[Any], model: "ServedModel") -> Any:
    """The content of an answer."""
    return {"predictions": responses}


def _whole(value: Any) -> Any:
    """Whole numbers as such: Vertex AI passes parameters through protobuf, which has fractions only."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
