"""The digest sees every change of the rows and nothing of the batches."""

import datetime
import random

import pyarrow as pa
import pytest

from hfpc.data.fingerprint import RowDigest

ROWS = [
    {
        "text": None if i % 7 == 3 else f"text {i} é",
        "tags": None if i % 5 == 4 else [f"t{j}" for j in range(i % 4)],
        "number": None if i % 6 == 5 else i,
        "real": i / 3,
        "flag": None if i % 9 == 1 else i % 2 == 0,
        "day": datetime.date(2026, 1, 1 + i % 28),
        "object": {"a": i, "b": [str(i)]},
    }
    for i in range(60)
]
TABLE = pa.Table.from_pylist(ROWS)


def digest(*tables):
    made = RowDigest()
    for table in tables:
        made.add(table)
    return made.hexdigest()


@pytest.mark.parametrize("seed", range(10))
def test_batches_leave_no_trace(seed):
    rng = random.Random(seed)
    ends = sorted(rng.sample(range(1, 60), 5))
    parts = [TABLE.slice(start, end - start) for start, end in zip([0, *ends], [*ends, 60], strict=True)]
    assert digest(*parts) == digest(TABLE) == digest(pa.concat_tables(parts))


@pytest.mark.parametrize(
    "other",
    [
        TABLE.slice(1),
        TABLE.take(list(reversed(range(60)))),
        TABLE.rename_columns(["words", *TABLE.column_names[1:]]),
        pa.Table.from_pylist([{**ROWS[0], "text": "other"}, *ROWS[1:]]),
        pa.Table.from_pylist([{**ROWS[0], "flag": not ROWS[0]["flag"]}, *ROWS[1:]]),
        pa.Table.from_pylist([{**ROWS[0], "object": {"a": 0, "b": ["1"]}}, *ROWS[1:]]),
        pa.Table.from_pylist([{**ROWS[0], "number": None}, *ROWS[1:]]),
    ],
)
def test_every_change_shows(other):
    assert digest(other) != digest(TABLE)


def test_values_do_not_run_into_each_other():
    def of(*texts):
        return digest(pa.table({"text": pa.array(texts, pa.string())}))

    assert len({of("ab", "c"), of("a", "bc"), of("abc", ""), of("abc", None), of("abc"), of("", "abc")}) == 6
