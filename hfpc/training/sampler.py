"""The order in which rows are trained: rows of similar length together, batches in random order.

The order depends on the seed and the epoch only, not on how much of any generator was used before,
so that a training that goes on after a restart sees exactly the rows it would have seen.
"""

from collections.abc import Iterator

import numpy as np

BATCHES_PER_POOL = 50
"""Batches whose rows are sorted together: enough for nearly no padding, few enough for random batches."""


class LengthGroupedSampler:
    """Row indices for a `DataLoader`.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows that should be of similar length: a batch, times the processes that train.
        seed: With the epoch, decides the order.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order().tolist())

    def _order(self) -> np.ndarray:
        rows, size = len(self._lengths), self._batch_size
        random = np.random.default_rng([self._seed, self._epoch])
        order = random.permutation(rows)
        pools = np.arange(rows) // (size * BATCHES_PER_POOL)
        order = order[np.lexsort((-self._lengths[order], pools))]
        batches, rest = np.split(order, [rows - rows % size])
        batches = random.permutation(batches.reshape(-1, size))
        if len(batches):
            # The longest batch comes first, so that running out of memory shows at once.
            longest = self._lengths[batches].max(axis=1).argmax()
            batches[[0, longest]] = batches[[longest, 0]]
        return np.concatenate([batches.ravel(), rest])
