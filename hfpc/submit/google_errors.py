"""Errors of Google's clients as one readable line each."""

from collections.abc import Iterator
from contextlib import contextmanager

from hfpc.errors import HfpcError

_TRANSIENT = (
    "Aborted",
    "BadGateway",
    "Cancelled",
    "GatewayTimeout",
    "InternalServerError",
    "RetryError",
    "ServiceUnavailable",
    "TooManyRequests",
    "Unknown",
)
_LONGEST = 600  # characters of a service's own text


class RequestError(HfpcError):
    """A request that Google Cloud refused or did not answer."""


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turns what Google's clients raise inside the block into a `RequestError`.

    Args:
        what: What is being done, for the message, e.g. "submitting run tweets-1".
    """
    import requests  # type: ignore[import-untyped]
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, requests.RequestException) as error:
        text = " ".join(str(getattr(error, "message", "") or error).split())[:_LONGEST]
        raise RequestError(f"{what}: Google Cloud says {type(error).__name__}: {text}") from error


def is_transient(error: BaseException | None) -> bool:
    """Whether the same request may work in a moment; whether it was done is not known."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import TransportError

    lost = (TransportError, requests.ConnectionError, requests.Timeout)
    return isinstance(error, (*lost, *(getattr(exceptions, name) for name in _TRANSIENT)))
