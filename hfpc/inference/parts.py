"""Part files of a batch prediction: one a chunk, each of which tells what it was made from."""

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc import manifest, storage
from hfpc.errors import ArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = b"hfpc.made_from"
_MISSING = b"hfpc.rows_without_prediction"
_PART = re.compile(r"part-(\d{5,})\.parquet")


class Parts:
    """The part files of one batch prediction, in a folder and, if wanted, at a URI too.

    Args:
        folder: Folder of this machine that gets every part.
        uri: Folder that gets a copy of each part as soon as it is made; "" for none. `hfpc.json`
            is removed there at once, and comes back with `finish`.
        model: Fingerprint of the model.

    Raises:
        ArgumentError: `uri` cannot be used, or holds something else than a batch prediction.
    """

    def __init__(self, folder: Path, uri: str, *, model: str) -> None:
        self.folder = folder
        self.model = model
        self._count = 0
        self._rows = 0
        self._store: Any = None
        self._root = ""
        if uri:
            self._store, self._root = storage.filesystem(uri, "output_uri")
            storage.make_folder(self._store, self._root)
            if reason := self._foreign():
                raise ArgumentError(
                    "output_uri", uri, f"{reason}: give an empty folder, or an earlier batch prediction's"
                )
            if self._store.exists(self._at(manifest.FILE_NAME)):
                self._store.rm_file(self._at(manifest.FILE_NAME))

    def reuse(self, chunk: "pa.Table") -> int | None:
        """Takes the next part from the URI if it was made from this chunk, its place and this model.

        Returns:
            Rows without a prediction in it; None where the part has to be made.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._store is None or not self._store.exists(self._at(self._name())):
            return None
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            copy = Path(scratch) / self._name()
            self._store.get_file(self._at(self._name()), str(copy))
            try:
                found = pq.read_schema(copy).metadata or {}
            except pa.ArrowInvalid:
                return None  # Cut short when its writer was killed.
            if found.get(_KEY) != self._key(chunk):
                return None
            copy.rename(self.folder / self._name())
        self._next(chunk)
        return int(found[_MISSING])

    def add(self, chunk: "pa.Table", predicted: "pa.Table", missing: int) -> None:
        """Writes the next part.

        Args:
            chunk: What was predicted.
            predicted: The same with predictions.
            missing: Rows without a prediction.
        """
        import pyarrow.parquet as pq

        made = {_KEY: self._key(chunk), _MISSING: str(missing).encode()}
        file = self.folder / self._name()
        pq.write_table(predicted.replace_schema_metadata({**(predicted.schema.metadata or {}), **made}), file)
        if self._store is not None:
            self._store.put_file(str(file), self._at(file.name))
        self._next(chunk)

    def finish(self) -> None:
        """Removes parts at the URI that an earlier, longer source left, and writes `hfpc.json` there."""
        if self._store is None:
            return
        for path in self._store.ls(self._root, detail=False):
            part = _PART.fullmatch(path.rpartition("/")[2])
            if part and int(part[1]) >= self._count:
                self._store.rm_file(path)
        self._store.put_file(str(self.folder / manifest.FILE_NAME), self._at(manifest.FILE_NAME))

    def _foreign(self) -> str:
        """Why the folder at the URI may not be written to; "" where it may."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._at(manifest.FILE_NAME)
        if self._store.exists(file):
            kind, batch = _content(self._store.cat_file(file))
            return "" if batch else f"it holds {kind}"
        paths = sorted(
            path for path in self._store.ls(self._root, detail=False) if path.strip("/") != self._root.strip("/")
        )
        others = [path for path in paths if not _PART.fullmatch(path.rpartition("/")[2])]
        if others:
            return f"it holds {others[0].rpartition('/')[2]!r}"
        # A split of a data set has parts of the same names.
        for path in paths[:1]:
            try:
                with self._store.open(path) as stream:
                    ours = _KEY in (pq.read_schema(stream).metadata or {})
            except pa.ArrowInvalid:
                continue  # Cut short when its writer was killed.
            if not ours:
                return "it holds Parquet files that batch_predict did not write"
        return ""

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _name(self) -> str:
        return f"part-{self._count:05}.parquet"

    def _next(self, chunk: "pa.Table") -> None:
        self._count += 1
        self._rows += chunk.num_rows

    def _key(self, chunk: "pa.Table") -> bytes:
        """SHA-256 of the model, the chunk's first row number, and its content."""
        import pyarrow as pa

        digest = hashlib.sha256(f"{self.model} {self._rows}".encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, chunk.schema) as writer:
            writer.write_table(chunk)
        digest.update(sink.getvalue())
        return digest.hexdigest().encode()


def _content(record: bytes) -> tuple[str, bool]:
    """What the folder of an `hfpc.json` holds, and whether that is a batch prediction."""
    try:
        content = json.loads(record)
        if content["kind"] != "predictions":
            return f"a {content['kind']}", False
        return "the predictions of evaluate", not content["predictions"]["split"]
    except (ValueError, TypeError, KeyError):
        return f"a {manifest.FILE_NAME} that cannot be read", False
