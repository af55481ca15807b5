"""Progress of long steps, as log lines that a person and `hfpc run` can both read.

A line looks like `progress 120/282 training: loss 0.412`. Consoles show it as it is; `hfpc run`
turns the newest one into a progress bar.
"""

import re
import sys
import time
from dataclasses import dataclass

_LINE = re.compile(r"^progress (\d+)/(\d+|\?) ([^:]*)(?:: (.*))?$")


@dataclass(frozen=True)
class Progress:
    """One parsed progress line: `done` of `total` (None while unknown) of `what`, with a `detail`."""

    done: int
    total: int | None
    what: str
    detail: str


def parse(line: str) -> Progress | None:
    """The progress a log line tells, or None for any other line."""
    found = _LINE.match(line.strip())
    if not found:
        return None
    done, total, what, detail = found.groups()
    return Progress(int(done), None if total == "?" else int(total), what, detail or "")


class Reporter:
    """Prints progress lines at most once every `interval` seconds; the last one always.

    Args:
        what: What is being done, in a few words and without a colon.
        total: How much there is to do; None while unknown.
        interval: Seconds between lines. The default keeps a day of training under 50,000 lines.
    """

    def __init__(self, what: str, total: int | None = None, interval: float = 2.0) -> None:
        self.what = what
        self.total = total
        self.interval = interval
        self._next = 0.0

    def update(self, done: int, detail: str = "") -> None:
        """Tells that `done` of the total is done, with a short `detail` such as the loss."""
        now = time.monotonic()
        if now < self._next and done != self.total:
            return
        self._next = now + self.interval
        total = "?" if self.total is None else self.total
        suffix = f": {detail}" if detail else ""
        print(f"progress {done}/{total} {self.what}{suffix}", file=sys.stderr, flush=True)
