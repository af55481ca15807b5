"""Where a hosting platform puts the model, and where it asks: what it says in environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hfpc.errors import ArgumentError

_URIS = ("AIP_STORAGE_URI", "HF_MODEL_ID")
"""Variables that name the URI or Hub id of a model to download: Vertex AI, and SageMaker's Hugging Face images."""

_FOLDERS = ("/opt/ml/model", "/repository", "/mnt/models")
"""Folders that platforms mount a model at: SageMaker, Hugging Face Inference Endpoints, KServe."""

_PORTS = ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT", "PORT")


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """What a platform says.

    Attributes:
        target: The model: a folder, a URI or a Hub id; "" where no platform names one.
        host: Address to listen at: all of them under a platform, this machine's own otherwise.
        port: Port to listen at; 8080, every platform's own default, where none is named.
        predict_route: Path that Vertex AI posts predictions to.
        health_route: Path that Vertex AI asks whether the server is ready.
    """

    target: str
    host: str
    port: int
    predict_route: str
    health_route: str


def from_environment(environment: Mapping[str, str] = os.environ) -> Hosting:
    """Reads what the platform says; the defaults where there is none.

    Raises:
        ArgumentError: A variable holds something else than it should.
    """
    target = _target(environment)
    return Hosting(
        target=target,
        host="0.0.0.0" if target else "127.0.0.1",  # noqa: S104 a container is asked from outside
        port=_port(environment),
        predict_route=_route(environment, "AIP_PREDICT_ROUTE", "/predict"),
        health_route=_route(environment, "AIP_HEALTH_ROUTE", "/health"),
    )


def _target(environment: Mapping[str, str]) -> str:
    if folder := environment.get("AZUREML_MODEL_DIR"):
        return str(_model_folder(Path(folder)))
    for name in _URIS:
        if environment.get(name):
            return environment[name]
    return next((folder for folder in _FOLDERS if (Path(folder) / "config.json").is_file()), "")


def _model_folder(folder: Path) -> Path:
    """Azure ML gives the folder that a registered model's folder lies in, or that folder itself."""
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    return inside[0] if len(inside) == 1 and not (folder / "config.json").is_file() else folder


def _port(environment: Mapping[str, str]) -> int:
    for name in _PORTS:
        if value := environment.get(name):
            if not value.isdecimal() or not 0 < int(value) < 65536:
                raise ArgumentError(name, value, "set this environment variable to a port, 1 to 65535")
            return int(value)
    return 8080


def _route(environment: Mapping[str, str], name: str, default: str) -> str:
    route = environment.get(name) or default
    if not route.startswith("/") or set(route) & set("{}?# "):
        raise ArgumentError(name, route, "set this environment variable to a path such as /predict")
    return route
