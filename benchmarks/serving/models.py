"""What is served and asked: a fine-tuned MiniLM, its optimised form, and tweets it has not seen.

Made in a process of its own, `python -m benchmarks.serving.models OUT [MODEL OPTIMIZED]`, so that torch
and its threads are gone before anything is timed.
"""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tweets import prepare
from hfpc.errors import HfpcError

FOLDER = Path("build/bench-serving").absolute()
"""What is made once stays here."""

ROWS = 6000  # as in `make demo`


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What both sides serve and are asked.

    Attributes:
        model: Folder of the model as it was trained, which the official stack serves.
        optimized: Folder of what ours serves: the same, or what `optimize` made of it.
        kept: How ours computes it, e.g. "onnxruntime-int8-dynamic".
        texts: Tweets.
        labels: The label that the model as it was trained gives each.
        golden_text: The golden request it is surest of.
        golden_label: The label of that one.
    """

    model: str
    optimized: str
    kept: str
    texts: list[str]
    labels: list[str]
    golden_text: str
    golden_label: str


def subject(model: Path | None, optimized: Path | None) -> Subject:
    """Makes what is missing, in a process of its own.

    Args:
        model: A model folder; None for MiniLM fine-tuned and optimized here, once.
        optimized: What `optimize` made of `model`; None for the same.

    Raises:
        HfpcError: It could not be made; the output of that process says why.
    """
    out = FOLDER / "subject.json"
    given = [str(model), str(optimized or model)] if model else []
    command = [sys.executable, "-m", "benchmarks.serving.models", str(out), *given]
    if (status := subprocess.run(command).returncode) != 0:
        raise HfpcError(f"the model and the requests could not be made: {' '.join(command)} ended with {status}")
    return Subject(**json.loads(out.read_text(encoding="utf-8")))


def default_model() -> Path:
    """MiniLM fine-tuned on tweets for an epoch, made once."""
    from hfpc.training.finetune import FinetuneConfig, finetune

    model = FOLDER / "model"
    if not (model / "hfpc.json").exists():
        print(f"Fine-tuning the model into {model}, once", flush=True)
        os.environ["HFPC_HOME"] = str(FOLDER / "home")
        _, tokenized = prepare(FOLDER, ROWS)
        config = FinetuneConfig(epochs=1, learning_rate=2e-4)
        finetune(config, tokenized, model, FOLDER / "curves.html", FOLDER / "tensorboard")
    return model


def default_optimized(model: Path) -> Path:
    """What `optimize` makes of it, with all its defaults, made once."""
    from hfpc.optimization.optimize import OptimizeConfig, optimize

    optimized = FOLDER / "optimized"
    if not (optimized / "hfpc.json").exists():
        print(f"Optimizing the model into {optimized}, once", flush=True)
        dataset, _ = prepare(FOLDER, ROWS)
        optimize(OptimizeConfig(), model, dataset, optimized, FOLDER / "optimization.html")
    return optimized


def ask(model: Path, optimized: Path) -> Subject:
    """The model's own answers to the tweets of the test split, and its golden requests' surest."""
    import pyarrow.parquet as pq

    from hfpc import golden, manifest
    from hfpc.inference.predictor import Predictor

    dataset, _ = prepare(FOLDER, ROWS)
    texts = pq.read_table(dataset / "test")["text"].to_pylist()
    predictor = Predictor(model)
    optimization = manifest.read(optimized, "model").optimization
    surest = max(golden.read(model), key=lambda request: request["response"][0]["score"])
    return Subject(
        model=str(model),
        optimized=str(optimized),
        kept=optimization.kept if optimization else "pytorch-fp32",
        texts=texts,
        labels=[predictor.task.answer(response) for response in predictor.respond(texts)],
        golden_text=surest["inputs"],
        golden_label=predictor.task.answer(surest["response"]),
    )


def main() -> None:
    """Writes the subject as JSON."""
    out, *given = map(Path, sys.argv[1:])
    if not given:
        model = default_model()
        given = [model, default_optimized(model)]
    out.write_text(json.dumps(dataclasses.asdict(ask(*given))), encoding="utf-8")


if __name__ == "__main__":
    main()
