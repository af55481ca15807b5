"""What one block of rows goes through before it counts: the task's own checks, and the choice of labels."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from hfpc.errors import ArgumentError
from hfpc.tasks import Task

OTHER_LABELS = "rows with other labels left out"


class Cleaner:
    """Cleans tables one after another and counts what it removes.

    Args:
        task: The task whose rows they are.
        labels: Labels to keep; empty keeps all.

    Attributes:
        removed: Rows removed, for each reason.
        labels_found: Units of each label in usable rows, before any was left out.
    """

    def __init__(self, task: Task, labels: Sequence[str] = ()) -> None:
        self.task = task
        self.labels = list(labels)
        self.removed: Counter[str] = Counter()
        self.labels_found: Counter[str] = Counter()

    def clean(self, table: pa.Table) -> pa.Table:
        """The rows that can be used, role columns first.

        Raises:
            DataError: A column is of a type that cannot be used.
        """
        table, removed = self.task.clean(table)
        self.removed.update(removed)
        self.labels_found.update(self.task.label_counts(table))
        roles = list(self.task.columns)
        if self.labels:
            chosen = pc.is_in(table[roles[-1]], pa.array(self.labels, pa.string()))
            self.removed[OTHER_LABELS] += table.num_rows - pc.sum(chosen, min_count=0).as_py()
            table = table.filter(chosen)
        return table.select([*roles, *(name for name in table.column_names if name not in roles)])

    def check_labels(self) -> None:
        """Raises ArgumentError for a chosen label that no row has; call it at the end."""
        for label in self.labels:
            if label not in self.labels_found:
                names = self.task.label_names(list(self.labels_found))
                listed = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
                raise ArgumentError("labels", self.labels, f"no row is labelled {label!r}; labels found: {listed}")


def only_known(table: pa.Table, label_role: str, known: Sequence[str]) -> pa.Table:
    """The rows all of whose labels, one or a list of them, are known."""
    column = table[label_role].combine_chunks()
    names = pa.array(known, pa.string())
    if not pa.types.is_list(column.type):
        return table.filter(pc.is_in(column, names))
    unknown = pc.invert(pc.is_in(column.flatten(), names))
    rows = pc.list_parent_indices(column).filter(unknown).unique()
    return table.filter(pc.invert(pc.is_in(pa.array(range(len(column)), rows.type), rows)))
