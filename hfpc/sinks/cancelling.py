"""A step that is cancelled puts back what it has changed, as one that fails does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cancellable() -> Iterator[None]:
    """Raises KeyboardInterrupt at the first SIGTERM, with which a step is cancelled, and ignores further ones.

    `hfpc run` sends it to every process of a step, and kills half a minute later what is left; so do Vertex AI and
    Docker, as far as the first process of the container hands it on. Kubeflow's executor (Argo) ends about a second
    after it, which is enough to begin. What is not put back in time, the next step puts back. Outside the main thread
    Python handles no signals, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt("cancelled by SIGTERM")

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
