"""The URI of an output artifact that stands for something elsewhere: a registered model, an endpoint, a job."""

import os
from typing import Any

POD_VARIABLE = "KFP_POD_NAME"
"""Set by self-hosted Kubeflow Pipelines in the container of each step."""


def set_uri(artifact: Any, uri: str) -> None:
    """Gives an output artifact the address of what it stands for, where that is allowed.

    Vertex AI's console and `hfpc run` show the address, and Google's own components read it. The launcher of a
    self-hosted Kubeflow fails a step that leaves an address in a store outside of the run's own folder, and one whose
    input has an address in no store (`launcher_v2.go`, kubeflow/pipelines#6526). There the artifact keeps the address
    that it got, and its metadata alone say what it stands for, as they do everywhere.

    Args:
        artifact: An output of the step that is running.
        uri: The address.
    """
    if not os.environ.get(POD_VARIABLE):
        artifact.uri = uri
