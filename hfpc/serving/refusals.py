"""Why a request is not answered. The application turns each into a status and a JSON error."""

from hfpc.errors import HfpcError


class RefusedError(HfpcError):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: What the client can do.
        retry_after: Seconds after which another try is worth it; 0 where it never is.
    """

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def loading() -> RefusedError:
    """The model is not warm yet."""
    return RefusedError(503, "the model is still being loaded", retry_after=5)


def overloaded() -> RefusedError:
    """The queue is full."""
    return RefusedError(503, "the server has all the requests it can queue: try again in a second", retry_after=1)


def too_late(seconds: float) -> RefusedError:
    """The deadline passed before there was an answer."""
    return RefusedError(503, f"there was no answer within {seconds:g} seconds, the server's limit", retry_after=1)


def gone() -> RefusedError:
    """The client closed its connection; the status, which nobody reads but the metrics, is that of nginx for it."""
    return RefusedError(499, "the client has left")


def failed() -> RefusedError:
    """Something that no client can be blamed for; what it was is in the server's log, not in the response."""
    return RefusedError(500, "the server failed; its log says why")
