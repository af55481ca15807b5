"""What differs between tasks. One file a task; every stage is written once, against `Task`.

A task's file is its name with underscores (`text-classification`: `text_classification.py`) and
ends with `TASK`, the object that answers for it. Nothing has to be registered.

Two words recur. A *row* is one example, as a mapping from role ("text", "label") to value; *rows*
is a mapping from role to a list of values. A *unit* is what gets one label: the row itself in text
classification, a word in token classification.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hfpc.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Rows = Mapping[str, Sequence[Any]]
Prediction = Any  # What it is, its task says; stages only hand it back to the task.


@dataclass(frozen=True)
class Units:
    """Everything that was labelled, flattened over the rows.

    Attributes:
        truth: True label ids, int, shape `(units,)`.
        probabilities: float32, shape `(units, labels)`; rows sum to 1.
        rows: Index of the row each unit belongs to, int, shape `(units,)`, ascending.
        seen: Whether the model saw the unit, bool, shape `(units,)`. One that it did not see (a word
            beyond the length it takes) has a label by convention, and no probability worth a look.
    """

    truth: "np.ndarray"
    probabilities: "np.ndarray"
    rows: "np.ndarray"
    seen: "np.ndarray"

    def only_seen(self) -> "Units":
        """Without the units that the model did not see."""
        seen = self.seen
        return Units(self.truth[seen], self.probabilities[seen], self.rows[seen], seen[seen])


@dataclass(frozen=True)
class Scores:
    """How good predictions are.

    Attributes:
        sums: What each row adds to the sums that `Task.metrics` is computed from, shape
            `(rows, sums)`.
        main_sums: What each row adds to the sums that `Task.main_value` is computed from, shape
            `(rows, main sums)`. They do not depend on what labels a model knows, so that a paired
            test can swap those of two models. Where the main metric is the share of right rows,
            they are `(1, 1)` for a right row and `(0, 1)` for a wrong one.
        row_scores: How right each row is, 0 to 1, float, shape `(rows,)`: what slices compare.
        units: For the confusion matrix, ROC and calibration; None for a task without labels.
    """

    sums: "np.ndarray"
    main_sums: "np.ndarray"
    row_scores: "np.ndarray"
    units: Units | None


class Task(Protocol):
    """What a stage may ask of a task."""

    name: str
    """The Hub's name of the task, e.g. "text-classification"."""

    columns: Mapping[str, str]
    """Role to what its column holds. The last role is the label's."""

    main_metric: str
    """The metric that early stopping, selection and comparison use; higher is better."""

    nests_single_response: bool
    """Whether the Hub's clients expect the response to one input in a list of one."""

    def clean(self, table: "pa.Table") -> tuple["pa.Table", dict[str, int]]:
        """Casts the role columns to their types and drops rows that cannot be used.

        Args:
            table: Some rows, columns named by role, others passed through. The label column may be
                missing (batch prediction).

        Returns:
            The rows that remain, and the number dropped or changed for each reason.

        Raises:
            DataError: A column is of a type that cannot be used at all.
        """

    def key(self, table: "pa.Table") -> "pa.Array":
        """A string for each row; rows whose strings are equal are the same input."""

    def stratum(self, table: "pa.Table") -> "pa.Array":
        """A string for each row; a stratified split keeps the share of each in every split."""

    def label_counts(self, table: "pa.Table") -> dict[str, int]:
        """Label name to how many units of a cleaned table carry it."""

    def label_names(self, labels: Sequence[str]) -> list[str]:
        """The distinct labels of a data set, in the order that gives them their ids."""

    def encode(self, rows: Rows, tokenizer: Any, max_length: int | None) -> dict[str, list[Any]]:
        """Token ids and whatever else `decode` needs, a list per row under each name.

        Names that the tokenizer lists in `model_input_names` go into the model.

        Args:
            rows: Input roles only are read.
            tokenizer: A fast tokenizer.
            max_length: Tokens a row is cut to; None cuts nothing.
        """

    def encode_labels(self, rows: Rows, encoded: Mapping[str, Sequence[Any]], label_names: Sequence[str]) -> list[Any]:
        """The value of the model's `labels` argument for each row; -100 marks what has no label."""

    def auto_model(self) -> Any:
        """The Auto class that loads a model with this task's head."""

    def collator(self, tokenizer: Any) -> Any:
        """Makes a padded training batch of a list of encoded rows."""

    def step_metrics(self, logits: "np.ndarray", labels: "np.ndarray", names: Sequence[str]) -> dict[str, float]:
        """Metrics during training, `main_metric` among them, from padded arrays (label -100 = none)."""

    def decode(self, logits: "np.ndarray", encoded: Mapping[str, Any]) -> Prediction:
        """The prediction for one row.

        Args:
            logits: The model's output for the row, float32, padding still on.
            encoded: The row as `encode` gave it.
        """

    def score(self, rows: Rows, predictions: Sequence[Prediction], names: Sequence[str]) -> Scores:
        """Compares predictions with the labels in `rows`."""

    def metrics(self, sums: "np.ndarray") -> dict[str, "np.ndarray"]:
        """Metrics, `main_metric` among them, from sums over rows; so a bootstrap is one call.

        Args:
            sums: Sums of rows of `Scores.sums`, shape `(…, sums)`.

        Returns:
            Metric name to finite values of shape `(…)`.
        """

    def main_value(self, main_sums: "np.ndarray") -> "np.ndarray":
        """The main metric, as `metrics` gives it, from sums over rows of `Scores.main_sums`.

        Args:
            main_sums: Shape `(…, main sums)`.

        Returns:
            Finite values of shape `(…)`.
        """

    def output_columns(self, predictions: Sequence[Prediction], names: Sequence[str]) -> "pa.Table":
        """Predictions as a table: `prediction`, `score` and what else the task has.

        The column types do not depend on the predictions, of which there may be none.
        """

    def show(self, row: Mapping[str, Any], unit: int) -> str:
        """A row for a person to read, with its unit number `unit` marked where it has several."""

    def parse(self, inputs: Sequence[Any]) -> Rows:
        """Rows from the `inputs` of a request.

        Raises:
            ArgumentError: An input is not of the task's form.
        """

    def request(self, row: Mapping[str, Any]) -> Any:
        """The request input that stands for a row of a data set."""

    def respond(
        self, row: Mapping[str, Any], prediction: Prediction, names: Sequence[str], parameters: Mapping[str, Any]
    ) -> Any:
        """One response, in the shape of `huggingface_hub`'s specification of the task.

        Raises:
            ArgumentError: A parameter is unknown or its value cannot be used.
        """

    def answer(self, response: Any) -> Any:
        """The part of a response that may not differ between servers: its labels."""


def names() -> list[str]:
    """Names of all tasks there are."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Task:
    """The task called `name`.

    Raises:
        ArgumentError: There is none.
    """
    if name not in names():
        raise ArgumentError("task", name, f"choose one of {', '.join(names())}")
    task: Task = importlib.import_module(f"hfpc.tasks.{name.replace('-', '_')}").TASK
    return task
