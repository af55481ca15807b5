"""Token classification: one label for each word, e.g. named entities in the IOB2 scheme.

Rows: `tokens` (list of words) and `tags` (list of labels, as many). A prediction is a float32 array
of logits, shape `(words, labels)`; a word beyond the length the model takes has NaN for every label
and counts as `O`.
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
from hfpc.tasks.text_classification import softmax

OUTSIDE = "O"
_WORD = re.compile(r"\w+|[^\w\s]")
_STRATEGIES = ("none", "simple", "first")


class TokenClassification:
    """See the module's docstring and `hfpc.tasks.Task`."""

    name = "token-classification"
    columns = {"tokens": "the words, a list of strings", "tags": "a label for each word, a list of strings"}
    main_metric = "entity_f1"
    nests_single_response = False

    def clean(self, table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
        """Drops rows without words, and rows whose tags are not as many as their words."""
        dropped = {}
        table = _cast(table, "tokens")
        filled = pc.greater(pc.fill_null(pc.list_value_length(table["tokens"]), 0), 0)
        dropped["rows without words removed"] = table.num_rows - pc.sum(filled, min_count=0).as_py()
        table = table.filter(filled)
        if "tags" in table.column_names:
            table = _cast(table, "tags")
            lengths = pc.list_value_length(table["tokens"]), pc.list_value_length(table["tags"])
            equal = pc.fill_null(pc.equal(*lengths), False)
            dropped["rows with more or fewer tags than words removed"] = (
                table.num_rows - pc.sum(equal, min_count=0).as_py()
            )
            table = table.filter(equal)
        return table, {reason: count for reason, count in dropped.items() if count}

    def key(self, table: pa.Table) -> pa.Array:
        """The words, joined by a character that no word holds."""
        return pc.binary_join(table["tokens"], "\x1f")

    def stratum(self, table: pa.Table) -> pa.Array:
        """The distinct tags of the row, so that rare combinations are spread too."""
        return pa.array(["|".join(sorted(set(tags))) for tags in table["tags"].to_pylist()], pa.string())

    def label_counts(self, table: pa.Table) -> dict[str, int]:
        """Words of each tag."""
        counts = pc.value_counts(pc.list_flatten(table["tags"]))
        return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}

    def label_names(self, labels: Sequence[str]) -> list[str]:
        """`O` first, then alphabetical."""
        return sorted(set(labels), key=lambda label: (label != OUTSIDE, label))

    def encode(self, rows: Rows, tokenizer: Any, max_length: int | None) -> dict[str, list[Any]]:
        """The tokenizer's output, and `word_starts`: each word's first token, -1 where it is cut off."""
        words = [list(tokens) for tokens in rows["tokens"]]
        encoded = tokenizer(words, is_split_into_words=True, truncation=max_length is not None, max_length=max_length)
        starts = []
        for index, tokens in enumerate(words):
            first = dict.fromkeys(range(len(tokens)), -1)
            for position, word in enumerate(encoded.word_ids(index)):
                if word is not None and first[word] == -1:
                    first[word] = position
            starts.append(list(first.values()))
        return {**encoded, "word_starts": starts}

    def encode_labels(
        self, rows: Rows, encoded: Mapping[str, Sequence[Any]], label_names: Sequence[str]
    ) -> list[list[int]]:
        """The tag's id at each word's first token, -100 elsewhere."""
        ids = {name: index for index, name in enumerate(label_names)}
        labels = []
        for tags, tokens, starts in zip(rows["tags"], encoded["input_ids"], encoded["word_starts"], strict=True):
            row = [-100] * len(tokens)
            for tag, start in zip(tags, starts, strict=True):
                if start >= 0:
                    row[start] = ids[tag]
            labels.append(row)
        return labels

    def auto_model(self) -> Any:
        """`AutoModelForTokenClassification`."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification

    def collator(self, tokenizer: Any) -> Any:
        """Pads rows and labels to the longest row of the batch."""
        from transformers import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(tokenizer)

    def step_metrics(self, logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
        """Entity F1, and accuracy and the rest over the words."""
        true_tags, predicted_tags = [], []
        for row_logits, row_labels in zip(logits, labels, strict=True):
            marked = row_labels != -100
            true_tags.append([names[label] for label in row_labels[marked]])
            predicted_tags.append([names[label] for label in row_logits[marked].argmax(axis=-1)])
        return _summary(true_tags, predicted_tags, names)

    def decode(self, logits: np.ndarray, encoded: Mapping[str, Any]) -> np.ndarray:
        """The logits at each word's first token."""
        starts = np.array(encoded["word_starts"])
        return np.where((starts >= 0)[:, None], logits[starts], np.nan).astype(np.float32)

    def score(self, rows: Rows, predictions: Sequence[np.ndarray], names: Sequence[str]) -> Scores:
        """Entity F1 and word metrics; a row's score is the share of its words that are right."""
        ids = {name: index for index, name in enumerate(names)}
        predicted_tags = [_tags(prediction, names) for prediction in predictions]
        true_tags = [list(tags) for tags in rows["tags"]]
        pairs = list(zip(true_tags, predicted_tags, strict=True))
        return Scores(
            metrics=_summary(true_tags, predicted_tags, names),
            row_scores=np.array([np.mean([a == b for a, b in zip(*pair, strict=True)]) for pair in pairs]),
            units=Units(
                truth=np.array([ids[tag] for tags in true_tags for tag in tags]),
                probabilities=np.concatenate([_probabilities(row) for row in predictions]),
                rows=np.repeat(np.arange(len(true_tags)), [len(tags) for tags in true_tags]),
            ),
        )

    def output_columns(self, predictions: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, list[Any]]:
        """`prediction` (tags) and `score` (their probabilities), lists with an entry a word."""
        return {
            "prediction": [_tags(row, names) for row in predictions],
            "score": [_probabilities(row).max(axis=1).tolist() for row in predictions],
        }

    def parse(self, inputs: Sequence[Any]) -> Rows:
        """Texts are split into words and punctuation; `offsets` keeps where each word stands."""
        for text in inputs:
            if not isinstance(text, str) or not text.strip():
                raise ArgumentError("inputs", text, "each input must be a string that is not empty")
        found = [list(_WORD.finditer(text)) for text in inputs]
        return {
            "tokens": [[word.group() for word in words] for words in found],
            "offsets": [[word.span() for word in words] for words in found],
            "text": list(inputs),
        }

    def request(self, row: Mapping[str, Any]) -> str:
        """The words, joined by blanks."""
        return " ".join(row["tokens"])

    def respond(
        self, row: Mapping[str, Any], prediction: np.ndarray, names: Sequence[str], parameters: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Entities with `score`, `word`, `start` and `end` (characters).

        Parameters: `aggregation_strategy` ("simple", the default, and "first" join the words of an
        entity as `entity_group`; "none" gives every word as `entity`) and `ignore_labels`
        (default `["O"]`).
        """
        for name in parameters:
            if name not in ("aggregation_strategy", "ignore_labels"):
                known = "aggregation_strategy, ignore_labels"
                raise ArgumentError("parameters", name, f"unknown parameter; known ones are {known}")
        strategy = parameters.get("aggregation_strategy") or "simple"
        if strategy not in _STRATEGIES:
            raise ArgumentError("aggregation_strategy", strategy, f"choose one of {', '.join(_STRATEGIES)}")
        ignored = parameters.get("ignore_labels")
        ignored = [OUTSIDE] if ignored is None else ignored
        if not isinstance(ignored, list):
            raise ArgumentError("ignore_labels", ignored, "give a list of label names")
        tags, scores = _tags(prediction, names), _probabilities(prediction).max(axis=1)
        if strategy == "none":
            spans = [(tag, index, index + 1) for index, tag in enumerate(tags)]
            return [_entity("entity", span, row, scores) for span in spans if span[0] not in ignored]
        return [_entity("entity_group", span, row, scores) for span in entities(tags) if span[0] not in ignored]

    def answer(self, response: list[dict[str, Any]]) -> list[list[Any]]:
        """Each entity's label and place."""
        return [
            [entity.get("entity_group", entity.get("entity")), entity["start"], entity["end"]] for entity in response
        ]


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Entities of an IOB2 tag sequence as `(type, first word, word after the last)`.

    As in the CoNLL-2003 evaluation, an `I-` tag that continues nothing starts an entity; a tag
    without prefix is an entity type of its own. `O` is never an entity.
    """
    found: list[tuple[str, int, int]] = []
    for index, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        prefix, _, kind = tag.partition("-") if tag[:2] in ("B-", "I-") else ("I", "", tag)
        if prefix == "I" and found and found[-1][0] == kind and found[-1][2] == index:
            found[-1] = (kind, found[-1][1], index + 1)
        else:
            found.append((kind, index, index + 1))
    return found


def _summary(true_tags: list[list[str]], predicted_tags: list[list[str]], names: Sequence[str]) -> dict[str, float]:
    ids = {name: index for index, name in enumerate(names)}
    truth = np.array([ids[tag] for tags in true_tags for tag in tags], dtype=int)
    predicted = np.array([ids[tag] for tags in predicted_tags for tag in tags], dtype=int)
    words = metrics.summary(metrics.confusion(truth, predicted, len(names)))
    expected = {(row, *span) for row, tags in enumerate(true_tags) for span in entities(tags)}
    given = {(row, *span) for row, tags in enumerate(predicted_tags) for span in entities(tags)}
    right = len(expected & given)
    return {
        "entity_precision": right / len(given) if given else 0.0,
        "entity_recall": right / len(expected) if expected else 0.0,
        "entity_f1": 2 * right / (len(given) + len(expected)) if given or expected else 0.0,
        **{name: float(value) for name, value in words.items()},
    }


def _tags(prediction: np.ndarray, names: Sequence[str]) -> list[str]:
    best = np.where(np.isnan(prediction[:, 0]), 0, np.nan_to_num(prediction).argmax(axis=1))
    return [names[index] for index in best]


def _probabilities(prediction: np.ndarray) -> np.ndarray:
    """Softmax for each word; a word that was cut off is `O`, label 0, with certainty."""
    cut = np.isnan(prediction[:, 0])
    probabilities = softmax(np.nan_to_num(prediction))
    probabilities[cut] = np.eye(prediction.shape[1], dtype=np.float32)[0]
    return probabilities


def _entity(key: str, span: tuple[str, int, int], row: Mapping[str, Any], scores: np.ndarray) -> dict[str, Any]:
    label, first, last = span
    start, end = row["offsets"][first][0], row["offsets"][last - 1][1]
    return {
        key: label,
        "score": float(scores[first:last].mean()),
        "word": row["text"][start:end],
        "start": start,
        "end": end,
    }


def _cast(table: pa.Table, role: str) -> pa.Table:
    """The column as a list of strings."""
    column = table[role]
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise DataError(f"the column for {role!r} holds {column.type}: a list of strings is needed")
    return table.set_column(table.column_names.index(role), role, column.cast(pa.list_(pa.string())))


TASK = TokenClassification()
