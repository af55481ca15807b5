"""Compiled pipelines with the digests of our images in place of their tags.

A tag can be moved to another image, and Kubeflow's cache goes by the name of the image: a task whose image has
changed under the same tag would be taken from the cache. A digest is the image itself.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hfpc import images
from hfpc.errors import ArgumentError

FROM_REGISTRY = "registry"
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


def digests(source: str) -> dict[str, str]:
    """The digest of each of our images.

    Args:
        source: A JSON file of image to digest, as `make push` writes it, or "registry" to ask where the images are.

    Raises:
        ArgumentError: The file cannot be used, or the registry has no such image or does not give it.
    """
    if source == FROM_REGISTRY:
        return from_registry(image.reference for image in images.IMAGES)
    try:
        content = json.loads(Path(source).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError("pin_digests", source, f"it cannot be read as JSON ({error})") from error
    if not isinstance(content, dict) or not all(
        isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in content.values()
    ):
        raise ArgumentError("pin_digests", source, 'give a file of {"image:tag": "sha256:…"}, as make push writes it')
    return content


def from_registry(references: Iterable[str]) -> dict[str, str]:
    """The digests that registries have for images; images that a registry does not have are left out.

    Google's registries are asked with the credentials of this machine, others as anybody.

    Raises:
        ArgumentError: A registry cannot be asked, or does not let anybody look.
    """
    from hfpc.submit.preflight_google import Google, UncheckedError
    from hfpc.submit.preflight_images import manifest, parse

    google = Google("", "")
    found = {}
    for reference in references:
        try:
            answer = manifest(google, parse(reference))
        except UncheckedError as error:
            raise ArgumentError("pin_digests", FROM_REGISTRY, f"{reference}: {error}") from None
        if answer.status == 404:
            continue
        digest = answer.headers.get("Docker-Content-Digest", "")
        if answer.status != 200 or not _DIGEST.fullmatch(digest):
            fix = f"{reference} has no digest there ({answer.message}); give the file that make push wrote"
            raise ArgumentError("pin_digests", FROM_REGISTRY, fix)
        found[reference] = digest
    return found


def pin(file: Path, known: Mapping[str, str]) -> int:
    """Puts digests in place of the tags of our images in a compiled file; gives how often.

    Args:
        file: Compiled YAML.
        known: Image with its tag to its digest.

    Raises:
        ArgumentError: The file names one of our images whose digest is not known; the file is as it was.
    """
    text = file.read_text("utf-8")
    pinned = 0
    for image in images.IMAGES:
        # Nothing of a longer tag, and no digest behind it already.
        pattern = re.compile(re.escape(image.reference) + r"(?![\w.@-])")
        if not pattern.search(text):
            continue
        if image.reference not in known:
            fix = f"{file.name} runs this image, whose digest is not among those given: build and push it"
            raise ArgumentError("pin_digests", image.reference, fix)
        text, times = pattern.subn(f"{image.reference.rpartition(':')[0]}@{known[image.reference]}", text)
        pinned += times
    file.write_text(text, "utf-8")
    return pinned
