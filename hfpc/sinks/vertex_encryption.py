"""The key of Cloud KMS that encrypts what Vertex AI keeps."""

import re
from typing import Any

from hfpc.errors import ArgumentError

KMS_KEY = re.compile(r"projects/[^/\s]+/locations/([^/\s]+)/keyRings/[^/\s]+/cryptoKeys/[^/\s]+")
"""Full name of a key; its first group is the region."""


def check_key(kms_key: str, location: str = "") -> None:
    """Refuses what is no key, or one that Vertex AI cannot use for what lies elsewhere.

    Args:
        kms_key: Resource name of the key; "" for Google's own.
        location: Region of what is encrypted; "" where it is not known yet.

    Raises:
        ArgumentError: It is no resource name, or another region's.
    """
    if not kms_key:
        return
    named = KMS_KEY.fullmatch(kms_key)
    if not named:
        fix = "give projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"
        raise ArgumentError("kms_key", kms_key, fix)
    if location and named[1] != location:
        fix = f"give a key of {location}: Vertex AI encrypts with keys of the same region"
        raise ArgumentError("kms_key", kms_key, fix)


def encryption(kms_key: str) -> dict[str, Any]:
    """What a model, an endpoint or a job says of its key; nothing where Google's own is meant."""
    return {"encryption_spec": {"kms_key_name": kms_key}} if kms_key else {}
