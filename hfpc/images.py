"""The only table of container images; a tag is the version of this package."""

import os
from dataclasses import dataclass

from hfpc import __version__

DEFAULT_REPOSITORY = "ghcr.io/hf-pipeline-components"
REPOSITORY = os.environ.get("HFPC_IMAGE_REPOSITORY") or DEFAULT_REPOSITORY


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of containers/Dockerfile.

    Attributes:
        name: What `make images` and the image's lock file call it.
        repository: Its name in the registry.
        what: What it is for.
        extras: The extras of this package that are installed in it.
        torch: The torch in it: "cpu", "cuda", "xla", or "" for none.
        without: Packages of this package's core that it does without.
        serves: Whether it is a server, with a command, a port and a health check, and not for steps of pipelines.
    """

    name: str
    repository: str
    what: str
    extras: tuple[str, ...]
    torch: str = ""
    without: tuple[str, ...] = ()
    serves: bool = False

    @property
    def reference(self) -> str:
        """The image with its registry and tag."""
        return f"{REPOSITORY}/{self.repository}:{__version__}"


_STEPS = ("local", "optimize", "samples", "google", "aws", "azure", "kubeflow")

IMAGES = (
    Image(name="cpu", repository="hfpc-python-cpu", what="Every step, on CPUs.", extras=_STEPS, torch="cpu"),
    Image(name="gpu", repository="hfpc-python-gpu", what="Every step, with CUDA.", extras=_STEPS, torch="cuda"),
    Image(name="tpu", repository="hfpc-python-tpu", what="Every step, with torch_xla.", extras=_STEPS, torch="xla"),
    Image(
        name="serving",
        repository="hfpc-serving-cpu",
        what="The server, for every model and store it knows, on CPUs.",
        extras=("serve-all",),
        torch="cpu",
        without=("kfp",),
        serves=True,
    ),
    Image(
        name="google",
        repository="hfpc-python-google",
        what="Steps that call Google Cloud and compute nothing: no torch.",
        extras=("serve", "google"),
    ),
    Image(
        name="aws",
        repository="hfpc-python-aws",
        what="Steps that call Amazon Web Services and compute nothing: no torch.",
        extras=("serve", "aws"),
    ),
    Image(
        name="azure",
        repository="hfpc-python-azure",
        what="Steps that call Azure and compute nothing: no torch.",
        extras=("serve", "azure"),
    ),
)
"""All images."""

_BY_NAME = {image.name: image for image in IMAGES}

CPU = _BY_NAME["cpu"].reference

SERVING = _BY_NAME["serving"].reference


def for_device(image: str, device: str) -> str:
    """The same image, in the same repository and version, for another device.

    Args:
        image: An image as compiled into a component. One that is not `CPU` of some repository is returned as it is.
        device: "cpu", "gpu" (with CUDA) or "tpu" (with torch_xla).
    """
    return image.replace("/hfpc-python-cpu:", f"/hfpc-python-{device}:")
