"""Secrets are left out of what is recorded and shown."""

import os
import re
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(
    r"(^|[_-])(token|cookie|password|passwd|secret|credentials?|(api|access|private)[_-]?key)$", re.I
)
_NO_SECRETS = ("GOOGLE_APPLICATION_CREDENTIALS",)  # named like one, but it holds the path of a file
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)")
_SIGNATURE_IN_URL = re.compile(
    r"(?<=[?&])((?:[\w-]*[_-])?(?:sig|signature|token|secret|password|key|api_?key|credential|AWSAccessKeyId)=)"
    r"[^&\s'\"#,)]+",
    re.I,
)
_SHORTEST = 8  # a shorter value of an environment variable may occur in any text


def redacted(value: Any, name: str = "") -> Any:
    """The same value without secrets: parameters named like one, passwords and signatures in URLs,
    and values of environment variables named like one (`HF_TOKEN`), wherever they occur.
    """  # noqa: D205
    if isinstance(value, dict):
        return {key: redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, name) for item in value]
    if not isinstance(value, str) or not value:
        return value
    if _is_secret(name):
        return MASK
    for variable, secret in os.environ.items():
        if len(secret) >= _SHORTEST and _is_secret(variable):
            value = value.replace(secret, MASK)
    return _SIGNATURE_IN_URL.sub(rf"\1{MASK}", _PASSWORD_IN_URL.sub(MASK, value))


def _is_secret(name: str) -> bool:
    """Whether what has this name is a secret."""
    return name not in _NO_SECRETS and bool(_SECRET_NAME.search(name))
