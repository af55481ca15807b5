"""What is being served on this machine: a small file for each server under `$HFPC_HOME/serving`.

A server that was killed leaves its file behind, so a file only says where to ask: whoever reads it
asks the server what it serves before it believes it.
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from hfpc.home import home


@dataclass(frozen=True, kw_only=True)
class Serving:
    """One server.

    Attributes:
        url: Where it answers on this machine.
        pid: Its process.
        target: What it serves: `NAME@ALIAS`, `NAME@VERSION` or the absolute path of a folder.
        registry: Absolute path of the registry that `target` is in.
        name: Name that the server gives its model.
        version: Version of the model it served when the file was written; "" for a folder.
    """

    url: str
    pid: int
    target: str
    registry: str
    name: str
    version: str


def write(serving: Serving) -> None:
    """Writes the file of a server; a reader sees the old one or the new one, never a part."""
    file = _file(serving.pid)
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_suffix(".tmp")
    staging.write_text(json.dumps(dataclasses.asdict(serving), indent=2) + "\n", encoding="utf-8")
    os.replace(staging, file)


def read(pid: int) -> Serving | None:
    """The file of the server whose process is `pid`; None where there is none that can be read."""
    try:
        return Serving(**json.loads(_file(pid).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return None


def remove(pid: int) -> None:
    """Removes the file of a server."""
    _file(pid).unlink(missing_ok=True)


def all_servers() -> list[Serving]:
    """Every server that has a file and whose process is alive; files of dead processes are removed."""
    import psutil

    found = []
    for file in sorted((home() / "serving").glob("*.json")):
        serving = read(int(file.stem)) if file.stem.isdecimal() else None
        if serving is None or not psutil.pid_exists(serving.pid):
            file.unlink(missing_ok=True)
        else:
            found.append(serving)
    return found


def _file(pid: int) -> Path:
    return home() / "serving" / f"{pid}.json"
