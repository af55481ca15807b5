"""Classification metrics from confusion counts, over any number of confusion matrices at once.

Computed here rather than with scikit-learn for two reasons: a bootstrap of 1,000 resamples is one
array operation, and installing scikit-learn costs every component about a second and a half at its
start (transformers imports it whenever it is there). Definitions are those of scikit-learn's
`precision_recall_fscore_support` with `zero_division=0` and of `matthews_corrcoef`.
"""

import numpy as np


def confusion(truth: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """Confusion counts, shape `(labels, labels)`: row = true label id, column = predicted label id."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def per_label(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and support of each label.

    Args:
        matrix: Confusion counts of shape `(…, labels, labels)`.

    Returns:
        `precision`, `recall`, `f1` (0 to 1) and `support` (units), each of shape `(…, labels)`.
        A label that was never predicted has precision 0; one that never occurred has recall 0.
    """
    right = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)
    predicted = matrix.sum(axis=-2)
    support = matrix.sum(axis=-1)
    return {
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, support),
        "f1": _ratio(2 * right, predicted + support),
        "support": support,
    }


def summary(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, macro precision, recall and F1, and Matthews correlation.

    The macro means are over the labels that occur or were predicted, as scikit-learn's are.

    Args:
        matrix: Confusion counts of shape `(…, labels, labels)`.

    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1` (0 to 1) and `mcc` (-1 to 1),
        each of shape `(…)`.
    """
    matrix = matrix.astype(float)
    total = matrix.sum(axis=(-2, -1))
    right = np.trace(matrix, axis1=-2, axis2=-1)
    predicted, support = matrix.sum(axis=-2), matrix.sum(axis=-1)
    present = (predicted + support) > 0
    labels = per_label(matrix)
    macro = {
        f"macro_{name}": _ratio((labels[name] * present).sum(axis=-1), present.sum(axis=-1))
        for name in ("precision", "recall", "f1")
    }
    covariance = right * total - (predicted * support).sum(axis=-1)
    spread = np.sqrt((total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (support**2).sum(axis=-1)))
    return {"accuracy": _ratio(right, total), **macro, "mcc": _ratio(covariance, spread)}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, and 0 where `whole` is 0."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
