"""How a client of each contract asks for several inputs, and reads the responses."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.serving.apps import NAME, VERSION

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One way to ask.

    Attributes:
        name: What tests call it.
        contract: Path of the contract, placeholders and all.
        body: Makes the body for some inputs.
        read: Responses in the Hub's shape from the text of an answer. Where the form of the answer
            holds the best label only, it is the only one there.
        content_type: Media type of the body.
        accept: Media type of the answer.
    """

    name: str
    contract: str
    body: Callable[[list[str]], str]
    read: Callable[[str], list[Any]]
    content_type: str = JSON
    accept: str = JSON

    @property
    def path(self) -> str:
        return self.contract.format(name=NAME, version=VERSION)

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": self.content_type, "accept": self.accept}


def as_json(make: Callable[[list[str]], Any]) -> Callable[[list[str]], str]:
    return lambda inputs: json.dumps(make(inputs))


def predictions(text: str) -> list[Any]:
    return json.loads(text)["predictions"]


def read_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def write_csv(inputs: list[str]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["id", "inputs"], *enumerate(inputs)])
    return stream.getvalue()


def read_csv(text: str) -> list[Any]:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if rows[0].keys() == {"response"}:
        return [json.loads(row["response"]) for row in rows]
    return [[{"label": row["label"], "score": float(row["score"])}] for row in rows]


def tensor(inputs: list[str]) -> Any:
    return {"inputs": [{"name": "text", "shape": [len(inputs)], "datatype": "BYTES", "data": inputs}]}


def read_tensor(text: str) -> list[Any]:
    [response] = [output for output in json.loads(text)["outputs"] if output["name"] == "response"]
    assert response["datatype"] == "BYTES" and response["shape"] == [len(response["data"])]
    return [json.loads(item) for item in response["data"]]


def hub_body(inputs: list[str]) -> Any:
    return {"inputs": inputs}


def instances_body(inputs: list[str]) -> Any:
    return {"instances": [text if index % 2 else {"inputs": text} for index, text in enumerate(inputs)]}


def azure_body(inputs: list[str]) -> Any:
    table = {"columns": ["input_string"], "index": list(range(len(inputs))), "data": [[text] for text in inputs]}
    return {"input_data": table, "params": {}}


def lines_body(inputs: list[str]) -> str:
    return "\n".join(json.dumps(text if index % 2 else {"inputs": text}) for index, text in enumerate(inputs))


SAGEMAKER = "/invocations"
LINES = {"contract": SAGEMAKER, "content_type": "application/jsonlines", "body": lines_body}
CSV = {"contract": SAGEMAKER, "content_type": "text/csv", "body": write_csv}

ADAPTERS = [
    Adapter(name="hub", contract="/", body=as_json(hub_body), read=json.loads),
    Adapter(name="vertex", contract="/predict", body=as_json(instances_body), read=predictions),
    Adapter(name="sagemaker", contract=SAGEMAKER, body=as_json(hub_body), read=json.loads),
    Adapter(name="sagemaker instances", contract=SAGEMAKER, body=as_json(instances_body), read=predictions),
    Adapter(name="sagemaker lines", accept="application/jsonlines", read=read_lines, **LINES),
    Adapter(name="sagemaker lines to JSON", read=json.loads, **LINES),
    Adapter(name="sagemaker CSV", accept="text/csv", read=read_csv, **CSV),
    Adapter(name="sagemaker CSV to JSON", read=json.loads, **CSV),
    Adapter(name="azure", contract="/score", body=as_json(hub_body), read=json.loads),
    Adapter(name="azure table", contract="/score", body=as_json(azure_body), read=json.loads),
    Adapter(name="kserve", contract="/v1/models/{name}:predict", body=as_json(instances_body), read=predictions),
    Adapter(name="open inference", contract="/v2/models/{name}/infer", body=as_json(tensor), read=read_tensor),
    Adapter(
        name="open inference version",
        contract="/v2/models/{name}/versions/{version}/infer",
        body=as_json(tensor),
        read=read_tensor,
    ),
]
