"""A tiny model that has learnt the task, so that there is a better and a worse one to compare."""

from pathlib import Path

import pyarrow.parquet as pq

from hfpc import manifest, storage, tasks
from hfpc.base_model import find
from hfpc.manifest import Manifest, ModelRecord


def save_trained(folder: Path, base_model: Path, dataset: Path, steps: int = 60) -> Path:
    """A model folder as `finetune` lays it out, trained by a plain loop over the training rows."""
    import torch

    data = manifest.read(dataset, "dataset")
    task, names = tasks.get(data.task), data.dataset.label_names
    base, rows = find(str(base_model)), pq.read_table(dataset / "train").to_pydict()
    torch.manual_seed(1)
    model = base.load(task.auto_model(), num_labels=len(names), id2label=dict(enumerate(names)))
    tokenizer = base.tokenizer()
    encoded = task.encode(rows, tokenizer, 64)
    labels = task.encode_labels(rows, encoded, names)
    inputs = {name: encoded[name] for name in tokenizer.model_input_names if name in encoded}
    examples = [{name: inputs[name][i] for name in inputs} | {"labels": labels[i]} for i in range(len(labels))]
    batch = task.collator(tokenizer)(examples)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = ModelRecord(
        base_model=str(base_model),
        revision="",
        max_length=64,
        parameters={},
        metrics={},
        fingerprint=storage.fingerprint(list(folder.iterdir()), folder),
    )
    Manifest(kind="model", task=data.task, dataset=data.dataset, model=record).write(folder)
    return folder
