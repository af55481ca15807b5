"""The process that runs kfp.local for `hfpc run`; what kfp prints goes to the run's `kfp.log`.

It gets the parameters as one line of JSON on its standard input. That stays open as long as
`hfpc run` lives: when it closes, every process of the run is ended.
"""

import json
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from hfpc.errors import HfpcError
from hfpc.redaction import redacted
from hfpc.submit import events, local_docker

SPEC_NAME = "pipeline.yaml"

_CACHE_HIT = re.compile(r"^Task (\S+) cache hit \(key=(\w+)\)")
_NO_CONDITION = ("Could not resolve", "Condition evaluation failed")
_EXECUTING = re.compile(r"^Executing task .*'([^']+)'")


class _Listener(logging.Filter):
    """Tells what only kfp's log does, and keeps secrets out of that log.

    That is which tasks need no process. And a condition that cannot be evaluated, which kfp takes
    for false, ends the run: to leave tasks out in silence would be worse.
    """

    def __init__(self, run_folder: Path, cache_root: Path, importers: list[str]) -> None:
        super().__init__()
        self._folder, self._cache_root, self._importers = run_folder, cache_root, importers
        self.executed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if hit := _CACHE_HIT.match(message):
            entry = next(self._cache_root.glob(f"{hit[2]}*.json"))
            events.append(self._folder, {"kind": "cached", "task": hit[1], **_outputs(entry)})
        elif (found := _EXECUTING.match(message)) and found[1] in self._importers:
            events.append(self._folder, {"kind": "imported", "task": found[1]})
        elif found:
            self.executed += 1
        elif message.startswith(_NO_CONDITION):
            events.append(self._folder, {"kind": "failed", "message": f"a condition cannot be evaluated: {message}"})
            raise SystemExit(1)  # kfp catches any other exception
        record.msg, record.args = redacted(message), ()
        return True


def main() -> int:
    """Runs the pipeline in the run folder that the command line names; returns the exit status."""
    folder = Path(sys.argv[1])
    lifeline = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    request = json.loads(lifeline.readline())
    ending = folder if request["containers"] else None
    threading.Thread(target=_end_with, args=[lifeline, ending], daemon=True).start()
    try:
        _run(folder, **request)
    except Exception as error:
        events.append(folder, {"kind": "failed", "message": f"{type(error).__name__}: {error}"})
        raise
    return 0


def _run(
    folder: Path, parameters: dict[str, Any], cache: str, importers: list[str], containers: dict[str, Any]
) -> None:
    from kfp import local
    from kfp.components import load_component_from_file

    logging.basicConfig(level=logging.INFO)
    listener = _Listener(folder, Path(cache), importers)
    logging.getLogger().addFilter(listener)
    local.init(
        runner=local.DockerRunner(**containers) if containers else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "artifacts"),
        enable_caching=bool(cache),
        cache_root=cache or None,
    )
    load_component_from_file(str(folder / events.FOLDER_NAME / SPEC_NAME))(**parameters)
    begun = sum(event["kind"] == "started" for event in events.Reader(folder).new())
    if begun < listener.executed:
        # kfp.local takes a container for successful that is gone before it looks.
        raise HfpcError("a container ended before its task began; see logs/kfp.log")


def _end_with(lifeline: TextIO, run_folder: Path | None) -> None:
    """Waits until `hfpc run` has ended, however it ended, and ends this process group and the run's containers."""
    lifeline.read()
    if run_folder:
        local_docker.end(run_folder)
    os.killpg(0, signal.SIGTERM)


def _outputs(entry: Path) -> events.Event:
    """What a cache entry of kfp holds."""
    outputs: dict[str, Any] = {}
    artifacts = []
    for name, value in json.loads(entry.read_text("utf-8")).items():
        if isinstance(value, dict) and "__kfp_artifact__" in value:
            artifacts.append(
                events.Output(name=name, type=value["schema_title"], uri=value["uri"], metadata=value["metadata"])
            )
        else:
            outputs[name] = value
    return {"outputs": outputs, "artifacts": artifacts}


if __name__ == "__main__":
    sys.exit(main())
