"""Token classification: one label for each word, e.g. named entities in the IOB2 scheme.

Rows: `tokens` (list of words) and `tags` (list of labels, as many). A prediction is a float32 array
of logits, shape `(words, labels)`; a word beyond the length the model takes, or one the tokenizer
makes nothing of, has NaN for every label and counts as `O` (as the first label where there is no `O`).
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
from hfpc.tasks.text_classification import softmax, texts

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
        """Drops rows without words, with a missing word or tag, or with not as many tags as words."""
        table = _cast(table, "tokens")
        table, empty = _keep(table, pc.greater(pc.list_value_length(table["tokens"]), 0))
        table, missing = _keep(table, _all_present(table["tokens"]))
        dropped = {"rows without words removed": empty, "rows with a missing word removed": missing}
        if "tags" in table.column_names:
            table = _cast(table, "tags")
            equal = pc.equal(pc.list_value_length(table["tokens"]), pc.list_value_length(table["tags"]))
            table, unequal = _keep(table, equal)
            table, untagged = _keep(table, _all_present(table["tags"]))
            dropped["rows with more or fewer tags than words removed"] = unequal
            dropped["rows with a missing tag removed"] = untagged
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
        sums = _sums(true_tags, predicted_tags, names).sum(axis=0)
        return {name: float(value) for name, value in self.metrics(sums).items()}

    def decode(self, logits: np.ndarray, encoded: Mapping[str, Any]) -> np.ndarray:
        """The logits at each word's first token."""
        starts = np.array(encoded["word_starts"], dtype=int)
        return np.where((starts >= 0)[:, None], logits[starts], np.nan).astype(np.float32)

    def score(self, rows: Rows, predictions: Sequence[np.ndarray], names: Sequence[str]) -> Scores:
        """A row's score is the share of its words that are right."""
        true_tags = [list(tags) for tags in rows["tags"]]
        lengths = [len(tags) for tags in true_tags]
        units = Units(
            truth=_ids(true_tags, names),
            probabilities=_probabilities(predictions, names),
            rows=np.repeat(np.arange(len(true_tags)), lengths),
            seen=~_unseen(predictions),
        )
        predicted = units.probabilities.argmax(axis=1)
        right = np.bincount(units.rows, weights=units.truth == predicted, minlength=len(lengths))
        sums = _sums(true_tags, _split(predicted, lengths, names), names)
        return Scores(
            sums=sums,
            main_sums=sums[:, :3],
            row_scores=metrics.ratio(right, np.array(lengths)),
            units=units,
        )

    def metrics(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Precision, recall and F1 of entities; accuracy, macro F1 and the rest over words."""
        right, given, expected = sums[..., 0], sums[..., 1], sums[..., 2]
        return {
            "entity_precision": metrics.ratio(right, given),
            "entity_recall": metrics.ratio(right, expected),
            "entity_f1": self.main_value(sums[..., :3]),
            **metrics.summary(sums[..., 3:].reshape(*sums.shape[:-1], 3, -1)),
        }

    def main_value(self, main_sums: np.ndarray) -> np.ndarray:
        """F1 of entities: those right, given and expected."""
        return metrics.ratio(2 * main_sums[..., 0], main_sums[..., 1] + main_sums[..., 2])

    def output_columns(self, predictions: Sequence[np.ndarray], names: Sequence[str]) -> pa.Table:
        """`prediction` (tags) and `score` (their probabilities), lists with an entry a word."""
        probabilities = _probabilities(predictions, names)
        offsets = pa.array(np.cumsum([0, *map(len, predictions)], dtype=np.int32))
        tags = pa.array(names, pa.string()).take(pa.array(probabilities.argmax(axis=1)))
        return pa.table(
            {
                "prediction": pa.ListArray.from_arrays(offsets, tags),
                "score": pa.ListArray.from_arrays(offsets, pa.array(probabilities.max(axis=1))),
            }
        )

    def show(self, row: Mapping[str, Any], unit: int) -> str:
        """The words, the one in question in brackets."""
        return " ".join(f"[{word}]" if index == unit else word for index, word in enumerate(row["tokens"]))

    def parse(self, inputs: Sequence[Any]) -> Rows:
        """Texts are split into words and punctuation; `offsets` keeps where each word stands."""
        found = [(text, list(_WORD.finditer(text))) for text in texts(inputs)]
        for text, words in found:
            if not words:
                raise ArgumentError("inputs", text, "each input must have at least one word")
        return {
            "tokens": [[word.group() for word in words] for _, words in found],
            "offsets": [[word.span() for word in words] for _, words in found],
            "text": [text for text, _ in found],
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
        probabilities = _probabilities([prediction], names)
        tags, scores = [names[index] for index in probabilities.argmax(axis=1)], probabilities.max(axis=1)
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


def _sums(true_tags: list[list[str]], predicted_tags: list[list[str]], names: Sequence[str]) -> np.ndarray:
    """For each row: entities right, given and expected, then the tally of its words."""
    counts = []
    for true, predicted in zip(true_tags, predicted_tags, strict=True):
        expected, given = set(entities(true)), set(entities(predicted))
        counts.append((len(expected & given), len(given), len(expected)))
    rows = np.repeat(np.arange(len(true_tags)), [len(tags) for tags in true_tags])
    words = metrics.tally_rows(_ids(true_tags, names), _ids(predicted_tags, names), rows, len(true_tags), len(names))
    return np.concatenate(
        [np.array(counts, dtype=int).reshape(-1, 3), words.reshape(len(words), 3 * len(names))], axis=1
    )


def _ids(tags: list[list[str]], names: Sequence[str]) -> np.ndarray:
    ids = {name: index for index, name in enumerate(names)}
    return np.array([ids[tag] for row in tags for tag in row], dtype=int)


def _split(predicted: np.ndarray, lengths: Sequence[int], names: Sequence[str]) -> list[list[str]]:
    """Label ids of all words as label names of each row's words."""
    tags = [names[index] for index in predicted]
    ends = np.cumsum(lengths, dtype=int)
    return [tags[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _probabilities(predictions: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Softmax for every word of all rows; one that the model did not see is `O` with certainty."""
    logits = np.concatenate([np.empty((0, len(names)), dtype=np.float32), *predictions])
    probabilities = softmax(np.nan_to_num(logits))
    probabilities[_unseen(predictions)] = np.eye(len(names), dtype=np.float32)[
        names.index(OUTSIDE) if OUTSIDE in names else 0
    ]
    return probabilities


def _unseen(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """For every word of all rows, whether the model did not see it."""
    return np.isnan(np.concatenate([np.empty(0), *(prediction[:, 0] for prediction in predictions)]))


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


def _keep(table: pa.Table, wanted: pa.Array) -> tuple[pa.Table, int]:
    """The rows that are wanted (null is not), and how many were not."""
    kept = table.filter(pc.fill_null(wanted, False))
    return kept, table.num_rows - kept.num_rows


def _all_present(lists: pa.ChunkedArray) -> pa.Array:
    """For each list, none of them null, whether no element is null."""
    rows = pc.list_parent_indices(lists)
    damaged = pc.unique(rows.filter(pc.is_null(pc.list_flatten(lists))))
    return pc.invert(pc.is_in(pa.array(range(len(lists)), rows.type), damaged))


TASK = TokenClassification()
