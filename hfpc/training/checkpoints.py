"""Checkpoints of one fine-tuning: on this machine's disk, and copied to a URI.

A checkpoint is a folder `checkpoint-N` and, beside it, `checkpoint-N.json` with the size of each of
its files. That file is written last and removed first, so a checkpoint counts only while it is
complete, whenever the process was killed. The same holds for the copy.

A run that begins claims both places by a `README.txt` with an id of its own. A run that finds the id
of a later one leaves the copy alone: two equal runs never write into the same checkpoint there.
"""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import storage
from hfpc.errors import ArgumentError

KEPT = 2
"""Checkpoints that are kept, besides the best: one spare, should the newest be damaged."""

_README = "Checkpoints of a fine-tuning that is under way. Run {}\n"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Marker:
    """What `checkpoint-N.json` tells.

    Attributes:
        best: Step of the checkpoint with the best weights so far, or None; resuming needs it too.
        files: Size in bytes of each file, by its path in the checkpoint.
    """

    best: int | None
    files: dict[str, int]


class _Place:
    """A folder of checkpoints on any file system."""

    def __init__(self, location: str, argument: str) -> None:
        self.location = location.rstrip("/")
        self.store, path = storage.filesystem(self.location, argument)
        self.root = path.rstrip("/")

    def complete(self) -> dict[int, _Marker]:
        """The checkpoints that can be resumed from, by step."""
        self.store.invalidate_cache()
        found = {}
        for file in self.store.glob(f"{self.root}/checkpoint-*.json"):
            step = int(file.rpartition("-")[2].removesuffix(".json"))
            try:
                marker = _Marker(**json.loads(self.store.cat_file(file)))
            except (ValueError, TypeError):
                continue  # the marker itself was cut short
            if self._sizes(step) == marker.files:
                found[step] = marker
        return {step: marker for step, marker in found.items() if marker.best in (None, step) or marker.best in found}

    def mark(self, step: int, marker: _Marker) -> None:
        """Declares a checkpoint complete."""
        self.store.pipe_file(f"{self.root}/checkpoint-{step}.json", json.dumps(vars(marker)).encode())

    def forget(self, step: int) -> None:
        """Removes a checkpoint, its marker first."""
        for path in (f"{self.root}/checkpoint-{step}.json", f"{self.root}/checkpoint-{step}"):
            if self.store.exists(path):
                self.store.rm(path, recursive=True)

    def claim(self, run: str) -> None:
        """Tells other runs whose folder this is."""
        storage.make_folder(self.store, self.root)
        self.store.pipe_file(f"{self.root}/README.txt", _README.format(run).encode())

    def owner(self) -> str:
        """Id of the run that claimed the folder last; "" where none did."""
        self.store.invalidate_cache()
        try:
            text: str = self.store.cat_file(f"{self.root}/README.txt").decode()
        except FileNotFoundError:
            return ""
        return text.rpartition(" ")[2].strip()

    def remove(self) -> None:
        """Removes the folder and all in it."""
        if self.store.exists(self.root):
            self.store.rm(self.root, recursive=True)

    def _sizes(self, step: int) -> dict[str, int]:
        folder = f"{self.root}/checkpoint-{step}"
        found = self.store.find(folder, detail=True)
        return {path.partition(f"/checkpoint-{step}/")[2]: entry["size"] for path, entry in found.items()}


class Checkpoints:
    """The checkpoints of one fine-tuning, on one machine.

    Args:
        folder: Where they are on this machine.
        uri: Folder they are copied to; "" copies none.

    Raises:
        ArgumentError: `uri` is of no kind that can be used.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self._local = _Place(str(folder), "checkpoint_uri")
        self._copy = _Place(uri, "checkpoint_uri") if uri else None
        self._run = ""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def copied(self) -> bool:
        """Whether checkpoints are copied to a URI."""
        return self._copy is not None

    def claim(self) -> str:
        """Makes this the run that writes checkpoints; one that was started before copies no more.

        Returns:
            Its id.

        Raises:
            ArgumentError: Nothing can be written to the URI.
        """
        self._run = uuid.uuid4().hex
        self._local.claim(self._run)
        if self._copy:
            try:
                self._copy.claim(self._run)
            except Exception as error:
                fix = f"nothing can be written there ({error})"
                raise ArgumentError("checkpoint_uri", self._copy.location, fix) from error
        return self._run

    def is_disk_of(self, run: str) -> bool:
        """Whether the process that has claimed for `run` did so on this very disk."""
        return self._local.owner() == run

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.folder / f"checkpoint-{step}"

    def available(self) -> set[int]:
        """Steps of the checkpoints that are complete, here or at the URI.

        Raises:
            ArgumentError: The URI cannot be read.
        """
        return {*self._local.complete(), *self._copies()}

    def restore(self, among: set[int] | None = None) -> Path | None:
        """Brings the newest complete checkpoint to this machine and removes what is incomplete or newer here.

        Args:
            among: Steps to choose from, all of them available; None chooses from all that are available.

        Returns:
            Its folder, or None where there is none.

        Raises:
            ArgumentError: The URI cannot be read.
        """
        local, copied = self._local.complete(), self._copies()
        newest = max({*local, *copied} if among is None else among, default=-1)
        for folder in self.folder.glob("checkpoint-*/"):
            step = int(folder.name.rpartition("-")[2])
            if step not in local or step > newest:
                self._local.forget(step)
        if newest < 0:
            return None
        if newest not in local:
            for step in sorted({copied[newest].best or newest, newest} - local.keys()):
                self._download(step, copied[step])
        return self.path(newest)

    def complete(self, step: int, best: int | None) -> None:
        """Declares the checkpoint of a step complete, copies it, and removes those that are no longer needed.

        A copy that fails does not end the training: it is tried again with the next checkpoint.

        Args:
            step: Its step; all its files are written.
            best: Step of the checkpoint with the best weights so far, or None.
        """
        files = {
            file.relative_to(self.path(step)).as_posix(): file.stat().st_size
            for file in self.path(step).rglob("*")
            if file.is_file()
        }
        self._local.mark(step, _Marker(best, files))
        local = self._local.complete()
        newest = sorted(local)[-KEPT:]
        kept = {number: local[number] for number in {*newest, *(local[number].best or number for number in newest)}}
        if self._copy:
            try:
                if self._owns(self._copy):
                    self._copy_to(self._copy, kept)
                else:
                    _log.warning(
                        "another run with the same arguments has taken over %s; this one goes on without copying",
                        self._copy.location,
                    )
            except Exception as error:
                _log.warning(
                    "the checkpoint could not be copied to %s (%s); training goes on", self._copy.location, error
                )
        for old in local.keys() - kept.keys():
            self._local.forget(old)

    def remove(self) -> None:
        """Removes all checkpoints on this machine, and at the URI if this is the run that writes there."""
        if self._copy:
            try:
                if self._owns(self._copy):
                    self._copy.remove()
            except Exception as error:
                _log.warning("the checkpoints in %s could not be removed (%s)", self._copy.location, error)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _copy_to(self, place: _Place, kept: dict[int, _Marker]) -> None:
        there = place.complete()
        for step in sorted(kept.keys() - there.keys()):
            place.forget(step)
            storage.upload(self.path(step), f"{place.location}/checkpoint-{step}", "checkpoint_uri")
            if not self._owns(place):
                return  # a run that began meanwhile replaces what has no marker
            place.mark(step, kept[step])
        for old in there.keys() - kept.keys():
            place.forget(old)

    def _download(self, step: int, marker: _Marker) -> None:
        assert self._copy is not None
        self._local.forget(step)
        storage.download(f"{self._copy.location}/checkpoint-{step}", self.path(step), "checkpoint_uri")
        self._local.mark(step, marker)

    def _copies(self) -> dict[int, _Marker]:
        if self._copy is None:
            return {}
        with storage.reaching(self._copy.location, "checkpoint_uri"):
            return self._copy.complete()

    def _owns(self, place: _Place) -> bool:
        """Whether no later run has claimed the place; one that was removed is claimed again."""
        if not self._run:
            return False
        owner = place.owner()
        if not owner:
            place.claim(self._run)
        return owner in ("", self._run)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets only one process at a time train with the checkpoints of `folder`; the others wait.

    The lock ends with the process, however it ends.
    """
    file = folder.with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = _lock(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        stream.close()


def _lock(file: Path) -> Any:
    import fcntl

    while True:
        stream = file.open("a")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("another process is doing the same fine-tuning; waiting for it to end")
            fcntl.flock(stream, fcntl.LOCK_EX)
        # The holder before us removed the file; somebody may have made a new one since.
        if file.exists() and os.path.samestat(file.stat(), os.fstat(stream.fileno())):
            return stream
        stream.close()
