"""The folder of this machine where runs, the local registry and checkpoints are kept."""

import os
from pathlib import Path


def home() -> Path:
    """`$HFPC_HOME`, or `~/.hfpc`."""
    return Path(os.environ.get("HFPC_HOME") or Path.home() / ".hfpc").absolute()
