"""Runs a pipeline on this machine through kfp.local, watched and recorded.

Three kinds of processes: this one shows and records; one child runs kfp.local, which decides
what runs when; each task has a process of its own. Their output goes to the run's folder:

    ~/.hfpc/runs/finetune_local-20261123-151201/
        run.json        the record, as in `hfpc.runs`
        report.html     the same for reading
        logs/           a log for each task, and kfp.log
        artifacts/      what the tasks made
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hfpc import progress, runs
from hfpc.errors import HfpcError
from hfpc.home import home
from hfpc.redaction import redacted
from hfpc.runs import Run
from hfpc.submit import events, local_docker
from hfpc.submit.find import find
from hfpc.submit.graph import Graph, Spec, Step
from hfpc.submit.local_spec import local_spec
from hfpc.submit.local_task import RUN_FOLDER
from hfpc.submit.local_worker import SPEC_NAME
from hfpc.submit.parameters import check, resolve
from hfpc.submit.record import Record

Watch = Callable[[Run, dict[str, progress.Progress]], None]

_TICK = 0.1  # seconds between looks at the events
_GRACE = 30.0  # seconds that processes have to end when they are asked to: steps put back what they have changed
_TAIL = 8192  # bytes at a log's end in which the newest progress line is looked for


def run(
    pipeline: str,
    parameters: dict[str, Any] | None = None,
    *,
    cache: bool = False,
    docker: bool = False,
    network: bool = True,
    watch: Watch | None = None,
) -> Run:
    """Runs a pipeline here and waits for its end.

    Args:
        pipeline: A name in `hfpc.pipelines`, a compiled YAML file, or `file.py:function`.
        parameters: Pipeline parameters: values, or text as on the command line.
        cache: Take the outputs of tasks that ran before with the same inputs and code.
        docker: Run each task in a container of its image; see `hfpc.submit.local_docker`.
        network: Whether these containers have a network.
        watch: Called about ten times a second with the run and the newest progress of its
            running tasks, and once with the run as it ended.

    Returns:
        The run as it ended. A task's failure is told there and not raised.

    Raises:
        ArgumentError: There is no such pipeline, or a parameter cannot be used. Nothing has
            started then.
        HfpcError: A component cannot run without its container, or there is no Docker engine.
        KeyboardInterrupt: Ctrl-C. Every process of the run has ended and the record is written.
    """
    graph = plan(pipeline, parameters or {})
    if docker:
        local_docker.check(graph)
    started = time.time()
    name = graph.spec["pipelineInfo"]["name"].replace("-", "_")
    run_id = runs.create(name, started)
    new = Run(id=run_id, pipeline=name, state="running", started=started, parameters=redacted(graph.parameters))
    record = Record(new, graph.steps)
    with runs.locked(runs.folder(run_id)):
        folder = record.run.folder
        _prepare(folder, graph)
        containers = _containers(folder, network) if docker else {}
        try:
            _follow(record, _start(folder, graph, cache, containers), watch or (lambda *_: None))
        finally:
            if docker:
                local_docker.end(folder)
            _report(record.run)
    return record.run


def plan(pipeline: str, parameters: dict[str, Any]) -> Graph:
    """The steps that `run` would run, with every parameter checked; nothing starts.

    Raises:
        ArgumentError: There is no such pipeline, or a parameter cannot be used.
        HfpcError: A component cannot run without its container.
    """
    spec = find(pipeline)
    graph = Graph(spec=spec, parameters=resolve(spec, parameters))
    for step in graph.steps:
        if not step.function and "importer" not in step.executor:
            raise HfpcError(f"{step.name} runs a container image; `hfpc run` runs Python components only")
    check(graph)
    return graph


def _prepare(folder: Path, graph: Graph) -> None:
    """Writes what kfp will run: the same pipeline, whose tasks tell of themselves."""
    kfp_folder = folder / events.FOLDER_NAME
    kfp_folder.mkdir()
    (folder / "logs").mkdir()
    spec = local_spec(graph.spec, {step.name: _told(step, kfp_folder) for step in graph.steps})
    # As YAML, not JSON: kfp reads it as YAML 1.1, to which JSON's `5e-05` is a string.
    (kfp_folder / SPEC_NAME).write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def _told(step: Step, kfp_folder: Path) -> Spec:
    """The executor of a step, run by `hfpc.submit.local_task`."""
    if not step.function:
        return step.executor
    # The digest tells kfp's cache when a component's code has changed.
    digest = hashlib.sha256(step.source.encode()).hexdigest()[:12]
    module = f"{step.function}_{digest}.py"
    (kfp_folder / module).write_text(step.source, encoding="utf-8")
    command = ["python3", "-m", "hfpc.submit.local_task"]
    # kfp.local refuses a command that does not name its own executor.
    arguments = ["kfp.dsl.executor_main", step.name, step.function, module, "{{$}}"]
    return {"container": {**step.executor["container"], "command": command, "args": arguments}}


def _containers(folder: Path, network: bool) -> dict[str, Any]:
    """How Docker runs the tasks of a run."""
    (folder / "artifacts").mkdir()
    (folder / events.FOLDER_NAME / events.FILE_NAME).touch()
    local_docker.give(folder)
    return local_docker.container_arguments(folder, {RUN_FOLDER: str(folder)}, network)


def _start(folder: Path, graph: Graph, cache: bool, containers: dict[str, Any]) -> subprocess.Popen[str]:
    """Starts kfp in a process group of its own, out of reach of the terminal's Ctrl-C."""
    importers = [step.name for step in graph.steps if not step.function]
    cache_root = str(home() / "cache") if cache else ""
    request = {"parameters": graph.parameters, "cache": cache_root, "importers": importers, "containers": containers}
    environment = {**os.environ, RUN_FOLDER: str(folder), "PYTHONUNBUFFERED": "1"}
    with (folder / "logs" / "kfp.log").open("w") as log:
        worker = subprocess.Popen(  # noqa: S603 (this interpreter, our own module)
            [sys.executable, "-m", "hfpc.submit.local_worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            text=True,
        )
    assert worker.stdin
    worker.stdin.write(json.dumps(request) + "\n")
    worker.stdin.flush()
    return worker


def _follow(record: Record, worker: subprocess.Popen[str], watch: Watch) -> None:
    """Records and shows the run until its end."""
    reader = events.Reader(record.run.folder)
    try:
        runs.write(record.run)
        ended = False
        while not ended:
            ended = worker.poll() is not None  # before the events are read, so that none is missed
            new = reader.new()
            for event in new:
                record.apply(event)
            if new:
                runs.write(record.run)
            watch(record.run, _progress(record.run))
            time.sleep(0 if ended else _TICK)
        record.finish(succeeded=worker.returncode == 0)
    except BaseException as error:
        _stop(worker)
        for event in reader.new():
            record.apply(event)
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        record.finish(succeeded=False, error=reason)
        raise
    finally:
        runs.write(record.run)
        watch(record.run, {})
        if worker.stdin:
            worker.stdin.close()


def _stop(worker: subprocess.Popen[str]) -> None:
    """Ends every process of the run, also those that made a session of their own."""
    import psutil

    try:
        processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    try:
        _signal(processes, signal.SIGTERM)
        _, processes = psutil.wait_procs(processes, timeout=_GRACE)
    finally:
        _signal(processes, signal.SIGKILL)
        worker.wait()


def _signal(processes: list[Any], number: signal.Signals) -> None:
    import psutil

    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _progress(run: Run) -> dict[str, progress.Progress]:
    """The newest progress of each running task."""
    found = {}
    for task in run.tasks:
        if task.state == "running" and (run.folder / task.log).exists():
            with (run.folder / task.log).open("rb") as file:
                file.seek(max(0, (run.folder / task.log).stat().st_size - _TAIL))
                lines = file.read().decode(errors="replace").splitlines()
            newest = next(filter(None, map(progress.parse, reversed(lines))), None)
            if newest:
                found[task.name] = newest
    return found


def _report(run: Run) -> None:
    from hfpc.reports.run_report import write_run_report

    write_run_report(run)
