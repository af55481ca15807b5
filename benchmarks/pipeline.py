"""Wall time of the local pipeline, against the same work as one plain script.

The script calls the same functions one after the other in one process, so that the ratio is what
kfp, processes and artifacts between the steps cost. By turns: pipeline, script, pipeline, script.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tweets import BASE_MODEL, LABELS

ROWS = 6000  # as in `make demo`
ROUNDS = 2


def main() -> None:
    """Prints both sides and their ratio."""
    times: dict[str, list[float]] = {"pipeline": [], "script": []}
    for _ in range(ROUNDS):
        for side in times:
            with tempfile.TemporaryDirectory() as scratch:
                times[side].append(run(side, scratch))
            print(f"{side:8} {times[side][-1]:6.1f} s", flush=True)
    pairs = [a / b for a, b in zip(times["pipeline"], times["script"], strict=True)]
    print(f"ratio  {statistics.median(pairs):.2f} x the plain script (aim: at most 1.25)")


def run(side: str, scratch: str) -> float:
    """Seconds that one side takes, process start included."""
    settings = ["name=tweets", f"labels={','.join(LABELS)}", f"max_rows={ROWS}", "epochs=1", "learning_rate=2e-4"]
    if side == "pipeline":
        command = [str(Path(sys.executable).parent / "hfpc"), "run", "finetune_local"]
        command += [word for setting in settings for word in ("--set", setting)]
    else:
        command = [sys.executable, "-m", "benchmarks.pipeline", "script", scratch]
    start = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        env={**os.environ, "HFPC_HOME": f"{scratch}/home"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def script(scratch: Path) -> None:
    """The work of `finetune_local`, without a pipeline."""
    from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
    from hfpc.data.preprocess import PreprocessConfig, preprocess
    from hfpc.evaluation.compare_models import CompareModelsConfig, compare_models
    from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
    from hfpc.serving.test_endpoint import TestEndpointConfig, test_endpoint
    from hfpc.sinks import local
    from hfpc.training.finetune import FinetuneConfig, finetune

    dataset, tokenized, model, predictions = (
        scratch / name for name in ("dataset", "tokenized", "model", "predictions")
    )
    load_dataset(LoadDatasetConfig(source="sample:tweets", labels=LABELS, max_rows=ROWS), dataset)
    preprocess(PreprocessConfig(base_model=BASE_MODEL), dataset, tokenized)
    finetune(
        FinetuneConfig(epochs=1, learning_rate=2e-4), tokenized, model, scratch / "curves.html", scratch / "tensorboard"
    )
    evaluate(EvaluateConfig(), model, dataset, predictions, scratch / "report.html")
    comparison = compare_models(CompareModelsConfig(champion="tweets@champion"), predictions, dataset)
    assert comparison.decision == "promote", comparison.reasons
    registered = local.register(model, predictions, name="tweets", registry="")
    endpoint = local.deploy(
        registry=registered.registry, name=registered.name, version=registered.version, alias="champion"
    )
    where = {
        "platform": "local",
        "registry": endpoint.registry,
        "name": endpoint.name,
        "alias": endpoint.alias,
        "version": endpoint.version,
    }
    test_endpoint(TestEndpointConfig(), where)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        script(Path(sys.argv[2]))
