"""Rows per second of `batch_predict` with the optimized model, against `transformers.pipeline(batch_size=32)`.

The same tweets and cores, by turns in one process. Our figure includes reading the source and writing
Parquet; neither includes loading the model.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving.models import FOLDER, ROWS, Subject
from benchmarks.tweets import prepare

SPLIT_ROWS = 1500
ROUNDS = 5
AIM = 2.5


def compare(subject: Subject) -> dict[str, Any]:
    """Measures in a process of its own, prints the rounds and the median ratio, and gives all of it."""
    command = [sys.executable, "-m", "benchmarks.serving.batch", subject.model, subject.optimized]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"\nbatch_predict with {subject.kept} against transformers.pipeline(batch_size=32), rows/s")
    for ours, peer in zip(found["batch_predict"], found["pipeline"], strict=True):
        print(f"  {ours:6.1f} against {peer:6.1f}: {ours / peer:.2f} x")
    print(f"  median {found['ratio']:.2f} x (aim: {AIM})")
    return found


def measure(model: Path, optimized: Path) -> dict[str, Any]:
    """Rates of both sides by turns, and the median of their ratios."""
    import pyarrow.parquet as pq
    from transformers import pipeline

    from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict

    dataset, _ = prepare(FOLDER, ROWS)
    source = str(dataset / "train")
    texts = pq.read_table(source)["text"].to_pylist()[:SPLIT_ROWS]
    classify = pipeline("text-classification", model=str(model), batch_size=32, truncation=True)
    classify(texts[:64])
    found: dict[str, list[float]] = {"batch_predict": [], "pipeline": []}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(ROUNDS):
            start = time.perf_counter()
            classify(texts)
            found["pipeline"].append(len(texts) / (time.perf_counter() - start))
            config = BatchPredictConfig(source=source, max_rows=len(texts))
            done = batch_predict(config, optimized, Path(scratch) / str(turn))
            found["batch_predict"].append(done.metrics["rows_per_second"])
    ratios = [ours / peer for ours, peer in zip(found["batch_predict"], found["pipeline"], strict=True)]
    return {**found, "ratio": statistics.median(ratios)}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
