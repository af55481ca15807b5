"""Rows per second of `evaluate` and `batch_predict`, against `transformers.pipeline(batch_size=32)`.

The same fine-tuned MiniLM, the same tweets and both cores, by turns in one process. Our figures are
those the components log: `evaluate`'s is of predicting alone, `batch_predict`'s includes reading the
source and writing Parquet. No figure includes loading the model.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.tweets import prepare

ROWS = 1500
ROUNDS = 5


def main() -> None:
    """Prints the rates of each round, and the median ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HFPC_HOME"] = f"{scratch}/home"
        measure(Path(scratch))


def measure(scratch: Path) -> None:
    """Prepares a model, then measures by turns."""
    import pyarrow.parquet as pq
    from transformers import pipeline

    from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
    from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict
    from hfpc.training.finetune import FinetuneConfig, finetune

    dataset, tokenized = prepare(scratch, ROWS)
    model = scratch / "model"
    config = FinetuneConfig(epochs=0.1)
    finetune(config, tokenized, model, scratch / "curves.html", scratch / "tensorboard")
    texts = pq.read_table(dataset / "train")["text"].to_pylist()
    # top_k and truncation as the official serving stack has them: one label, cut to what the model takes.
    classify = pipeline("text-classification", model=str(model), batch_size=32, truncation=True)
    ratios: dict[str, list[float]] = {"evaluate": [], "batch_predict": []}
    for turn in range(ROUNDS):
        start = time.perf_counter()
        classify(texts)
        peer = len(texts) / (time.perf_counter() - start)
        evaluation = evaluate(
            EvaluateConfig(split="train"), model, dataset, scratch / f"predictions-{turn}", scratch / "report.html"
        )
        batch = batch_predict(BatchPredictConfig(source=str(dataset / "train")), model, scratch / f"batch-{turn}")
        rates = {
            "evaluate": evaluation.metrics["rows_per_second"],
            "batch_predict": batch.metrics["rows_per_second"],
        }
        print(f"pipeline {peer:6.1f} rows/s  " + "  ".join(f"{name} {rate:6.1f}" for name, rate in rates.items()))
        for name, rate in rates.items():
            ratios[name].append(rate / peer)
    for name, values in ratios.items():
        print(
            f"ratio  {statistics.median(values):.2f} x transformers.pipeline for {name} (aim: 1.7), median of {ROUNDS}"
        )


if __name__ == "__main__":
    main()
