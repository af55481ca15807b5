"""Where a hosting platform puts the model, and where it asks: what it says in environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hfpc.errors import ArgumentError
from hfpc.serving.limits import TRANSFORM_JOB, Limits

_HUB_REVISIONS = ("HF_MODEL_REVISION", "HF_REVISION")
"""What the Hugging Face images for SageMaker, and those for Inference Endpoints, call the revision of HF_MODEL_ID."""

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
        drain_seconds: Seconds after SIGTERM during which new connections are still accepted: a
            platform's load balancer learns late, on this machine there is none.
        predict_route: Path that Vertex AI posts predictions to.
        health_route: Path that Vertex AI asks whether the server is ready.
        limits: What is accepted at most, where the platform decides that; None where whoever starts the server does.
    """

    target: str
    host: str
    port: int
    drain_seconds: float
    predict_route: str
    health_route: str
    limits: Limits | None


def from_environment(environment: Mapping[str, str] = os.environ) -> Hosting:
    """Reads what the platform says; the defaults where there is none.

    Raises:
        ArgumentError: A variable holds something else than it should.
    """
    target = _target(environment)
    on_platform = bool(target or environment.get("AIP_HTTP_PORT"))
    return Hosting(
        target=target,
        host="0.0.0.0" if on_platform else "127.0.0.1",  # noqa: S104 a container is asked from outside
        port=_port(environment),
        drain_seconds=5.0 if on_platform else 0.0,
        predict_route=_route(environment, "AIP_PREDICT_ROUTE", "/predict"),
        health_route=_route(environment, "AIP_HEALTH_ROUTE", "/health"),
        limits=TRANSFORM_JOB if environment.get("SAGEMAKER_BATCH", "").lower() == "true" else None,
    )


def _target(environment: Mapping[str, str]) -> str:
    if folder := environment.get("AZUREML_MODEL_DIR"):
        return str(_model_folder(Path(folder)))
    if uri := environment.get("AIP_STORAGE_URI"):
        return uri
    if name := environment.get("HF_MODEL_ID"):
        revision = _first(environment, _HUB_REVISIONS)
        return f"{name}@{revision}" if revision else name
    return next((folder for folder in _FOLDERS if (Path(folder) / "config.json").is_file()), "")


def _model_folder(folder: Path) -> Path:
    """Azure ML gives the folder that a registered model's folder lies in, or that folder itself."""
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    return inside[0] if len(inside) == 1 and not (folder / "config.json").is_file() else folder


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


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
