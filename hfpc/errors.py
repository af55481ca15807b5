"""The few exceptions a user may see. Each message names what was given and what to do about it."""

from itertools import islice
from typing import Any

from hfpc.redaction import redacted

_SHOWN_ITEMS = 20
_SHOWN_CHARACTERS = 1000


class HfpcError(Exception):
    """A mistake its reader can correct; printed without a stack trace by the command line.

    Secrets in the message, such as the signature in a URL, are masked.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*map(redacted, arguments))


class ArgumentError(HfpcError, ValueError):
    """An argument that cannot be used.

    Args:
        argument: Name of the argument, as the component and the command line spell it.
        value: What was given.
        fix: One sentence that says what to give instead.
    """

    def __init__(self, argument: str, value: Any, fix: str) -> None:
        shown = repr(redacted(_few(value), argument))
        if len(shown) > _SHOWN_CHARACTERS:
            shown = f"{shown[:_SHOWN_CHARACTERS]}…"
        super().__init__(f"{argument}={shown}: {fix}")
        self.argument = argument
        self.value = value
        self.fix = fix


class DataError(HfpcError):
    """A data set, or a row of it, that cannot be used as it is."""


class ModelError(HfpcError):
    """A model folder or a Hub model that cannot be loaded safely."""


class EndpointError(HfpcError):
    """An endpoint that did not start, did not answer, or answered wrongly."""


class MissingExtraError(HfpcError, ImportError):
    """A package of an optional extra is not installed.

    Args:
        package: Import name of the package that is missing.
        extra: The extra of `hf-pipeline-components` that brings it.
        what: What needed it.
    """

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(f"{what} needs {package}: pip install 'hf-pipeline-components[{extra}]'")


def _few(value: Any) -> Any:
    """The first items of what may be long: a client of the server chooses how long."""
    if isinstance(value, dict):
        few = {key: _few(item) for key, item in islice(value.items(), _SHOWN_ITEMS)}
        return few | {"…": "…"} if len(value) > _SHOWN_ITEMS else few
    if isinstance(value, list | tuple):
        return [_few(item) for item in value[:_SHOWN_ITEMS]] + ["…"] * (len(value) > _SHOWN_ITEMS)
    return value
