import pyarrow as pa
import pytest
import torch

from hfpc.training.model import balanced_weights
from hfpc.training.trainer import weighted_cross_entropy


def test_balanced_weights_are_inverse_frequencies():
    assert balanced_weights(pa.chunked_array([[0, 0], [0, 1]]), 2) == pytest.approx([2 / 3, 2])


def test_unlabelled_tokens_and_absent_labels_do_not_count():
    labels = pa.chunked_array([[[-100, 0, 0, -100], [0, 2]]])
    assert balanced_weights(labels, 4) == pytest.approx([2 / 3, 1, 2, 1])


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_the_weighted_loss_is_the_mean_over_labels(shape):
    torch.manual_seed(0)
    logits, labels = torch.randn(*shape, 3), torch.tensor([0, 1, 2, -100, 1, 1]).view(shape)
    loss = weighted_cross_entropy([1.0, 2.0, 3.0], 0.0)({"logits": logits}, labels)
    flat, truth = logits.view(-1, 3).log_softmax(-1), labels.view(-1)
    expected = [-(truth[row] + 1) * flat[row, truth[row]] for row in range(6) if truth[row] >= 0]
    assert loss.item() == pytest.approx(sum(expected).item() / 5)


def test_gradient_accumulation_divides_by_the_labels_of_all_its_batches():
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    compute = weighted_cross_entropy([0.5, 1.5], 0.0)
    halves = [compute({"logits": logits[half]}, labels[half], torch.tensor(4)) for half in (slice(2), slice(2, 4))]
    assert sum(halves).item() == pytest.approx(compute({"logits": logits}, labels).item())
