"""Amazon SageMaker: `POST /invocations` with JSON, JSON lines or CSV, as `Content-Type` says.

The body holds what the Hub's contract has, or `{"instances": […]}`; one input a line; or CSV (RFC 4180)
with a column `inputs` or `text`. `Accept` chooses the form of the answer, whichever the body's was.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from hfpc.serving.contracts import Asked, Call, Contract, hub, json_body, vertex
from hfpc.serving.contracts.columns import as_json, columns
from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"
_FORMS = {
    JSON: JSON,
    LINES: LINES,
    "application/x-jsonlines": LINES,
    "application/jsonl": LINES,
    CSV: CSV,
}
"""Media types that are taken and given, to what they mean."""

_COLUMNS = ("inputs", "text")

_LINES_REQUEST = '{"inputs": "I love this"}\n"My flight was cancelled"\n'
_LINES_RESPONSE = "".join(json.dumps(response) + "\n" for response in hub.RESPONSE)
_CSV_REQUEST = 'inputs\r\nI love this\r\n"My flight, again, was cancelled"\r\n'
_CSV_RESPONSE = "label,score\r\npositive,0.98\r\nnegative,0.99\r\n"


def parse(asked: Asked) -> Call:
    """Reads the body in the form that it is said to have."""
    media_type = asked.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON
    if media_type not in _FORMS:
        raise RefusedError(415, f"a body in {media_type!r} cannot be read: send {_either()}")
    answer = _answer_media_type(asked.headers.get("accept", ""), media_type)
    form = _FORMS[media_type]
    call = (
        _read_json(asked.body) if form == JSON else _read_lines(asked.body) if form == LINES else _read_csv(asked.body)
    )
    return replace(call, notes={"media_type": answer, **call.notes})


def respond(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """The responses in the form that is wanted."""
    media_type = call.notes["media_type"]
    if _FORMS[media_type] == JSON:
        write = vertex.write if call.notes.get("instances") else hub.write
        return JSONResponse(write(call, responses, model))
    if _FORMS[media_type] == LINES:
        return Response("".join(f"{as_json(response)}\n" for response in responses), media_type=media_type)
    return Response(_csv(columns(responses)), media_type=media_type)


def _answer_media_type(accept: str, asked: str) -> str:
    """The first media type that is accepted: the body's own where it may be, but JSON rather than CSV."""
    if not accept.strip():
        accept = "*/*"
    own = JSON if _FORMS[asked] == CSV else asked
    for accepted in _by_preference(accept):
        for media_type in (own, *_FORMS):
            if accepted in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
                return media_type
    raise RefusedError(406, f"there is no answer in {accept!r}: accept {_either()}")


def _by_preference(accept: str) -> list[str]:
    """The media types of an `Accept` header, the most wanted first, without those of weight 0."""
    weighed = []
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        weighed.append((_weight(weight), media_type))
    return [media_type for weight, media_type in sorted(weighed, key=lambda pair: -pair[0]) if weight > 0]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _read_json(body: bytes) -> Call:
    content = json_body.parse(body)
    if isinstance(content, dict) and "instances" in content:
        return replace(vertex.read(content), notes={"instances": True})
    return hub.read(content)


def _read_lines(body: bytes) -> Call:
    """One input, or one request with a single input, a line."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    items = []
    for number, line in enumerate(lines, 1):
        try:
            items.append(json_body.parse(line))
        except RefusedError as refused:
            raise RefusedError(refused.status, f"line {number}: {refused}".replace("the body", "it")) from None
    return hub.read_each(items)


def _read_csv(body: bytes) -> Call:
    """One input a record, from the column that the first record calls so."""
    records = _records(body)
    header = next(records, [])
    column = next((name for name in _COLUMNS if name in header), None)
    if column is None:
        raise RefusedError(400, f"the first line must name the columns, and one of them {' or '.join(_COLUMNS)}")
    place = header.index(column)
    inputs = []
    for number, record in enumerate(records, 2):
        if len(record) != len(header):
            raise RefusedError(400, f"record {number} has {len(record)} fields, but the first has {len(header)}")
        inputs.append(record[place])
    return Call(inputs=inputs, parameters={})


def _records(body: bytes) -> Iterator[list[str]]:
    """The records of CSV, empty lines left out."""
    try:
        text = body.decode("utf-8-sig")
        yield from (record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record)
    except UnicodeDecodeError:
        raise RefusedError(400, "the body is not UTF-8") from None
    except csv.Error as error:
        raise RefusedError(400, f"the body is not CSV as RFC 4180 has it: {error}") from None


def _csv(table: dict[str, list[Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return stream.getvalue()


def _either() -> str:
    return f"{', '.join(list(_FORMS)[:-1])} or {list(_FORMS)[-1]}"


CONTRACT = Contract(
    name="sagemaker",
    path="/invocations",
    summary="Amazon SageMaker endpoints and batch transform",
    parse=parse,
    respond=respond,
    request=hub.REQUEST,
    response=hub.RESPONSE,
    schema={"oneOf": [hub.SCHEMA, vertex.SCHEMA]},
    other_requests={LINES: _LINES_REQUEST, CSV: _CSV_REQUEST},
    other_responses={LINES: _LINES_RESPONSE, CSV: _CSV_RESPONSE},
    statuses=(406, 415),
)
