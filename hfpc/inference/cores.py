"""How many cores this process may use, and a thread of it does."""

import math
import os
import threading
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Cores this process may use: `OMP_NUM_THREADS` where it is set, else what the container allows.

    A container that is limited to two cores of a large machine sees all of them, and a thread for
    each would make it slower.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups of version 2, or no limit ("max")
        return allowed


def use_cores(threads: int) -> None:
    """Sets how many cores torch uses in this thread.

    What a thread sets is the default of every thread that comes later too, so another thread, which
    does nothing else, puts that back.
    """
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
        other = threading.Thread(target=torch.set_num_threads, args=(cores(),))
        other.start()
        other.join()
