"""Text classification: one label for each text.

Rows: `text` (string) and `label` (string or integer). A prediction is a float32 array of
logits, shape `(labels,)`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hfpc import metrics
from hfpc.errors import ArgumentError, DataError
from hfpc.tasks import Rows, Scores, Units

_WHOLE_NUMBER = re.compile(r"-?\d+")
_FUNCTIONS = ("softmax", "sigmoid", "none")


class TextClassification:
    """See the module's docstring and `hfpc.tasks.Task`."""

    name = "text-classification"
    columns = {"text": "the text, a string", "label": "its label, a string or an integer"}
    main_metric = "accuracy"
    nests_single_response = True

    def clean(self, table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
        """Strips texts; drops rows with an empty text or no label."""
        dropped = {}
        text = pc.utf8_trim_whitespace(pc.fill_null(_as_string(table, "text"), ""))
        table = table.set_column(table.column_names.index("text"), "text", text)
        filled = pc.not_equal(text, "")
        dropped["rows with an empty text removed"] = table.num_rows - pc.sum(filled, min_count=0).as_py()
        table = table.filter(filled)
        if "label" in table.column_names:
            label = pc.utf8_trim_whitespace(_as_string(table, "label"))
            table = table.set_column(table.column_names.index("label"), "label", label)
            labelled = pc.fill_null(pc.not_equal(label, ""), False)
            dropped["rows without a label removed"] = table.num_rows - pc.sum(labelled, min_count=0).as_py()
            table = table.filter(labelled)
        return table, {reason: count for reason, count in dropped.items() if count}

    def key(self, table: pa.Table) -> pa.Array:
        """The text."""
        return table["text"]

    def stratum(self, table: pa.Table) -> pa.Array:
        """The label."""
        return table["label"]

    def label_counts(self, table: pa.Table) -> dict[str, int]:
        """Rows of each label."""
        return {entry["values"]: entry["counts"] for entry in pc.value_counts(table["label"]).to_pylist()}

    def label_names(self, labels: Sequence[str]) -> list[str]:
        """Alphabetical; by value where all labels are whole numbers."""
        numeric = all(_WHOLE_NUMBER.fullmatch(label) for label in labels)
        return sorted(set(labels), key=int if numeric else str)

    def encode(self, rows: Rows, tokenizer: Any, max_length: int | None) -> dict[str, list[Any]]:
        """The tokenizer's own output."""
        return dict(tokenizer(list(rows["text"]), truncation=max_length is not None, max_length=max_length))

    def encode_labels(self, rows: Rows, encoded: Mapping[str, Sequence[Any]], label_names: Sequence[str]) -> list[int]:
        """Label ids."""
        ids = {name: index for index, name in enumerate(label_names)}
        return [ids[label] for label in rows["label"]]

    def auto_model(self) -> Any:
        """`AutoModelForSequenceClassification`."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def collator(self, tokenizer: Any) -> Any:
        """Pads to the longest row of the batch, and to a multiple of 8 on a GPU."""
        import torch
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if torch.cuda.is_available() else None)

    def step_metrics(self, logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
        """Accuracy, macro F1 and the rest of `hfpc.metrics.summary`."""
        tally = metrics.tally(labels, logits.argmax(axis=-1), len(names))
        return {name: float(value) for name, value in metrics.summary(tally).items()}

    def decode(self, logits: np.ndarray, encoded: Mapping[str, Any]) -> np.ndarray:
        """The logits as they are."""
        return logits

    def score(self, rows: Rows, predictions: Sequence[np.ndarray], names: Sequence[str]) -> Scores:
        """A row's score is 1 where its label is right."""
        probabilities = _probabilities(predictions, names)
        truth, predicted = np.array(self.encode_labels(rows, {}, names), dtype=int), probabilities.argmax(axis=1)
        index = np.arange(len(truth))
        tallies = metrics.tally_rows(truth, predicted, index, len(truth), len(names))
        return Scores(
            sums=tallies.reshape(len(truth), 3 * len(names)),
            main_sums=np.stack([truth == predicted, np.ones_like(truth)], axis=1).astype(int),
            row_scores=(truth == predicted).astype(float),
            units=Units(truth, probabilities, index, np.ones(len(truth), dtype=bool)),
        )

    def metrics(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy, macro F1 and the rest of `hfpc.metrics.summary`."""
        return metrics.summary(sums.reshape(*sums.shape[:-1], 3, -1))

    def main_value(self, main_sums: np.ndarray) -> np.ndarray:
        """Accuracy: rows that are right, of all."""
        return metrics.ratio(main_sums[..., 0], main_sums[..., 1])

    def output_columns(self, predictions: Sequence[np.ndarray], names: Sequence[str]) -> pa.Table:
        """`prediction` (label name), `score` (its probability), `probabilities` (in label order)."""
        probabilities = _probabilities(predictions, names)
        offsets = np.arange(len(predictions) + 1, dtype=np.int32) * len(names)
        return pa.table(
            {
                "prediction": pa.array(names, pa.string()).take(pa.array(probabilities.argmax(axis=1))),
                "score": pa.array(probabilities.max(axis=1)),
                "probabilities": pa.ListArray.from_arrays(pa.array(offsets), pa.array(probabilities.ravel())),
            }
        )

    def show(self, row: Mapping[str, Any], unit: int) -> str:
        """The text."""
        return str(row["text"])

    def parse(self, inputs: Sequence[Any]) -> Rows:
        """Texts, given as strings or as `{"text": …}`."""
        return {"text": texts(inputs)}

    def request(self, row: Mapping[str, Any]) -> str:
        """The text."""
        return str(row["text"])

    def respond(
        self, row: Mapping[str, Any], prediction: np.ndarray, names: Sequence[str], parameters: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """`[{"label": …, "score": …}, …]`, most probable first.

        Parameters: `top_k` (how many labels; all unless given), `function_to_apply` (softmax,
        sigmoid or none).
        """
        _refuse_unknown(parameters, ("top_k", "function_to_apply"))
        top_k = parameters.get("top_k")
        if top_k is not None and not _is_count(top_k):
            raise ArgumentError("top_k", top_k, "give a whole number of at least 1")
        scores = _apply(parameters.get("function_to_apply") or "softmax", prediction)
        order = np.argsort(-scores, kind="stable")[: None if top_k is None else int(top_k)]
        return [{"label": names[index], "score": float(scores[index])} for index in order]

    def answer(self, response: list[dict[str, Any]]) -> str:
        """The most probable label."""
        return str(response[0]["label"])


def texts(inputs: Sequence[Any]) -> list[str]:
    """The texts of a request's inputs: strings, or objects `{"text": …}`.

    Raises:
        ArgumentError: An input is neither.
    """
    found = []
    for item in inputs:
        text = item.get("text") if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            raise ArgumentError("inputs", item, 'each input must be a string, or an object {"text": "…"}')
        found.append(text)
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, as float32."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)


def _apply(function: str, logits: np.ndarray) -> np.ndarray:
    """Scores under the output function that a request asks for."""
    if function not in _FUNCTIONS:
        raise ArgumentError("function_to_apply", function, f"choose one of {', '.join(_FUNCTIONS)}")
    if function == "softmax":
        return softmax(logits)
    # The sigmoid by way of tanh, which does not overflow.
    return logits if function == "none" else (1 + np.tanh(logits / 2)) / 2


def _probabilities(predictions: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Float32, shape `(rows, labels)`, also for no rows."""
    return softmax(np.asarray(predictions, dtype=np.float32).reshape(len(predictions), len(names)))


def _is_count(value: Any) -> bool:
    """Whether a number of a request is a whole one of at least 1; JSON by way of protobuf has floats only."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and float(value).is_integer()


def _refuse_unknown(parameters: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in parameters:
        if name not in known:
            raise ArgumentError("parameters", name, f"unknown parameter; known ones are {', '.join(known)}")


def _as_string(table: pa.Table, role: str) -> pa.Array:
    try:
        return table[role].cast(pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(f"the column for {role!r} holds {table[role].type}, which is not text ({error})") from error
    except pa.ArrowNotImplementedError as error:
        raise DataError(f"the column for {role!r} holds {table[role].type}: a string is needed") from error


TASK = TextClassification()
