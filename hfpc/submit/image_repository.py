"""Where the steps of a run find this package's serving image: where whoever submits says that the images are."""

import copy
import os
from typing import Any

from hfpc import images
from hfpc.submit.graph import Spec, Step

VARIABLE = "HFPC_IMAGE_REPOSITORY"
"""Read by `hfpc.images` here, and again in the container of a step."""

_REGISTERS = "register_vertex_model"


def with_image_repository(spec: Spec) -> Spec:
    """A pipeline whose steps that register models with Vertex AI take the serving image from the same repository.

    What the pipeline itself says of a step's environment goes first.

    Args:
        spec: A compiled pipeline; it is not changed.
    """
    repository = os.environ.get(VARIABLE)
    if not repository or not _registering(spec):
        return spec
    changed = copy.deepcopy(spec)
    for container in _registering(changed):
        if VARIABLE not in _variables(container):
            container["env"] = [*container.get("env", []), {"name": VARIABLE, "value": repository}]
    return changed


def serving_image(step: Step) -> str:
    """The image that serves the model which a step registers with Vertex AI; "" for another step, or if not known."""
    image = step.inputs.get("image")
    if step.function != _REGISTERS or not image or not image.known:
        return ""
    repository = _variables(step.executor["container"]).get(VARIABLE) or images.DEFAULT_REPOSITORY
    return str(image.value or f"{repository}{images.SERVING.removeprefix(images.REPOSITORY)}")


def _registering(spec: Spec) -> list[dict[str, Any]]:
    """The containers that register models with Vertex AI."""
    executors = spec.get("deploymentSpec", {}).get("executors", {}).values()
    containers = [executor["container"] for executor in executors if "container" in executor]
    return [each for each in containers if each.get("args", [])[-2:] == ["--function_to_execute", _REGISTERS]]


def _variables(container: dict[str, Any]) -> dict[str, str]:
    """The environment of a container."""
    return {item["name"]: str(item.get("value", "")) for item in container.get("env", [])}
