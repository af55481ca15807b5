"""Faults of a loopback service: which of its calls shall go wrong, and how."""

import threading
from dataclasses import dataclass
from typing import Literal

Kind = Literal["error", "timeout", "lost", "throttled", "silent"]
KINDS: tuple[Kind, ...] = ("error", "timeout", "lost")
"""What a sweep tries: refused and not done; neither done nor answered; done, but the answer does not arrive."""

_LONGEST_SILENCE = 30.0  # seconds; a client that waits for so long has no deadline of its own


@dataclass
class _Plan:
    """The `times` calls from call number `index` on, of `method` or, where that is "", of all methods."""

    index: int
    kind: Kind
    method: str
    times: int


class Faults:
    """Counts calls, and tells of each whether it shall go wrong.

    Attributes:
        calls: Method names of all calls since `clear`, in order.
        injected: How many calls went wrong since the object was made.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.injected = 0
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self._cleared = threading.Event()

    def plan(self, index: int, kind: Kind, times: int = 1, method: str = "") -> None:
        """Lets call number `index` (from 0, counted from `clear`) and those after it go wrong, `times` in all.

        Args:
            index: Number of the first call; of the calls of `method` only, if one is given.
            kind: How they go wrong.
            times: How many go wrong in a row.
            method: Name of a method; "" counts all calls.
        """
        self._plans.append(_Plan(index, kind, method, times))

    def clear(self) -> None:
        """Forgets calls and plans, and ends every silence; `injected` goes on."""
        with self._lock:
            self.calls.clear()
            self._plans.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def stay_silent(self) -> None:
        """Waits until `clear` is called, or until a client with a deadline has surely given up."""
        self._cleared.wait(_LONGEST_SILENCE)

    def next(self, method: str) -> Kind | None:
        """Counts a call of a method; returns how it shall go wrong, or None."""
        with self._lock:
            position = {"": len(self.calls), method: self.calls.count(method)}
            self.calls.append(method)
            for plan in self._plans:
                number = position.get(plan.method)
                if number is not None and plan.index <= number < plan.index + plan.times:
                    self.injected += 1
                    return plan.kind
        return None
