"""Both servers by turns: started, loaded by more and more clients, ended; then the table."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import load, official_stack, report
from benchmarks.serving.models import FOLDER, Subject
from benchmarks.serving.report import NAMES, OFFICIAL, OURS, Run
from benchmarks.serving.server import free_port, running
from hfpc.errors import EndpointError

VENV = FOLDER / "venv"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How it is measured.

    Attributes:
        clients: How many clients at once, one measurement after the other.
        rounds: Starts of each side that are measured.
        seconds: How long each measurement takes.
        warmup: Seconds of the same load before each.
        official_threads: Threads that torch uses in each worker of the official stack.
    """

    clients: list[int]
    rounds: int
    seconds: float
    official_threads: int
    warmup: float = 2.0


def compare(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Measures both servers; prints each measurement, and the table of all.

    Args:
        subject: What both serve and are asked.
        settings: How it is measured.

    Raises:
        HfpcError: The official stack cannot be installed, or a server does not start, ended, or gave
            no right answer at all.
    """
    official_stack.install(VENV)
    folders = {OFFICIAL: Path(subject.model), OURS: Path(subject.optimized)}
    print("Starting each side once unmeasured, so that neither reads from a cold disk", flush=True)
    for side, folder in folders.items():
        _run(side, folder, subject, settings, clients=[])
    runs = [
        _run(side, folder, subject, settings, settings.clients)
        for _ in range(settings.rounds)
        for side, folder in folders.items()
    ]
    found = report.summary(runs, settings.clients)
    found["settings"] = {
        **dataclasses.asdict(settings),
        "official_workers": official_stack.WORKERS,
        "processors": os.cpu_count(),
        "texts": len(subject.texts),
        "model": subject.model,
        "optimized": subject.optimized,
        "kept": subject.kept,
    }
    found["aims"] = report.aims(found)
    print(f"\n{report.table(found)}", flush=True)
    return found


def _run(side: str, model: Path, subject: Subject, settings: Settings, clients: Sequence[int]) -> Run:
    """One life of one server."""
    port = free_port()
    # The system's own temporary folder has a short path, which the official stack's sockets need.
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        scratch = Path(name)
        if side == OFFICIAL:
            command = official_stack.command(VENV, model, port, scratch)
            environment = official_stack.environment(settings.official_threads, scratch)
        else:
            command = [sys.executable, "-m", "hfpc.serving.server", str(model), "--port", str(port)]
            environment = {"HFPC_HOME": str(scratch)}
        loads, memory = {}, {}
        with running(command, environment, port, scratch, FOLDER / f"{side}.log") as server:
            first = server.first_right_answer(subject.golden_text, subject.golden_label)
            print(f"{NAMES[side]:14} first right answer after {first:.1f} s", flush=True)
            for count in clients:
                seen = loads[count] = _load(port, count, subject, settings, scratch)
                memory[count] = server.resident_mb()
                errors = f", errors: {seen.errors}" if seen.errors else ""
                print(
                    f"{NAMES[side]:14} {count:3} at once {seen.requests_per_second:7.1f} requests/s{errors}", flush=True
                )
                server.check_alive()
                if not seen.answers:
                    raise EndpointError(f"{NAMES[side]} gave no right answer to {count} clients at once")
    return Run(side=side, first_answer_seconds=first, loads=loads, memory_mb=memory)


def _load(port: int, clients: int, subject: Subject, settings: Settings, scratch: Path) -> load.Load:
    """What the load generator, a process of its own, saw."""
    order = load.Order(
        port=port,
        clients=clients,
        warmup=settings.warmup,
        seconds=settings.seconds,
        texts=subject.texts,
        labels=subject.labels,
    )
    file = scratch / "order.json"
    file.write_text(json.dumps(dataclasses.asdict(order)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.serving.load", str(file)]
    return load.Load(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
