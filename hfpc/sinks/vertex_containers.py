"""The container that serves a model on Vertex AI."""

import re
from collections.abc import Mapping
from typing import Any

from hfpc import images
from hfpc.errors import ArgumentError

_PREDICT_ROUTE = "/predict"
_HEALTH_ROUTE = "/health"
_PORT = 8080
_PERIOD_SECONDS = 10
_TIMEOUT_SECONDS = 15
"""Vertex AI wants a probe to time out later than the next would be due (reference of `Probe`), unlike Kubernetes."""
_CPU_SERVING = re.compile(r"(.*/)?hfpc-serving-cpu([:@].*)?")
_PULLED = re.compile(r"([a-z0-9-]+\.)?(pkg\.dev|gcr\.io)/.+")


def serving_image(image: str) -> str:
    """The image that serves.

    Args:
        image: An image that answers as this package's own does; "" for that.

    Raises:
        ArgumentError: Vertex AI does not pull it: an image that serves must be in Artifact Registry or Container
            Registry (reference of `ModelContainerSpec.image_uri`).
    """
    if image and not _PULLED.fullmatch(image):
        raise ArgumentError("image", image, "Vertex AI serves images of Artifact Registry only: push it there")
    if not image and not _PULLED.fullmatch(images.SERVING):
        fix = "Vertex AI serves images of Artifact Registry only: push this package's there, and set this to where"
        raise ArgumentError("HFPC_IMAGE_REPOSITORY", images.REPOSITORY, f"{fix}, or give image")
    return image or images.SERVING


def check_accelerator(image: str, accelerator_type: str) -> None:
    """Refuses an accelerator that the server of a model cannot use.

    Args:
        image: The image that serves the model, as it is registered.
        accelerator_type: Accelerator of each replica; "" for none.

    Raises:
        ArgumentError: The image is this package's own, which computes on CPUs: the accelerator would be paid for and
            stay idle.
    """
    if accelerator_type and _CPU_SERVING.fullmatch(image):
        fix = f"the model is registered with {image}, which computes on CPUs: give no accelerator, or register it with "
        raise ArgumentError("accelerator_type", accelerator_type, f"{fix}an image that has CUDA")


def container_spec(
    image: str, environment: Mapping[str, str], shared_memory_mb: int, startup_seconds: int
) -> dict[str, Any]:
    """The `container_spec` of a model.

    Args:
        image: What serves.
        environment: Environment variables.
        shared_memory_mb: Shared memory in MB; 0 leaves it to Vertex AI.
        startup_seconds: Seconds that it may take to load the model.
    """
    health = {
        "http_get": {"path": _HEALTH_ROUTE, "port": _PORT},
        "period_seconds": _PERIOD_SECONDS,
        "timeout_seconds": _TIMEOUT_SECONDS,
    }
    spec: dict[str, Any] = {
        "image_uri": image,
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "ports": [{"container_port": _PORT}],
        "predict_route": _PREDICT_ROUTE,
        "health_route": _HEALTH_ROUTE,
        "startup_probe": {**health, "failure_threshold": -(-startup_seconds // _PERIOD_SECONDS)},
        "health_probe": health,
    }
    if shared_memory_mb:
        spec["shared_memory_size_mb"] = shared_memory_mb
    return spec
