"""Lets the steps of a run on Vertex AI work on Amazon Web Services: they get the role to take on, and no keys."""

import copy
import os
from collections.abc import Mapping
from typing import Any

from hfpc import aws
from hfpc.errors import ArgumentError
from hfpc.submit.graph import Spec

HANDED_ON = (aws.ROLE_VARIABLE, "AWS_REGION")
"""Variables that the steps get from the environment of whoever submits. None of them is a secret."""


def with_aws_role(spec: Spec) -> Spec:
    """A pipeline that has steps for SageMaker, with the role of AWS that all its steps take on; any other as it is.

    All steps get it, because data sets and models may lie on S3 too. What the pipeline itself says of a step's
    environment goes first.

    Args:
        spec: A compiled pipeline; it is not changed.

    Raises:
        ArgumentError: Neither the environment nor the steps for SageMaker name a role, or it is none.
    """
    steps = [container for container in _containers(spec) if _is_for_sagemaker(container)]
    if not steps:
        return spec
    if not aws.role_arn() and not all(aws.ROLE_VARIABLE in _names(container) for container in steps):
        fix = "steps on Vertex AI have no AWS credentials: name the role that their Google service account takes on"
        raise ArgumentError(aws.ROLE_VARIABLE, "", fix)
    given = [{"name": name, "value": os.environ[name]} for name in HANDED_ON if os.environ.get(name)]
    changed = copy.deepcopy(spec)
    for container in _containers(changed):
        new = [variable for variable in given if variable["name"] not in _names(container)]
        container["env"] = [*container.get("env", []), *new]
    return changed


def _containers(spec: Spec) -> list[dict[str, Any]]:
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    return [executor["container"] for executor in executors.values() if "container" in executor]


def _is_for_sagemaker(container: Mapping[str, Any]) -> bool:
    """Whether a container runs one of our components for SageMaker: they are named after it."""
    arguments = container.get("args", [])
    return arguments[-2:-1] == ["--function_to_execute"] and "sagemaker" in arguments[-1]


def _names(container: Mapping[str, Any]) -> set[str]:
    """Names of the variables of a container's environment."""
    return {item["name"] for item in container.get("env", [])}
