"""KServe's first protocol, which TensorFlow Serving has too: Vertex AI's bodies, at a path that names the model.

OpenAI's clients ask for models at the same paths, so of a model that they can use these tell what both want to know.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hfpc.inference.plain_model import TEXT_GENERATION
from hfpc.serving.contracts import Probe, openai, vertex

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

CONTRACT = replace(vertex.contract("/v1/models/{name}:predict"), name="kserve", summary="KServe, protocol version 1")


def probes() -> list[Probe]:
    """What is served, and whether it is ready."""
    return [
        Probe(path="/v1/models", summary="Names of the models: there is one", content=_names),
        Probe(path="/v1/models/{name}", summary="200 once this model is warm", content=_ready),
    ]


def _names(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    assert model is not None
    lists = openai.models(model, path) if model.engine.task == TEXT_GENERATION else {}
    return {"models": [model.name], **lists}


def _ready(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    assert model is not None
    described = openai.describe(model) if model.engine.task == TEXT_GENERATION else {}
    return {"name": path["name"], "ready": True, **described}
