"""Calls into a process of their own; see `hfpc.optimization.worker`."""

import json
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any, Self


class FailedError(Exception):
    """A candidate cannot be made or run: why, as a phrase."""


class Process:
    """A worker process, ended when the block ends."""

    def __enter__(self) -> Self:
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "hfpc.optimization.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.kill()
        self._worker.communicate()

    def call(self, function: str, **arguments: Any) -> Any:
        """The result of a call.

        Raises:
            FailedError: It raised, or the process ended.
        """
        assert self._worker.stdin is not None and self._worker.stdout is not None
        try:
            print(json.dumps({"function": function, "arguments": arguments}), file=self._worker.stdin, flush=True)
            line = self._worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise FailedError(_ended(self._worker.wait()))
        answer = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer["result"]


def _ended(status: int) -> str:
    """How a process ended."""
    if status >= 0:
        return f"its process ended with status {status}"
    name = signal.Signals(-status).name
    return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
