"""Hugging Face: what `InferenceClient`, Inference Endpoints and the Hub's own API send.

`{"inputs": …, "parameters": {…}}`; the answer is the response itself, a list of them for a list.
"""

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from hfpc.serving.contracts import Asked, Call, Contract, json_body
from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

REQUEST = {"inputs": ["I love this", "My flight was cancelled"], "parameters": {"top_k": 1}}
RESPONSE = [[{"label": "positive", "score": 0.98}], [{"label": "negative", "score": 0.99}]]


def parse(asked: Asked) -> Call:
    """One input, or a list of them."""
    content = json_body.parse(asked.body)
    if not isinstance(content, dict) or "inputs" not in content or not content.keys() <= {"inputs", "parameters"}:
        raise RefusedError(400, 'the body must be {"inputs": …} or {"inputs": …, "parameters": {…}}')
    inputs = content["inputs"]
    single = not isinstance(inputs, list)
    return Call(inputs=[inputs] if single else inputs, parameters=json_body.parameters(content), single=single)


def respond(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """The responses, or the only one as the Hub's clients expect it."""
    unnested = call.single and not model.engine.nests_single_response
    return JSONResponse(responses[0] if unnested else responses)


CONTRACT = Contract(
    name="hub",
    path="/",
    summary="Hugging Face clients and Inference Endpoints",
    parse=parse,
    respond=respond,
    request=REQUEST,
    response=RESPONSE,
)
