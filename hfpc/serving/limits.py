"""What a server accepts at most, so that no client can make it fail for the others."""

from dataclasses import dataclass

from hfpc.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a server.

    Attributes:
        body_bytes: Longest body of a request. The default holds some hundred long texts.
        inputs: Most inputs in one request, so that none keeps others waiting for long.
        queue: Most inputs that wait to be computed, and most requests that are being answered.
            Whatever comes on top is refused at once. The default is some seconds of work for a
            small model on a few cores: who waits longer has mostly gone.
        seconds: Seconds after which a request that was not answered yet is given up.
        window_ms: Milliseconds that an input waits for others to share a batch with, where others
            are being answered at the time. One alone never waits.

    Raises:
        ArgumentError: A value cannot be used.
    """

    body_bytes: int = 1 << 20
    inputs: int = 256
    queue: int = 512
    seconds: float = 30.0
    window_ms: float = 2.0

    def __post_init__(self) -> None:
        for name in ("body_bytes", "inputs", "queue"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, getattr(self, name), "give a whole number of at least 1")
        if self.queue < self.inputs:
            fix = f"give at least {self.inputs}, the most inputs of one request"
            raise ArgumentError("queue", self.queue, fix)
        if not 0 < self.seconds <= 24 * 3600:
            raise ArgumentError("seconds", self.seconds, "give seconds above 0, at most a day")
        if not 0 <= self.window_ms <= 1000:
            raise ArgumentError("window_ms", self.window_ms, "give milliseconds from 0 to 1000")


_MOST_SENT = 100 << 20

TRANSFORM_JOB = Limits(body_bytes=_MOST_SENT, inputs=_MOST_SENT, queue=_MOST_SENT)
"""Bounds under a transform job of SageMaker: what such a job sends at most, 100 MB in all, however many lines these
are. It is the only client, and its own settings say how much it sends at once."""
