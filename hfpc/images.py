"""The only table of container images; a tag is the version of this package."""

import os

from hfpc import __version__

DEFAULT_REPOSITORY = "ghcr.io/hf-pipeline-components"
REPOSITORY = os.environ.get("HFPC_IMAGE_REPOSITORY") or DEFAULT_REPOSITORY

CPU = f"{REPOSITORY}/hfpc-python-cpu:{__version__}"

SERVING = f"{REPOSITORY}/hfpc-serving-cpu:{__version__}"


def for_device(image: str, device: str) -> str:
    """The same image, in the same repository and version, for another device.

    Args:
        image: An image as compiled into a component. One that is not `CPU` of some repository is returned as it is.
        device: "cpu", "gpu" (with CUDA) or "tpu" (with torch_xla).
    """
    return image.replace("/hfpc-python-cpu:", f"/hfpc-python-{device}:")
