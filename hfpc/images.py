"""The only table of container images; a tag is the version of this package."""

import os

from hfpc import __version__

DEFAULT_REPOSITORY = "ghcr.io/hf-pipeline-components"
REPOSITORY = os.environ.get("HFPC_IMAGE_REPOSITORY") or DEFAULT_REPOSITORY

CPU = f"{REPOSITORY}/hfpc-python-cpu:{__version__}"

SERVING = f"{REPOSITORY}/hfpc-serving-cpu:{__version__}"
