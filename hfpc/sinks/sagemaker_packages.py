"""Calls to SageMaker's model registry that leave one group and one package, whatever goes wrong on the way."""

from collections.abc import Mapping
from typing import Any

from hfpc import aws


def make_group(client: Any, group: str, tags: Mapping[str, str]) -> None:
    """Makes the group, unless there is one."""
    if _has_group(client, group):
        return
    listed = [{"Key": name, "Value": value} for name, value in tags.items()]
    try:
        client.create_model_package_group(ModelPackageGroupName=group, **({"Tags": listed} if listed else {}))
    except Exception as error:
        # Somebody else may have made it meanwhile, or the answer was lost.
        if not (aws.is_unsure(error) or "already exists" in str(error)) or not _has_group(client, group):
            raise


def _has_group(client: Any, group: str) -> bool:
    try:
        client.describe_model_package_group(ModelPackageGroupName=group)
    except Exception as error:
        if aws.code(error) == "ValidationException" and "does not exist" in str(error):
            return False
        raise
    return True


def find(client: Any, group: str, key: str) -> str | None:
    """ARN of the package with a key; None where there is none."""
    pages = client.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending"
    )
    for page in pages:
        for item in page["ModelPackageSummaryList"]:
            usable = item["ModelPackageStatus"] not in ("Failed", "Deleting")
            if usable and item.get("ModelPackageDescription", "").endswith(mark(key)):
                return str(item["ModelPackageArn"])
    return None


def create(client: Any, group: str, key: str, request: dict[str, Any]) -> str:
    """Makes a package; ARN."""
    try:
        return str(client.create_model_package(**request)["ModelPackageArn"])
    except Exception as error:
        if aws.is_unsure(error) and (made := find(client, group, key)) is not None:
            return made
        raise


def mark(key: str) -> str:
    """What a package's description ends with, so that it is found in a list without being described."""
    return f"[hfpc {key}]"
