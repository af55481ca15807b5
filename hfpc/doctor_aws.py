"""Is this machine ready for Amazon SageMaker? Checks that change nothing, over the network."""

import re
from collections.abc import Iterator
from typing import Any

from hfpc import aws, images
from hfpc.doctor import Finding
from hfpc.errors import HfpcError
from hfpc.sinks import sagemaker_images
from hfpc.sinks.sagemaker_images import Row

_VERSION = r"[0-9]+\.[0-9]+\.[0-9]+"
_TAG_VERSIONS = {
    sagemaker_images.HUGGINGFACE: re.compile(rf"{_VERSION}-transformers(?P<version>{_VERSION})-(?P<processor>[a-z]+)-"),
    sagemaker_images.VLLM: re.compile(rf"(?P<version>{_VERSION})-transformers{_VERSION}-(?P<processor>[a-z]+)-"),
}
"""Family to what its tags look like. Neuron's processor is spelled neuronx."""


def examine(region: str = "") -> list[Finding]:
    """Region, identity, SageMaker, our image in ECR, and whether newer Deep Learning Containers exist.

    Args:
        region: AWS region; "" means the environment's.
    """
    try:
        where = aws.region(region)
        identity = _identity(where)
    except HfpcError as error:
        return [Finding(what="AWS", found="cannot be asked", level="problem", fix=str(error))]
    return [Finding(what="AWS region", found=where), *identity, *_sagemaker(where), *_own_image(where), *_table(where)]


def _identity(region: str) -> list[Finding]:
    with aws.reaching("asking AWS who calls"):
        caller = aws.client("sts", region).get_caller_identity()
    return [Finding(what="AWS identity", found=caller["Arn"])]


def _sagemaker(region: str) -> Iterator[Finding]:
    try:
        with aws.reaching("listing model package groups"):
            aws.client("sagemaker", region, attempts=5).list_model_package_groups(MaxResults=1)
    except HfpcError as error:
        yield Finding(what="SageMaker", found="refuses this identity", level="problem", fix=str(error))
    else:
        yield Finding(what="SageMaker", found=f"answers in {region}")


def _own_image(region: str) -> Iterator[Finding]:
    """Whether our image lies where SageMaker can pull it."""
    what = "our image in ECR"
    try:
        own = sagemaker_images.choose(task="text-classification", region=region, image=sagemaker_images.HFPC).image
    except HfpcError:
        fix = "needed for optimized models only: copy it there and set HFPC_IMAGE_REPOSITORY"
        yield Finding(what=what, found=f"{images.SERVING} is not in ECR in {region}", level="note", fix=fix)
        return
    host, _, path = own.partition("/")
    repository, _, tag = path.partition(":")
    try:
        with aws.reaching(f"asking ECR for {own}"):
            aws.client("ecr", region).describe_images(
                registryId=host.partition(".")[0], repositoryName=repository, imageIds=[{"imageTag": tag}]
            )
    except HfpcError as error:
        yield Finding(what=what, found=f"{own} cannot be seen", level="problem", fix=str(error))
    else:
        yield Finding(what=what, found=own)


def _table(region: str) -> Iterator[Finding]:
    """Whether the Deep Learning Containers that are chosen by default are the newest."""
    seen = set()
    for row in sagemaker_images.ROWS:
        if (row.family, row.processor) in seen:
            continue
        seen.add((row.family, row.processor))
        yield _freshness(row, region)


def _freshness(row: Row, region: str) -> Finding:
    from packaging.version import Version

    what = f"{row.family} container for {row.processor}"
    try:
        sagemaker_images.uri(row, region)
        with aws.reaching(f"listing {row.repository}"):
            tags = _tags(aws.client("ecr", region), row, region)
    except HfpcError as error:
        return Finding(
            what=what, found=f"{row.tag}; whether it is the newest is not known", level="note", fix=str(error)
        )
    if row.tag not in tags:
        fix = "give another version, or the URI of an image"
        return Finding(what=what, found=f"{row.tag} is not in {region}", level="problem", fix=fix)
    newest = max(versions(row, tags), key=Version, default=row.version)
    if Version(newest) > Version(row.version):
        fix = "update hf-pipeline-components, or give the URI of an image"
        return Finding(what=what, found=f"{row.version}; AWS has {newest}", level="note", fix=fix)
    return Finding(what=what, found=f"{row.version}, the newest")


def versions(row: Row, tags: list[str]) -> list[str]:
    """Versions of the containers among tags that are of the same kind as a row."""
    kind = "neuronx" if row.processor == "neuron" else row.processor
    found = map(_TAG_VERSIONS[row.family].match, tags)
    return [match["version"] for match in found if match and match["processor"] == kind]


def _tags(client: Any, row: Row, region: str) -> list[str]:
    pages = client.get_paginator("list_images").paginate(
        registryId=sagemaker_images.ACCOUNTS[region], repositoryName=row.repository, filter={"tagStatus": "TAGGED"}
    )
    return [image["imageTag"] for page in pages for image in page["imageIds"] if "imageTag" in image]
