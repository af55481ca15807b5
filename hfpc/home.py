"""The folder of this machine where runs, the local registry, checkpoints and downloaded models are kept."""

import os
import tempfile
from pathlib import Path

from hfpc.errors import ArgumentError


def home() -> Path:
    """`$HFPC_HOME`, or `~/.hfpc`; where that cannot be written, the user's own folder for temporary files.

    Raises:
        ArgumentError: `$HFPC_HOME` is set and cannot be written.
    """
    given = os.environ.get("HFPC_HOME")
    folder = Path(given or os.path.expanduser("~/.hfpc"))
    if (given or folder.is_absolute()) and _is_writable(folder.absolute()):  # a user without any home keeps the "~"
        return folder.absolute()
    if given:
        raise ArgumentError("HFPC_HOME", given, "set this environment variable to a folder that can be written")
    return _temporary()


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written, or be made in the nearest parent that exists."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder that only this user can enter, since others could foresee its name."""
    folder = Path(tempfile.gettempdir(), f"hfpc-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ArgumentError("HFPC_HOME", str(folder), "this folder is somebody else's: set it to one of your own")
    return folder
