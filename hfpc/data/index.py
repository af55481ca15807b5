"""A small record of every row, in DuckDB on disk: finds duplicates and leaks, and draws the splits.

Texts stay out of it: a row is its place, a hash of its input, a hash of its label, its stratum and
its split. DuckDB spills to disk what exceeds `MEMORY`, so that any number of rows fits.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from hfpc.data.files import SPLITS
from hfpc.data.splitting import Quota

MEMORY = "256MB"
THREADS = 2

REMOVED = 0
CODES = {split: code for code, split in enumerate(SPLITS, start=1)}  # a later split keeps a leaking row
DUPLICATES = "duplicate rows removed"
CONTRADICTIONS = "contradicting rows removed"

Stratum = tuple[str, str]
"""A split and a stratum in it."""

_REPEATS = """
create table removed as
with repeated as (select key from rows group by key having count(*) > 1),
placed as (
  select place, split, label,
    row_number() over first_first as copy,
    first_value(label) over first_first as first_label,
    max(split) over (partition by key) as last_split
  from rows semi join repeated using (key)
  window first_first as (partition by key, split order by place)
)
select place, split, last_split, case when copy = 1 then 'leak' when label = first_label then 'duplicate'
  else 'contradiction' end as reason
from placed where copy > 1 or split < last_split
"""
_DRAW = """
select place, case when rank <= test then {test} when rank <= test + validation then {validation}
  else {removed} end::utinyint as target
from (
  select place, split, stratum, row_number() over (partition by split, stratum order by draw, key) as rank
  from rows anti join removed using (place)
) join quotas using (split, stratum)
where rank <= test + validation or rank > kept
"""


class Index:
    """The rows of one data set, in their order.

    Args:
        folder: An empty folder for its files.
        seed: Seed of the draw.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        import duckdb

        settings = {"memory_limit": MEMORY, "threads": THREADS, "temp_directory": str(folder / "spill")}
        self._connection = duckdb.connect(str(folder / "index.duckdb"), config=settings)
        self._connection.execute(
            "create table rows "
            "(place bigint, key uhugeint, label uhugeint, draw ubigint, stratum integer, split utinyint)"
        )
        self._strata: dict[str, int] = {}
        self._seed = seed
        self._targets = folder / "targets"
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
        count = len(keys)
        batch = pa.table(
            {
                "place": pa.array(np.arange(self.rows, self.rows + count)),
                "key": keys,
                "label": labels,
                "stratum": self._stratum_ids(strata),
            }
        )
        self._connection.register("batch", batch)
        self._connection.execute(
            "insert into rows select place, md5_number(key), md5_number(label::varchar), "
            "md5_number_upper(key || chr(0) || ?), stratum, ? from batch",
            [str(self._seed), CODES[split]],
        )
        self._connection.unregister("batch")
        with self._targets.open("ab") as file:
            file.write(bytes([CODES[split]]) * count)
        self.rows += count
        self.splits.add(split)

    def remove_repeats(self) -> Counter[str]:
        """Removes duplicates, contradictions and leaks; the number of each.

        Of rows with the same input the first of a split stays. An input that is in several splits
        stays in the test, else in validation: a model must not be tested on what it was trained on.
        """
        self._connection.execute(_REPEATS)
        self._mark("select place, 0::utinyint as target from removed")
        counted = self._connection.execute(
            "select reason, split, last_split, count(*) from removed group by all order by all"
        ).fetchall()
        repairs: Counter[str] = Counter()
        for reason, split, last_split, rows in counted:
            if reason == "leak":
                name = f"{SPLITS[split - 1]} rows removed that are also in {SPLITS[last_split - 1]}"
            else:
                name = DUPLICATES if reason == "duplicate" else CONTRADICTIONS
            repairs[name] += rows
        return repairs

    def counts(self) -> dict[Stratum, int]:
        """Rows left in each stratum of each split, ordered by name."""
        names = list(self._strata)
        counted = self._connection.execute(
            "select split, stratum, count(*) from rows anti join removed using (place) group by all"
        ).fetchall()
        return dict(sorted(((SPLITS[split - 1], names[stratum]), rows) for split, stratum, rows in counted))

    def draw(self, quotas: Mapping[Stratum, Quota]) -> None:
        """Draws from each stratum the rows that leave it, by a seeded hash of their input."""
        columns = {
            "split": pa.array([CODES[split] for split, _ in quotas], pa.uint8()),
            "stratum": pa.array([self._strata[stratum] for _, stratum in quotas], pa.int32()),
            "kept": [quota.kept for quota in quotas.values()],
            "test": [quota.test for quota in quotas.values()],
            "validation": [quota.validation for quota in quotas.values()],
        }
        self._connection.register("quotas", pa.table(columns))
        self._mark(_DRAW.format(test=CODES["test"], validation=CODES["validation"], removed=REMOVED))

    def targets(self) -> np.ndarray:
        """Where each row goes, in their order: a code of `CODES`, or `REMOVED`. Stays on disk until read."""
        return np.memmap(self._targets, np.uint8, "r")

    def close(self) -> None:
        """Frees its memory; its files are the caller's to remove."""
        self._connection.close()

    def _mark(self, query: str) -> None:
        """Writes the `target` of each `place` that a query finds."""
        targets = np.memmap(self._targets, np.uint8, "r+")
        for batch in self._connection.sql(query).to_arrow_reader(100_000):
            targets[batch.column("place").to_numpy()] = batch.column("target").to_numpy()
        targets.flush()

    def _stratum_ids(self, strata: pa.Array) -> pa.Array:
        if isinstance(strata, pa.ChunkedArray):
            strata = strata.combine_chunks()
        encoded = strata.dictionary_encode()
        ids = [self._strata.setdefault(name, len(self._strata)) for name in encoded.dictionary.to_pylist()]
        return pa.array(ids, pa.int32()).take(encoded.indices)
