"""How long a platform is waited for, and how often it is asked again."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Waiting, in seconds.

    Attributes:
        call: How long one call may take.
        total: How long an operation may take. The default is the two hours after which Vertex AI itself gives up
            a deployment.
        pause: Between two looks at something that takes minutes.
        retry: Before the first repetition of a call; it doubles each time.
        settle: How long something may stay unseen after a call to make it whose answer was lost.
        attempts: How often a call is made in all when it fails for a reason that may pass.
        unseen: How long something that runs for hours is waited for while no look at it is answered.
    """

    call: float = 60.0
    total: float = 7200.0
    pause: float = 10.0
    retry: float = 2.0
    settle: float = 30.0
    attempts: int = 5
    unseen: float = 600.0

    def retries(self) -> Iterator[int]:
        """Numbers of the attempts, from 1, with a pause before each but the first, that many callers do not share."""
        for attempt in range(1, self.attempts + 1):
            if attempt > 1:
                time.sleep(self.retry * 2 ** (attempt - 2) * random.uniform(0.5, 1.5))  # noqa: S311 no secret
            yield attempt

    def polls(self, total: float | None = None) -> Iterator[float]:
        """Seconds waited so far, with a pause between two, until the total is over; None takes that of this object."""
        yield from _polls(self.total if total is None else total, self.pause)

    def looks(self) -> Iterator[float]:
        """The same for what was perhaps made by a call whose answer was lost: at least one look."""
        yield from _polls(self.settle, min(self.pause, self.settle / 5))


def _polls(total: float, pause: float) -> Iterator[float]:
    start = time.monotonic()
    while True:
        waited = time.monotonic() - start
        yield waited
        if waited + pause > total:
            return
        time.sleep(pause)
