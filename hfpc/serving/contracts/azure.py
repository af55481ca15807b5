"""Azure Machine Learning: what is sent to an online endpoint's `/score`.

Azure itself prescribes no body. Taken are the Hub's, as Azure's Hugging Face models have it, and
`{"input_data": …, "params": {…}}`, as its other foundation models and MLflow models have it. There
`input_data` is a list of inputs, `{"input_string": […]}`, or a table of one column.
"""

from typing import Any

from hfpc.serving.contracts import Asked, Call, Contract, hub, json_body
from hfpc.serving.refusals import RefusedError

_STRINGS = {"type": "array", "minItems": 1, "items": hub.TEXT_SCHEMA}
_INPUT_STRING = {
    "type": "object",
    "required": ["input_string"],
    "properties": {"input_string": _STRINGS, "parameters": hub.PARAMETERS_SCHEMA},
    "additionalProperties": False,
}
_ROW = {"type": "array", "minItems": 1, "maxItems": 1, "items": hub.INPUT_SCHEMA}
_TABLE_KEYS = {
    "columns": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}},
    "index": {"type": "array", "items": {}},
    "data": {"type": "array", "minItems": 1, "items": {"oneOf": [_ROW, *hub.INPUT_SCHEMA["oneOf"]]}},
}
_TABLE = {
    "type": "object",
    "required": ["columns", "data"],
    "properties": _TABLE_KEYS,
    "additionalProperties": False,
}

SCHEMA = {
    "oneOf": [
        hub.SCHEMA,
        {
            "type": "object",
            "required": ["input_data"],
            "properties": {
                "input_data": {"oneOf": [hub.TEXT_SCHEMA, hub.INPUTS_SCHEMA, _INPUT_STRING, _TABLE]},
                "params": hub.PARAMETERS_SCHEMA,
                "parameters": hub.PARAMETERS_SCHEMA,
            },
            "additionalProperties": False,
        },
    ]
}


def parse(asked: Asked) -> Call:
    """One input, or a list of them."""
    content = json_body.parse(asked.body)
    if not isinstance(content, dict) or "input_data" not in content:
        return hub.read(content)
    if not content.keys() <= {"input_data", "params", "parameters"}:
        raise RefusedError(400, 'beside "input_data" there may only be "params" or "parameters"')
    data = content["input_data"]
    parameters = {**json_body.parameters(content, "params"), **json_body.parameters(content)}
    if isinstance(data, dict) and "input_string" in data and data.keys() <= {"input_string", "parameters"}:
        return hub.call(data["input_string"], {**parameters, **json_body.parameters(data)})
    return hub.call(_column(data) if isinstance(data, dict) and data.keys() <= _TABLE_KEYS.keys() else data, parameters)


def _column(table: dict[str, Any]) -> list[Any]:
    """The only column of a table, as pandas writes it with `orient="split"`."""
    columns, rows = table.get("columns"), table.get("data")
    if not isinstance(columns, list) or len(columns) != 1 or not isinstance(rows, list):
        raise RefusedError(400, 'a table in input_data must be {"columns": ["…"], "data": [["…"], …]}, of one column')
    return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]


CONTRACT = Contract(
    name="azure",
    path="/score",
    summary="Azure Machine Learning online endpoints",
    parse=parse,
    respond=hub.respond,
    request=hub.REQUEST,
    response=hub.RESPONSE,
    schema=SCHEMA,
)
