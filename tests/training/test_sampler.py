import numpy as np

from hfpc.training.sampler import LengthGroupedSampler

LENGTHS = np.random.default_rng(0).geometric(0.05, 10_003)


def order(seed=0, epoch=0, lengths=LENGTHS, size=32):
    sampler = LengthGroupedSampler(lengths, size, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def padded(rows, lengths=LENGTHS, size=32):
    """Tokens, padding included, over tokens."""
    batches = [lengths[rows[start : start + size]] for start in range(0, len(rows), size)]
    return sum(batch.max() * len(batch) for batch in batches) / lengths.sum()


def test_every_row_comes_once():
    assert sorted(order()) == list(range(len(LENGTHS)))
    assert sorted(order(lengths=LENGTHS[:5])) == [0, 1, 2, 3, 4]
    assert order(lengths=LENGTHS[:0]) == []


def test_seed_and_epoch_decide_the_order():
    assert order() == order()
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_batches_are_nearly_free_of_padding():
    random = np.random.default_rng(1).permutation(len(LENGTHS))
    assert padded(random) > 3
    assert padded(order()) < 1.15


def test_batches_do_not_come_in_order_of_length():
    means = [LENGTHS[rows].mean() for rows in np.split(np.array(order()[:9984]), 312)]
    assert abs(np.corrcoef(means, range(312))[0, 1]) < 0.2


def test_the_longest_row_comes_in_the_first_batch():
    assert LENGTHS[order()[:32]].max() == LENGTHS.max()
