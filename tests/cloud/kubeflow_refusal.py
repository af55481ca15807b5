"""How the loopback Kubeflow says no."""


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: What the server says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
