"""A small record of every row, on disk: finds duplicates and leaks, and draws the splits.

Texts stay out of it: a row is its place, a hash of its input, a hash of its label, its stratum and
its split, 37 bytes in all. A seeded hash decides which of 256 files a record goes to, so that equal
inputs meet in one file, each file fits into memory, and the files one after another are a random
order of the rows: the order that splits are drawn in.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hfpc.data.files import SPLITS
from hfpc.data.splitting import Quota

REMOVED = 0
CODES = {split: code for code, split in enumerate(SPLITS, start=1)}  # a later split keeps a leaking row
DUPLICATES = "duplicate rows removed"
CONTRADICTIONS = "contradicting rows removed"

Stratum = tuple[str, str]
"""A split and a stratum in it."""

_FILES = 256
_RECORD = np.dtype(
    [("place", "i8"), ("high", "u8"), ("low", "u8"), ("label", "u8"), ("stratum", "i4"), ("split", "u1")]
)
# MD5 spreads inputs evenly and is the same in every version, so a seed keeps its splits.
_HASH = """
select (hash >> 64)::ubigint as high, (hash & 18446744073709551615)::ubigint as low, label
from (select md5_number(key || chr(0) || ?) as hash, hash(label::varchar) as label from batch)
"""


class Index:
    """The rows of one data set, in their order.

    Args:
        folder: An empty folder for its files.
        seed: Seed of the draw.

    Attributes:
        rows: Rows added.
        splits: Splits that rows were added to.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        import duckdb

        self._hashing = duckdb.connect(config={"threads": 1})
        self._seed = str(seed)
        self._files: list[Any] = [(folder / f"records-{number:03d}").open("w+b") for number in range(_FILES)]
        self._targets = folder / "targets"
        self._strata: dict[str, int] = {}
        self._counts: Counter[tuple[int, int]] = Counter()
        self.rows = 0
        self.splits: set[str] = set()

    def add(self, keys: pa.Array, labels: pa.Array, strata: pa.Array, split: str) -> None:
        """Adds the next rows.

        Args:
            keys: Strings; equal ones are the same input.
            labels: Their labels, of any type.
            strata: Strings.
            split: The split they are in.
        """
        records = np.empty(len(keys), _RECORD)
        records["place"] = np.arange(self.rows, self.rows + len(keys))
        hashes = self._hashes(keys, labels)
        for name in ("high", "low", "label"):
            records[name] = hashes[name].to_numpy()
        records["stratum"] = self._stratum_ids(strata)
        records["split"] = CODES[split]
        self._append(records)
        with self._targets.open("ab") as file:
            file.write(bytes([CODES[split]]) * len(keys))
        self.rows += len(keys)
        self.splits.add(split)

    def remove_repeats(self) -> Counter[str]:
        """Removes duplicates, contradictions and leaks; the number of each.

        Of rows with the same input the first of a split stays. An input that is in several splits
        stays in the test, else in validation: a model must not be tested on what it was trained on.
        Call it once, after all rows were added.
        """
        repairs: Counter[str] = Counter()
        targets = np.memmap(self._targets, np.uint8, "r+")
        for records in self._records():
            records = records[np.lexsort([records[name] for name in ("place", "split", "low", "high")])]
            input_of, first = _groups(records, "high", "low")
            copy_of, first_copy = _groups(records, "high", "low", "split")
            is_copy = np.ones(len(records), bool)
            is_copy[first_copy] = False
            same_label = records["label"] == records["label"][first_copy][copy_of]
            last_split = np.maximum.reduceat(records["split"], first)[input_of]
            leaks = ~is_copy & (records["split"] < last_split)
            repairs[DUPLICATES] += int((is_copy & same_label).sum())
            repairs[CONTRADICTIONS] += int((is_copy & ~same_label).sum())
            for split, last in zip(records["split"][leaks].tolist(), last_split[leaks].tolist(), strict=True):
                repairs[f"{SPLITS[split - 1]} rows removed that are also in {SPLITS[last - 1]}"] += 1
            targets[records["place"][is_copy | leaks]] = REMOVED
            left = records[~(is_copy | leaks)]
            for code, rows in zip(*np.unique(_stratum_codes(left), return_counts=True), strict=True):
                self._counts[divmod(int(code), 4)] += int(rows)
        targets.flush()
        return +repairs

    def counts(self) -> dict[Stratum, int]:
        """Rows left in each stratum of each split, ordered by name."""
        names = list(self._strata)
        return dict(sorted(((SPLITS[split - 1], names[id_]), rows) for (id_, split), rows in self._counts.items()))

    def draw(self, quotas: Mapping[Stratum, Quota]) -> None:
        """Draws from each stratum the rows that leave it: the first in the order of their hash."""
        limits = np.zeros((3, 4 * len(self._strata)), np.int64)  # by stratum code: test, validation, kept
        for (split, stratum), quota in quotas.items():
            code = 4 * self._strata[stratum] + CODES[split]
            limits[:, code] = quota.test, quota.test + quota.validation, quota.kept
        targets = np.memmap(self._targets, np.uint8, "r+")
        seen = np.zeros(4 * len(self._strata), np.int64)
        for records in self._records():
            records = records[targets[records["place"]] != REMOVED]
            codes = _stratum_codes(records)
            order = np.lexsort([records["low"], records["high"], codes])
            codes, places = codes[order], records["place"][order]
            present, first, sizes = np.unique(codes, return_index=True, return_counts=True)
            ranks = np.arange(len(codes)) - np.repeat(first, sizes) + seen[codes]
            seen[present] += sizes
            test, held_out, kept = limits[:, codes]
            targets[places[ranks < held_out]] = CODES["validation"]
            targets[places[ranks < test]] = CODES["test"]
            targets[places[ranks >= kept]] = REMOVED
        targets.flush()

    def targets(self) -> np.ndarray:
        """Where each row goes, in their order: a code of `CODES`, or `REMOVED`. Stays on disk until read."""
        return np.memmap(self._targets, np.uint8, "r")

    def close(self) -> None:
        """Closes its files; they are the caller's to remove."""
        self._hashing.close()
        for file in self._files:
            file.close()

    def _hashes(self, keys: pa.Array, labels: pa.Array) -> pa.Table:
        self._hashing.register("batch", pa.table({"key": keys, "label": labels}))
        hashes = self._hashing.execute(_HASH, [self._seed]).fetchnumpy()
        self._hashing.unregister("batch")
        return pa.table(hashes)

    def _stratum_ids(self, strata: pa.Array) -> np.ndarray:
        if isinstance(strata, pa.ChunkedArray):
            strata = strata.combine_chunks()
        encoded = strata.dictionary_encode()
        ids = [self._strata.setdefault(name, len(self._strata)) for name in encoded.dictionary.to_pylist()]
        return np.array(ids, np.int32)[encoded.indices.to_numpy()]

    def _append(self, records: np.ndarray) -> None:
        numbers = (records["high"] >> np.uint64(56)).astype(np.int64)
        records = records[np.argsort(numbers, kind="stable")]
        ends = np.cumsum(np.bincount(numbers, minlength=_FILES))
        for file, part in zip(self._files, np.split(records, ends[:-1]), strict=True):
            file.write(part.tobytes())

    def _records(self) -> Iterator[np.ndarray]:
        """The records of one file after another, those that are not empty."""
        for file in self._files:
            file.seek(0)
            records = np.frombuffer(file.read(), _RECORD)
            if len(records):
                yield records


def _groups(records: np.ndarray, *names: str) -> tuple[np.ndarray, np.ndarray]:
    """Of sorted records: which group each is in, and where each group begins."""
    begins = np.zeros(len(records), bool)
    begins[0] = True
    for name in names:
        begins[1:] |= records[name][1:] != records[name][:-1]
    return np.cumsum(begins) - 1, np.flatnonzero(begins)


def _stratum_codes(records: np.ndarray) -> np.ndarray:
    """One number for a stratum and a split."""
    return records["stratum"].astype(np.int64) * 4 + records["split"]
