"""Classification metrics from counts, over any number of count arrays at once.

Computed here rather than with scikit-learn for two reasons: a bootstrap of 1,000 resamples is one
array operation, and installing scikit-learn costs every component about a second and a half at its
start (transformers imports it whenever it is there). Definitions are those of scikit-learn's
`precision_recall_fscore_support` with `zero_division=0` and of `matthews_corrcoef`.

All of them follow from a *tally*: for each label how many units were right, how many were predicted
as it, and how many carry it; shape `(…, 3, labels)`. Tallies of disjoint sets of units add up.
"""

import numpy as np


def confusion(truth: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """Confusion counts, shape `(labels, labels)`: row = true label id, column = predicted label id."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def tally(truth: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """The tally of all units together, shape `(3, labels)`."""
    return tally_rows(truth, predicted, np.zeros(len(truth), dtype=int), 1, labels)[0]


def tally_rows(truth: np.ndarray, predicted: np.ndarray, rows: np.ndarray, count: int, labels: int) -> np.ndarray:
    """A tally for each row, shape `(count, 3, labels)`.

    Args:
        truth: True label id of each unit.
        predicted: Predicted label id of each unit.
        rows: Index of the row that each unit belongs to.
        count: Number of rows.
        labels: Number of labels.
    """

    def per_row(label: np.ndarray, row: np.ndarray) -> np.ndarray:
        return np.bincount(row * labels + label, minlength=count * labels).reshape(count, labels)

    right = truth == predicted
    return np.stack([per_row(truth[right], rows[right]), per_row(predicted, rows), per_row(truth, rows)], axis=1)


def per_label(tally: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and support of each label.

    Args:
        tally: Shape `(…, 3, labels)`.

    Returns:
        `precision`, `recall`, `f1` (0 to 1) and `support` (units), each of shape `(…, labels)`.
        A label that was never predicted has precision 0; one that never occurred has recall 0.
    """
    right, predicted, support = _parts(tally)
    return {
        "precision": ratio(right, predicted),
        "recall": ratio(right, support),
        "f1": ratio(2 * right, predicted + support),
        "support": support,
    }


def summary(tally: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, macro precision, recall and F1, and Matthews correlation.

    The macro means are over the labels that occur or were predicted, as scikit-learn's are.

    Args:
        tally: Shape `(…, 3, labels)`.

    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1` (0 to 1) and `mcc` (-1 to 1),
        each of shape `(…)`.
    """
    right, predicted, support = _parts(tally)
    total, present = support.sum(axis=-1), (predicted + support) > 0
    labels = per_label(tally)
    macro = {
        f"macro_{name}": ratio((labels[name] * present).sum(axis=-1), present.sum(axis=-1))
        for name in ("precision", "recall", "f1")
    }
    covariance = right.sum(axis=-1) * total - (predicted * support).sum(axis=-1)
    spread = np.sqrt((total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (support**2).sum(axis=-1)))
    return {"accuracy": ratio(right.sum(axis=-1), total), **macro, "mcc": ratio(covariance, spread)}


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, and 0 where `whole` is 0."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _parts(tally: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tally = tally.astype(float)
    return tally[..., 0, :], tally[..., 1, :], tally[..., 2, :]
