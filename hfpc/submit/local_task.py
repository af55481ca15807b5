"""The process of one task of a local run: `hfpc run` puts it in place of kfp's own.

It runs the component's function with kfp's executor, sends what the function prints to the task's
log, and tells what happens. A second process runs the function, so that the end of a task that
is killed is told too. Packages that a component asks for are not installed: a local run uses the
environment it is started in.
"""

import json
import os
import re
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from hfpc.errors import HfpcError
from hfpc.redaction import redacted
from hfpc.submit import events

RUN_FOLDER = "HFPC_LOCAL_RUN"

_ITERATION = re.compile(r"for-loop(?:-\d+)+-iteration-(\d+)/")
_LONGEST_MESSAGE = 2000


def main() -> int:
    """Runs the task that the command line names; returns the exit status."""
    _kfp_marker, name, function, module, text = sys.argv[1:]
    # kfp.local puts the path of Python in place of every "python3", even inside values.
    executor_input = json.loads(text.replace(sys.executable, "python3"))
    folder = Path(os.environ[RUN_FOLDER])
    iteration = [int(index) for index in _ITERATION.findall(executor_input["outputs"]["outputFile"])]
    event: events.Event = {"task": name, "iteration": iteration}
    parameters = redacted(executor_input.get("inputs", {}).get("parameterValues", {}))
    events.append(folder, {**event, "kind": "started", "parameters": parameters})
    child = os.fork()
    if child == 0:
        _send_output_to(log_file(folder, name, iteration))
        sys.exit(_execute(folder, event, function, folder / events.FOLDER_NAME / module, executor_input))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        events.append(folder, {**event, "kind": "error", "message": _killed(-code)})
    done = _outputs(executor_input) if code == 0 else {}
    events.append(folder, {**event, "kind": "ended", "code": code, **done})
    return 0 if code == 0 else 1


def log_file(run_folder: Path, name: str, iteration: list[int]) -> Path:
    """Where a task's log is."""
    return run_folder / "logs" / f"{indexed(name, iteration)}.log"


def indexed(name: str, iteration: list[int]) -> str:
    """Name of one turn of a task in loops, e.g. `square[0]`."""
    return name + "".join(f"[{index}]" for index in iteration)


def _send_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _execute(folder: Path, event: events.Event, function: str, source: Path, executor_input: Any) -> int:
    """Calls the component's function by kfp's executor; tells an error and returns the exit status."""
    import logging

    # kfp's executor sets up logging unless that is done: it would log every parameter it gets.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ["_KFP_RUNTIME"] = "true"
    from kfp.dsl import executor_main

    sys.argv = [
        *("executor_main", "--component_module_path", str(source), "--function_to_execute", function),
        *("--executor_input", json.dumps(executor_input)),
    ]
    try:
        executor_main.executor_main()
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:
            return 0
        traceback.print_exception(type(error), error, _from(source, error))
        events.append(folder, {**event, "kind": "error", "message": redacted(_message(error))})
        return 1
    return 0


def _from(source: Path, error: BaseException) -> Any:
    """The error's traceback from the component's function on, without kfp's part."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != str(source):
        trace = trace.tb_next
    return trace or error.__traceback__


def _message(error: BaseException) -> str:
    if isinstance(error, HfpcError):
        return str(error)
    text = "".join(traceback.format_exception_only(error)).strip()
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " …"


def _killed(number: int) -> str:
    reason = "; was there too little memory?" if number == signal.SIGKILL else ""
    return f"its process was killed by {signal.Signals(number).name}{reason}"


def _outputs(executor_input: dict[str, Any]) -> events.Event:
    """Output parameters and artifacts of a task that has ended well."""
    expected = executor_input["outputs"]
    output_file = Path(expected["outputFile"])
    written = json.loads(output_file.read_text("utf-8")) if output_file.exists() else {}
    files = {name: Path(item["outputFile"]) for name, item in expected.get("parameters", {}).items()}
    outputs = {name: path.read_text("utf-8") for name, path in files.items() if path.exists()}
    outputs.update(written.get("parameterValues", {}))
    artifacts = []
    for name, item in expected.get("artifacts", {}).items():
        planned = item["artifacts"][0]
        made = written.get("artifacts", {}).get(name, {}).get("artifacts", [planned])[0]
        artifact = events.Output(
            name=name,
            type=planned.get("type", {}).get("schemaTitle", "system.Artifact"),
            uri=made.get("uri", ""),
            metadata=redacted(made.get("metadata", {})),
        )
        _keep_metadata(artifact, planned["uri"])
        artifacts.append(artifact)
    return {"outputs": redacted(outputs), "artifacts": artifacts}


def _keep_metadata(artifact: events.Output, planned: str) -> None:
    """Writes the metadata where the artifact has no file: kfp's cache wants one for each."""
    place = Path(artifact["uri"])
    if artifact["uri"] == planned and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(artifact["metadata"], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
