"""The files of a source: which there are, their format, their split, and their bytes.

A location is a file, a glob or a folder on any store that fsspec knows. A file belongs to the
split that its name or one of its folders tells: `test.csv`, `data/val/part-0.parquet`,
`train-00000-of-00002.jsonl.gz`.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from hfpc import storage
from hfpc.errors import ArgumentError, DataError

SPLITS = ("train", "validation", "test")
FORMATS = ("csv", "tsv", "jsonl", "parquet")
BLOCK_BYTES = 4 << 20
"""Bytes read at once: more than a row has, and so few that several blocks fit into any memory."""

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
# Files that lie beside data without being data.
_RECORDS = ("hfpc.json", "dataset_info.json", "dataset_infos.json", "state.json", "config.json")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of rows.

    Attributes:
        store: Its fsspec file system.
        path: Its path in `store`.
        format: csv, tsv, jsonl or parquet.
        split: train, validation, test, or None where nothing tells.
    """

    store: Any
    path: str
    format: str
    split: str | None

    def open(self) -> Any:
        """Its bytes, decompressed, as a binary stream."""
        compression = _COMPRESSIONS.get(PurePosixPath(_plain(self.path)).suffix.lower())
        stream = self.store.open(self.path, "rb")
        if compression is None:
            return stream
        if compression == "zstd":
            import pyarrow as pa

            return pa.CompressedInputStream(pa.PythonFile(stream), "zstd")
        import fsspec

        return fsspec.compression.compr[compression](stream, mode="rb")


def find(location: str, format_name: str = "") -> list[DataFile]:
    """The files at a location, in the order of their names.

    Args:
        location: A file, a glob or a folder; a URI or a path.
        format_name: Format of every file; "" goes by their names.

    Raises:
        ArgumentError: Nothing is there, or the format is not clear.
        DataError: Only some files tell their split.
    """
    store, path = storage.filesystem(location, "source")
    try:
        paths, root = _paths(store, path)
    except OSError as error:
        raise ArgumentError("source", location, f"it cannot be read ({error}); check your access") from error
    if not paths:
        raise ArgumentError("source", location, "there is no data file here; check the spelling and your access")
    if format_name and len(paths) > 1:
        paths = [name for name in paths if file_format(name) == format_name] or paths
    chosen = format_name or _common_format(location, paths)
    files = [DataFile(store=store, path=name, format=chosen, split=split_of(_below(name, root))) for name in paths]
    return _settle_splits(files)


def file_format(path: str) -> str | None:
    """The format that a file's name tells, or None."""
    name = PurePosixPath(_plain(path)).name.lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    return _ENDINGS.get(PurePosixPath(name).suffix)


def split_of(path: str) -> str | None:
    """The split that a relative path tells: its file name's first or last word, or a folder's name."""
    *folders, name = PurePosixPath(path.lower()).parts
    words = _WORD.findall(name.partition(".")[0])
    for word in [*words[:1], *words[-1:], *reversed(folders)]:
        if word in _SPLIT_WORDS:
            return _SPLIT_WORDS[word]
    return None


def _paths(store: Any, path: str) -> tuple[list[str], str]:
    """The data files at `path`, and the folder that their split names are below."""
    if any(character in _plain(path) for character in "*[") and not store.exists(path):
        root = re.split(r"[*\[]", path)[0].rpartition("/")[0]
        return [name for name in sorted(store.glob(path)) if _is_data(_below(name, root)) and store.isfile(name)], root
    if not _is_http(store) and store.isdir(path):
        root = store._strip_protocol(path).rstrip("/")
        return [name for name in sorted(store.find(root)) if _is_data(_below(name, root)) and file_format(name)], root
    return ([path] if store.exists(path) else []), ""


def _is_data(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return not any(part.startswith((".", "_")) for part in parts) and parts[-1] not in _RECORDS


def _is_http(store: Any) -> bool:
    """Whether asking for a folder would read a web page for links."""
    return "http" in (store.protocol if isinstance(store.protocol, Sequence) else ())


def _plain(path: str) -> str:
    """The path without what a URL may carry behind it."""
    return path.partition("?")[0] if path.startswith(("http://", "https://")) else path


def _below(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip("/")


def _common_format(location: str, paths: Sequence[str]) -> str:
    known = ", ".join(FORMATS)
    for path in paths:
        if file_format(path) is None:
            fix = f'the name of {path} tells no format; say it, e.g. extra={{"format": "csv"}} (one of {known})'
            raise ArgumentError("source", location, fix)
    found = sorted({file_format(path) or "" for path in paths})
    if len(found) > 1:
        fix = f'it holds files of several formats; choose one, e.g. extra={{"format": "{found[0]}"}}'
        raise ArgumentError("source", location, f"{fix} (found {', '.join(found)})")
    return found[0]


def _settle_splits(files: list[DataFile]) -> list[DataFile]:
    """A single file is everything; files without a split are the training rows if no others are."""
    found = {file.split for file in files}
    if len(files) == 1 or found == {None} or found == {"train"}:
        return [replace(file, split=None) for file in files]
    if "train" not in found and None in found:
        return [replace(file, split=file.split or "train") for file in files]
    if None in found:
        unclear = ", ".join(file.path for file in files if file.split is None)
        raise DataError(f"these files belong to no split: {unclear}; leave them out with a glob, or rename them")
    if "train" not in found:
        splits = ", ".join(sorted(split for split in found if split))
        raise DataError(f"there are files for {splits} but none for train; name one train, or give a single file")
    return files


def buffered(stream: Any) -> io.BufferedReader:
    """A stream that can be peeked into, whatever kind it is."""
    return io.BufferedReader(_Readable(stream), 1 << 20)


class _Readable(io.RawIOBase):
    """What `io.BufferedReader` needs of any object with `read`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
