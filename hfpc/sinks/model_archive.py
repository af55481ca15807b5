"""A `.tar.gz` of files in any store, made while it is read, so that it needs neither disk nor memory."""

import gzip
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

_LEVEL = 1  # weights hardly get smaller, and a higher level takes many times as long
_BLOCK = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of a store.

    Attributes:
        name: Its path in the archive or folder that is made.
        size: Its bytes.
        store: Its fsspec file system.
        path: Its path there.
    """

    name: str
    size: int
    store: Any
    path: str

    def open(self) -> Any:
        """A stream that reads the file from its start to its end, a few blocks ahead."""
        return self.store.open(self.path, "rb", block_size=_BLOCK, cache_type="readahead")


@contextmanager
def archive(sources: list[Source]) -> Iterator["_Archive"]:
    """Gives a stream of the archive; the same files give the same bytes.

    Reading it raises what reading a file raised: an archive that was cut short does not look like a whole one.
    """
    reader, writer = os.pipe()
    with open(reader, "rb") as stream:
        made = _Archive(stream, writer, sources)
        made.thread.start()
        try:
            yield made
        finally:
            stream.close()  # ends the thread, if nobody reads on
            made.thread.join()


class _Archive:
    """What reads the pipe that a thread writes the archive into."""

    def __init__(self, stream: BinaryIO, writer: int, sources: list[Source]) -> None:
        self._stream, self._writer, self._sources = stream, writer, sources
        self._error: Exception | None = None
        self.thread = threading.Thread(target=self._write, name="hfpc-archive")

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or fewer at the end."""
        content = self._stream.read(size)
        if not content and size != 0:
            self.thread.join()
            if self._error is not None:
                raise self._error
        return content

    def _write(self) -> None:
        with suppress(BrokenPipeError), open(self._writer, "wb") as out:
            try:
                _pack(self._sources, out)
            except BrokenPipeError:
                raise
            except Exception as error:
                self._error = error


def _pack(sources: list[Source], out: BinaryIO) -> None:
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=_LEVEL, filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for source in sources:
            entry = tarfile.TarInfo(source.name)
            entry.size, entry.mode = source.size, 0o644
            with source.open() as stream:
                tar.addfile(entry, stream)
