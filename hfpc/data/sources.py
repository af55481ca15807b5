"""Rows from anywhere, in a stream: an embedded sample, the Hub, or files on any store.

`read` looks at the source, `Source.batches` reads it:

    source = read("s3://bucket/tweets/*.csv.gz", columns={"text": "tweet"}, roles=["text"])
    for split, table in source.batches():
        ...  # table["text"]; every other column under its own name
    print(source.repairs)
"""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from hfpc import samples, storage
from hfpc.data import encodings, files, formats
from hfpc.data.hub import HubDataset
from hfpc.errors import ArgumentError

EXTRA = ("format", "encoding", "delimiter", "config")

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_HUB_BATCH_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source that was found and can be read.

    Attributes:
        location: What was asked for.
        revision: Commit SHA on the Hub; "" elsewhere.
        licence: Licence the source states, or "unknown".
        columns: Role to the name of the source's column.
        roles: Roles that must be there.
        repairs: What was repaired or skipped, with counts; complete when `batches` has ended.
    """

    location: str
    revision: str
    licence: str
    columns: Mapping[str, str]
    roles: Sequence[str]
    repairs: Counter[str] = field(default_factory=Counter)
    _content: "HubDataset | Sequence[files.DataFile]"
    _extra: Mapping[str, str]
    _block_bytes: int

    def batches(self) -> Iterator[tuple[str | None, pa.Table]]:
        """Split (train, validation, test; None where the source has none) and table, in the source's order.

        Role columns come under their role's name. Where a column that no role takes has a role's
        name, it becomes `source_…`.

        Raises:
            ArgumentError: A column is missing.
            DataError: A file cannot be read.
        """
        for split, table in self._tables():
            if table.num_rows:
                yield split, self._by_role(table)

    def _tables(self) -> Iterator[tuple[str | None, pa.Table]]:
        if isinstance(self._content, HubDataset):
            yield from self._content.batches(_HUB_BATCH_ROWS)
            return
        for file in self._content:
            for table in formats.tables(
                file,
                self.repairs,
                encoding=self._extra.get("encoding", ""),
                delimiter=self._extra.get("delimiter", ""),
                block_bytes=self._block_bytes,
            ):
                yield file.split, table

    def _by_role(self, table: pa.Table) -> pa.Table:
        for role in self.roles:
            if self.columns[role] not in table.column_names:
                raise ArgumentError("columns", self._mapping(), self._missing(role, table.column_names))
        roles = {column: role for role, column in self.columns.items()}
        names = [roles.get(name, f"source_{name}" if name in self.columns else name) for name in table.column_names]
        return table.rename_columns(names)

    def _mapping(self) -> dict[str, str]:
        return {role: column for role, column in self.columns.items() if role != column}

    def _missing(self, role: str, found: Sequence[str]) -> str:
        listed = ", ".join(map(repr, found))
        fix = f"{self.location} has no column {self.columns[role]!r} for {role!r}; it has {listed}. "
        by_lower = {name.lower(): name for name in found}
        close = difflib.get_close_matches(self.columns[role].lower(), by_lower, n=1)
        fix += f'Say which one it is: columns={{"{role}": "{by_lower[close[0]] if close else "…"}"}}'
        if len(found) == 1 and re.search(r"[;\t|]", found[0]):
            fix += '; or the separator is another one, e.g. extra={"delimiter": ";"}'
        return fix


def read(
    source: str,
    *,
    roles: Sequence[str],
    optional: Sequence[str] = (),
    revision: str = "",
    columns: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    block_bytes: int = files.BLOCK_BYTES,
) -> Source:
    """Finds a source; its rows are read when `batches` is iterated.

    Args:
        source: `sample:NAME`, a path or URI (file, glob or folder) or a Hub id.
        roles: Roles that must be there, e.g. `["text", "label"]`.
        optional: Roles that are renamed too where their column is there.
        revision: Branch, tag or commit of a Hub data set.
        columns: Role to column name, for columns not named like their role.
        extra: `format`, `encoding`, `delimiter`, `config`.
        block_bytes: About how many bytes a table holds. The rows do not depend on it.

    Raises:
        ArgumentError: An argument cannot be used, or there is no such source.
        DataError: Only some of its files tell their split.
    """
    given, extra = dict(columns or {}), dict(extra or {})
    check(source, [*roles, *optional], revision, given, extra)
    named = {}
    licence = "unknown"
    content: HubDataset | Sequence[files.DataFile]
    if source.startswith(samples.PREFIX):
        sample = samples.dataset(source)
        named, licence = dict(sample.columns), sample.licence
        content = files.find(str(sample.locate()), extra.get("format", ""))
    elif is_hub_id(source):
        content = HubDataset(source, revision, extra.get("config", ""))
        licence = content.licence
    else:
        content = files.find(source, extra.get("format", ""))
    return Source(
        location=source,
        revision=content.revision if isinstance(content, HubDataset) else "",
        licence=licence,
        columns={role: given.get(role) or named.get(role, role) for role in [*roles, *optional]},
        roles=roles,
        _content=content,
        _extra=extra,
        _block_bytes=block_bytes,
    )


def is_hub_id(source: str) -> bool:
    """Whether a source can only be a Hub id: no sample, no URI, no path that exists or looks like a file."""
    if source.startswith(samples.PREFIX) or storage.is_uri(source) or os.path.exists(source):
        return False
    return bool(_HUB_ID.match(source)) and files.file_format(source) is None


def check(
    source: str, roles: Sequence[str], revision: str, columns: Mapping[str, str], extra: Mapping[str, str]
) -> None:
    """Raises ArgumentError for arguments that cannot be used, before anything is read."""
    if not source:
        raise ArgumentError("source", source, "give sample:tweets, a Hub id, or a URI or path")
    if source.startswith(samples.PREFIX):
        samples.dataset(source)
    for role in columns:
        if role not in roles:
            raise ArgumentError("columns", dict(columns), f"unknown role {role!r}; the task has {', '.join(roles)}")
    if len(set(columns.values())) < len(columns):
        raise ArgumentError("columns", dict(columns), "two roles cannot have the same column")
    for name in extra:
        if name not in EXTRA:
            raise ArgumentError("extra", dict(extra), f"unknown setting {name!r}; known ones are {', '.join(EXTRA)}")
    if extra.get("format", files.FORMATS[0]) not in files.FORMATS:
        raise ArgumentError("extra", dict(extra), f"format must be one of {', '.join(files.FORMATS)}")
    if "delimiter" in extra and len(extra["delimiter"]) != 1:
        raise ArgumentError("extra", dict(extra), "delimiter must be one character")
    encodings.check(extra.get("encoding", ""))
    if revision and not is_hub_id(source):
        raise ArgumentError("revision", revision, f"leave it empty: {source} is not on the Hub")
