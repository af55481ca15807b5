import shutil

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from hfpc import tasks
from hfpc.base_model import find
from hfpc.errors import ModelError
from hfpc.training.model import balanced_weights, load
from hfpc.training.trainer import weighted_cross_entropy
from tests.conftest import LABELS


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


def load_changed(base_model, folder, change):
    """Loads a copy of a base model whose weights, by name, went through `change`."""
    shutil.copytree(base_model, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})
    return load(find(str(folder)), tasks.get("text-classification"), LABELS, lora_rank=0, seed=0)


def test_a_base_model_that_lacks_weights_is_not_trained_from_random_ones(base_model, tmp_path):
    layer = "encoder.layer.1."

    def without_a_layer(weights):
        return {name: value for name, value in weights.items() if layer not in name}

    with pytest.raises(ModelError, match=r"lacks weights .*bert\.encoder\.layer\.1\..* and 13 more"):
        load_changed(base_model, tmp_path / "damaged", without_a_layer)


def test_an_embedding_of_another_size_is_not_replaced_by_a_random_one(base_model, tmp_path):
    name = "embeddings.word_embeddings.weight"

    def shorter(weights):
        return {**weights, name: weights[name][:-1].clone()}

    with pytest.raises(
        ModelError, match=r"lacks weights that fit its config\.json \(bert\.embeddings\.word_emb[^,]*\)"
    ):
        load_changed(base_model, tmp_path / "damaged", shorter)


def test_a_base_model_may_lack_its_pooler(base_model, tmp_path):
    def without_pooler(weights):
        return {name: value for name, value in weights.items() if "pooler" not in name}

    assert load_changed(base_model, tmp_path / "whole", without_pooler).num_labels == 2
