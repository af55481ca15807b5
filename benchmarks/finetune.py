"""Fine-tuning examples per second and accuracy, against a plain Trainer.

The plain Trainer is set up as the official text-classification example of transformers is by
default: every row padded to 128 tokens, rows in random order. Batch size, learning rate, epochs,
seed and rows are the same on both sides. Each measurement is a process of its own, taken by turns.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tweets import BASE_MODEL, LABELS, prepare

ROWS, TEST_SHARE = 5000, 0.5  # 2,000 rows to train on, 2,500 to test, so that one point means something
TURNS = (("hfpc", 42), ("plain", 42), ("hfpc", 43), ("plain", 43))
LEARNING_RATE, BATCH_SIZE = 2e-4, 32


def main() -> None:
    """Prints both sides, and their ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), ROWS, TEST_SHARE)
        found: dict[str, list[dict[str, float]]] = {"hfpc": [], "plain": []}
        for side, seed in TURNS:
            command = [sys.executable, "-m", "benchmarks.finetune", side, str(seed), scratch]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            result = json.loads((Path(scratch) / f"{side}-{seed}.json").read_text())
            found[side].append(result)
            print(f"{side:6} {result['speed']:6.1f} examples/s, test accuracy {result['accuracy']:.3f}", flush=True)
    speed, accuracy = (
        {side: statistics.mean(result[name] for result in results) for side, results in found.items()}
        for name in ("speed", "accuracy")
    )
    gap = accuracy["hfpc"] - accuracy["plain"]
    print(
        f"ratio  {speed['hfpc'] / speed['plain']:.2f} x the plain Trainer (aim: 3.3), accuracy {gap * 100:+.1f} points"
    )


def measure(side: str, seed: int, scratch: Path) -> None:
    """Trains once; writes examples per second of the training itself, and test accuracy."""
    import pyarrow.parquet as pq

    dataset, tokenized = prepare(scratch, ROWS, TEST_SHARE)
    os.environ["HFPC_HOME"] = str(scratch / f"home-{seed}")
    train = ours if side == "hfpc" else plain
    speed, answer = train(dataset, tokenized, seed, scratch / f"out-{side}-{seed}")
    rows = pq.read_table(dataset / "test").to_pydict()
    right = [given == label for given, label in zip(answer(rows["text"]), rows["label"], strict=True)]
    (scratch / f"{side}-{seed}.json").write_text(json.dumps({"speed": speed, "accuracy": sum(right) / len(right)}))


def ours(dataset: Path, tokenized: Path, seed: int, out: Path):
    """This library's `finetune`, checkpoints, model card and all; timed as a whole, imports apart."""
    import datasets
    import transformers.trainer  # noqa: F401

    from hfpc.inference.predictor import Predictor
    from hfpc.training.finetune import FinetuneConfig, finetune

    config = FinetuneConfig(epochs=1, learning_rate=LEARNING_RATE, batch_size=BATCH_SIZE, seed=seed)
    rows = datasets.load_from_disk(str(tokenized / "train")).num_rows
    start = time.perf_counter()
    finetune(config, tokenized, out / "model", out / "curves.html", out / "tensorboard")
    seconds = time.perf_counter() - start
    predictor = Predictor(out / "model")
    return rows / seconds, lambda texts: [answer[0]["label"] for answer in predictor.respond(texts)]


def plain(dataset: Path, tokenized: Path, seed: int, out: Path):
    """A Trainer with its defaults, every row padded to 128 tokens; only `train()` is timed."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, pipeline

    from hfpc import samples

    folder = samples.model(BASE_MODEL).locate()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, id2label=dict(enumerate(LABELS)))
    table = pq.read_table(dataset / "train").to_pydict()
    encoded = dict(tokenizer(table["text"], padding="max_length", truncation=True, max_length=128))
    rows = Dataset.from_dict({**encoded, "labels": [LABELS.index(label) for label in table["label"]]})
    arguments = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=BATCH_SIZE,
        seed=seed,
        report_to="none",
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, batch_size=32, truncation=True)
    return len(rows) / seconds, lambda texts: [answer["label"] for answer in classify(texts)]


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
