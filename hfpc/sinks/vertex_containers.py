"""The containers that serve on Vertex AI: how each is started, and where it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfpc import images
from hfpc.errors import ArgumentError

VLLM = "vllm"
"""As image: Google's build of vLLM, which fetches models from Cloud Storage."""

_TEXT_GENERATION = "text-generation"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server in a container.

    Attributes:
        image: Its image.
        args: Command that starts it; none takes the image's own.
        port: Port that it listens on.
        predict_route: Where it answers Vertex AI's requests.
        health_route: Where it says whether it is ready.
        shared_memory_mb: Shared memory that it needs, in MB; 0 where Vertex AI's 64 MB are enough.
    """

    image: str
    args: tuple[str, ...] = ()
    port: int = 8080
    predict_route: str = "/predict"
    health_route: str = "/health"
    shared_memory_mb: int = 0


# As Google starts it for the models of its Model Garden (`containerSpec` of publishers/google/models/gemma3 in the API,
# 2025). `AIP_STORAGE_URI` is where Vertex AI keeps the model for the container, which may read no other bucket.
_VLLM = Server(
    image="us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20250312_0916_RC01",
    args=(
        *("python", "-m", "vllm.entrypoints.api_server", "--host=0.0.0.0", "--port=8080"),
        *("--model=$(AIP_STORAGE_URI)", "--disable-log-stats"),
    ),
    predict_route="/generate",
    health_route="/ping",
    shared_memory_mb=16 * 1024,
)


def server(image: str, task: str) -> Server:
    """The server that an image holds.

    Args:
        image: "" for this package's own, "vllm" for vLLM, or another image that answers as our own does.
        task: Task of the model.

    Raises:
        ArgumentError: vLLM does not compute the task.
    """
    if image != VLLM:
        return Server(image=image or images.SERVING)
    if task != _TEXT_GENERATION:
        raise ArgumentError("image", image, f"vLLM generates text, and the model is for {task}: leave it empty")
    return _VLLM


def container(
    server: Server, environment: Mapping[str, str], shared_memory_mb: int, startup_seconds: int
) -> dict[str, Any]:
    """The `container_spec` of a model.

    Args:
        server: What serves.
        environment: Environment variables.
        shared_memory_mb: Shared memory in MB; 0 takes the server's own.
        startup_seconds: Seconds that it may take to load the model.
    """
    health = {
        "http_get": {"path": server.health_route, "port": server.port},
        "period_seconds": 10,
        "timeout_seconds": 5,
    }
    spec: dict[str, Any] = {
        "image_uri": server.image,
        "args": list(server.args),
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "ports": [{"container_port": server.port}],
        "predict_route": server.predict_route,
        "health_route": server.health_route,
        "startup_probe": {**health, "failure_threshold": -(-startup_seconds // 10)},
        "health_probe": health,
    }
    if memory := shared_memory_mb or server.shared_memory_mb:
        spec["shared_memory_size_mb"] = memory
    return spec
