"""The Open Inference Protocol, KServe's second, which Triton and other servers speak too. JSON over REST.

A request holds one tensor of datatype BYTES, with an input in each element. The answer holds the tensor
`response`, each element the response to an input as JSON, and where responses can be cut down to plain
values (see `columns`) a tensor for each, such as `label` and `score`. Tensors in binary and gRPC are not
supported.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

import hfpc
from hfpc.serving.contracts import Asked, Call, Contract, Probe, hub, json_body
from hfpc.serving.contracts.columns import WHOLE, as_json, columns
from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

_DATATYPES = {str: "BYTES", float: "FP32", int: "INT64", bool: "BOOL"}

_BINARY = 'tensors in binary are not supported: send "data" in JSON (binary_data=False in tritonclient)'

REQUEST = {
    "id": "42",
    "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["I love this", "My flight was cancelled"]}],
    "parameters": {"top_k": 1},
}
RESPONSE = {
    "model_name": "tweets",
    "model_version": "3",
    "id": "42",
    "outputs": [
        {
            "name": "response",
            "shape": [2],
            "datatype": "BYTES",
            "data": ['[{"label":"positive","score":0.98}]', '[{"label":"negative","score":0.99}]'],
        },
        {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["positive", "negative"]},
        {"name": "score", "shape": [2], "datatype": "FP32", "data": [0.98, 0.99]},
    ],
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype", "data"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 2,
                        "items": {"type": "integer", "minimum": 1},
                    },
                    "datatype": {"type": "string", "enum": ["BYTES"]},
                    "data": {"type": "array", "minItems": 1, "items": hub.TEXT_SCHEMA},
                    "parameters": hub.PARAMETERS_SCHEMA,
                },
            },
        },
        "outputs": {
            "type": "array",
            "nullable": True,
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        },
        "parameters": hub.PARAMETERS_SCHEMA,
        # KServe's own client repeats here what the path says. The path decides.
        "model_name": {},
        "model_version": {},
    },
    "additionalProperties": False,
}


def parse(asked: Asked) -> Call:
    """One tensor of inputs."""
    if "inference-header-content-length" in asked.headers:
        raise RefusedError(400, _BINARY)
    content = json_body.parse(asked.body)
    if not isinstance(content, dict) or not content.keys() <= SCHEMA["properties"].keys():
        raise RefusedError(400, 'the body must be {"inputs": […]}, with "id", "outputs" or "parameters" where needed')
    tensors = content.get("inputs")
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise RefusedError(400, '"inputs" must be a list of one tensor, with an input in each element')
    if not isinstance(content.get("id", ""), str):
        raise RefusedError(400, '"id" must be a string')
    parameters = json_body.parameters(content)
    # What a client takes if it can be had, not what it asks of the model.
    parameters.pop("binary_data_output", None)
    return Call(
        inputs=_elements(tensors[0]),
        parameters=parameters,
        notes={"id": content.get("id"), "outputs": _wanted(content.get("outputs"))},
    )


def respond(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """The tensors that are wanted."""
    tensors = _tensors(responses)
    wanted = call.notes["outputs"] or list(tensors)
    for name in wanted:
        if name not in tensors:
            raise RefusedError(
                400, f"outputs: there is no tensor {name!r}: ask for {', '.join(tensors)}, or leave it out"
            )
    content: dict[str, Any] = {"model_name": model.name}
    if model.version:
        content["model_version"] = model.version
    if call.notes["id"] is not None:
        content["id"] = call.notes["id"]
    return JSONResponse({**content, "outputs": [tensors[name] for name in wanted]})


def _elements(tensor: dict[str, Any]) -> list[Any]:
    """The elements of a tensor of strings, of shape `[n]` or `[n, 1]`."""
    if "binary_data_size" in json_body.parameters(tensor):
        raise RefusedError(400, _BINARY)
    if tensor.get("datatype") != "BYTES":
        raise RefusedError(400, f'datatype={tensor.get("datatype")!r}: give "BYTES", the datatype of strings')
    if json_body.parameters(tensor).get("content_type", "str") != "str":
        raise RefusedError(400, 'parameters.content_type of a tensor: give "str", or leave it out')
    if not isinstance(tensor.get("name"), str):
        raise RefusedError(400, 'a tensor must have a "name", any string')
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(data, list):
        raise RefusedError(400, '"data" must be a list of strings')
    if isinstance(shape, list) and len(shape) == 2:
        # The format allows elements in lists, as the shape has them.
        data = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]
    if not all(isinstance(item, str) for item in data):
        raise RefusedError(400, '"data" must be a list of strings')
    if shape not in ([len(data)], [len(data), 1]) or not all(type(size) is int for size in shape):
        raise RefusedError(400, f'shape={shape!r}: give [{len(data)}], as "data" has so many elements')
    return data


def _wanted(outputs: Any) -> list[str]:
    """Names of the tensors that are asked for, each once; none for all."""
    if outputs is None:
        return []
    if not isinstance(outputs, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in outputs
    ):
        raise RefusedError(400, '"outputs" must be a list of {"name": "…"}')
    return list(dict.fromkeys(item["name"] for item in outputs))


def _tensors(responses: list[Any]) -> dict[str, Any]:
    """Tensors by name; a column whose values are not of one datatype has none."""
    found = {WHOLE: [as_json(response) for response in responses]}
    found = {**found, **columns(responses), **found}
    return {
        name: {"name": name, "shape": [len(values)], "datatype": _DATATYPES[type(values[0])], "data": values}
        for name, values in found.items()
        if len(set(map(type, values))) == 1
    }


_CONTRACT = Contract(
    name="open-inference",
    path="/v2/models/{name}/infer",
    summary="Open Inference Protocol (KServe, protocol version 2)",
    parse=parse,
    respond=respond,
    request=REQUEST,
    response=RESPONSE,
    schema=SCHEMA,
)
CONTRACTS = [_CONTRACT, replace(_CONTRACT, path="/v2/models/{name}/versions/{version}/infer")]


def probes() -> list[Probe]:
    """The server's and the model's state and description."""
    model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    return [
        Probe(path="/v2", summary="What this server is", content=_server, needs_model=False),
        Probe(path="/v2/health/live", summary="200 while the process runs", content=_live, needs_model=False),
        Probe(path="/v2/health/ready", summary="200 once the model is warm", content=_ready),
        *(Probe(path=path, summary="Tensors of this model", content=_description) for path in (model, version)),
        *(
            Probe(path=f"{path}/ready", summary="200 once this model is warm", content=_model_ready)
            for path in (model, version)
        ),
    ]


def _server(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    return {"name": "hfpc", "version": hfpc.__version__, "extensions": []}


def _live(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    return {"live": True}


def _ready(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    return {"ready": True}


def _model_ready(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    return {"name": path["name"], "ready": True}


def _description(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    """Tensors that every model has; those made of a response's plain values come on top."""
    assert model is not None
    return {
        "name": path["name"],
        "versions": [model.version] if model.version else [],
        "platform": "huggingface_transformers",
        "inputs": [{"name": "inputs", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": WHOLE, "datatype": "BYTES", "shape": [-1]}],
    }
