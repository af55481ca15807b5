"""Evaluations, histories and runs to report on: rich ones, hostile ones and ones cut short."""

import json
import math
import random

from hfpc.evaluation.evaluation import CalibrationBin, Evaluation, LabelScore, Mistake, RocCurve, Slice
from hfpc.manifest import DatasetRecord, Manifest, ModelRecord, TokenizedRecord
from hfpc.reports.evaluation_report import evaluation_report
from hfpc.reports.model_card import model_card
from hfpc.reports.training_curves import training_curves
from hfpc.runs import Artifact, Run, Task

HOSTILE = '<img src="https://example.com/x.png" onerror="alert(1)"><script>alert(2)</script>'
STARTED = 1_700_000_000.0


def history(steps: int = 280) -> list[dict]:
    """What Trainer logs: losses every 10 steps, validations every 70, a summary."""
    logged = []
    for step in range(10, steps + 1, 10):
        epoch = 3 * step / steps
        loss = 0.6 * math.exp(-step / 100) + 0.15
        logged.append(
            {"step": step, "epoch": epoch, "loss": loss, "grad_norm": 1.5, "learning_rate": 5e-5 * (1 - step / steps)}
        )
        if step % 70 == 0:
            quality = {"eval_accuracy": 0.9 - loss / 4, "eval_macro_f1": 0.89 - loss / 4, "eval_mcc": 0.8 - loss / 2}
            logged.append({"step": step, "epoch": epoch, "eval_loss": loss + 0.1, "eval_runtime": 1.0, **quality})
    return [*logged, {"step": steps, "epoch": 3.0, "train_runtime": 63.0, "train_loss": 0.3, "total_flos": 1e12}]


def label_names(count: int) -> list[str]:
    return [HOSTILE, "消極的", "سلبي", *(f"label number {index} with words" for index in range(3, count))][:count]


def evaluation(labels: list[str], **changes) -> Evaluation:
    """An evaluation with every section filled."""
    rng = random.Random(0)
    ids = range(len(labels))
    wrong = min(1.0, 8 / len(labels))  # share of the other labels that a label is ever taken for
    counts = [
        [rng.randint(80, 900) if row == column else rng.randint(0, 20) * (rng.random() < wrong) for column in ids]
        for row in ids
    ]
    rates = [index / 100 for index in range(101)]
    texts = [
        HOSTILE,
        "word " * 400,
        "x" * 900,
        "これはひどい製品です。",
        "هذا منتج رائع حقًا، شكرًا",
        "lone \ud83d and \x00",
    ]
    values = {
        "task": "text-classification",
        "split": "test",
        "rows": 2345,
        "main_metric": "accuracy",
        "label_names": labels,
        "metrics": {
            "accuracy": 0.8812, "accuracy_low": 0.8612, "accuracy_high": 0.9012, "macro_f1": 0.8712, "mcc": 0.7423,
            "calibration_error": 0.0213, "latency_ms_p50": 5.31, "latency_ms_p95": 9.72, "rows_per_second": 1158.4,
        },
        "intervals": {"accuracy": (0.8612, 0.9012)},
        "per_label": [
            LabelScore(label=label, precision=0.9123, recall=0.8234, f1=0.8655, support=1234) for label in labels
        ],
        "confusion_matrix": counts,
        "roc": RocCurve(
            label=labels[1], fpr=rates, tpr=[1 - (1 - x) ** 5 for x in rates], thresholds=rates[::-1], auc=0.9432
        ),
        "calibration": [
            CalibrationBin(low=x, high=x + 0.1, confidence=x + 0.05, accuracy=x + 0.02, units=1200)
            for x in (0.5, 0.6, 0.7, 0.8, 0.9)
        ],
        "slices": [
            Slice(column=column, value=value, rows=321, score=0.7654)
            for column, value in [("length", "1-10 words"), ("length", "over 40 words"), ("language", HOSTILE)]
        ],
        "mistakes": [Mistake(text=text, truth=labels[0], predicted=labels[1], confidence=0.9876) for text in texts],
    }  # fmt: skip
    return Evaluation(**{**values, **changes})


def empty_evaluation() -> Evaluation:
    """An evaluation of a task without labels, where nothing but one metric was found."""
    return Evaluation(
        task="translation",
        split="validation",
        rows=3,
        main_metric="bleu",
        label_names=[],
        metrics={"bleu": 0.25},
        intervals={},
    )


def manifest(
    *, base_model="sample:minilm", base_revision="", source="sample:tweets", revision="", **changes
) -> Manifest:
    """The manifest of a fine-tuned model, tested."""
    dataset = DatasetRecord(
        source=source,
        revision=revision,
        licence="MIT",
        columns={"text": "tweet", "label": "class"},
        label_names=["negative", "positive"],
        rows={"test": 375, "train": 3000, "validation": 376},
        label_counts={"train": {"negative": 2700, "positive": 300}},
        repairs={"duplicate rows removed": 915},
        fingerprint="ab" * 32,
    )
    model = ModelRecord(
        base_model=base_model,
        revision=base_revision,
        max_length=40,
        parameters={"epochs": 1.5, "seed": 42, "checkpoint_uri": "/home/someone/checkpoints", "extra": {}},
        metrics={"validation/accuracy": 0.885, "test/accuracy": 0.882, "test/accuracy_low": 0.861,
                 "test/accuracy_high": 0.902, "test/mcc": 0.76, "test/latency_ms_p50": 5.3},
        fingerprint="cd" * 32,
    )  # fmt: skip
    tokenized = TokenizedRecord(
        base_model=base_model,
        revision=base_revision,
        trust_remote_code=False,
        max_length=40,
        lengths={"p99": 40},
        truncated_share=0.0123,
    )
    values = {
        "kind": "model",
        "task": "text-classification",
        "dataset": dataset,
        "model": model,
        "tokenized": tokenized,
    }
    return Manifest(**{**values, **changes})


def classification_metadata() -> dict:
    """Metadata as kfp's own artifact logs it."""
    from kfp.dsl import ClassificationMetrics

    artifact = ClassificationMetrics(name="m", uri="", metadata={})
    artifact.log_confusion_matrix(["negative", "positive"], [[180, 20], [25, 150]])
    artifact.log_roc_curve([0.0, 0.1, 1.0], [0.0, 0.8, 1.0], [1.0, 0.5, 0.0])
    return artifact.metadata


def run(state: str = "succeeded") -> Run:
    """A run of eight tasks with real files in its folder; unless it succeeded, it stops at the third."""
    nested = "train-and-evaluate/"
    plan = [
        (nested + "load-dataset", "Load data set", 4, (), {}),
        (nested + "preprocess", "Tokenize", 6, (nested + "load-dataset",), {}),
        (nested + "finetune", "Fine-tune", 123, (nested + "preprocess",), {}),
        (nested + "evaluate", "Evaluate", 14, (nested + "finetune", nested + "load-dataset"), {}),
        ("compare-models", "Compare with the champion", 3, (nested + "evaluate", nested + "load-dataset"),
         {"decision": "promote", "reasons": "accuracy 0.881 is at least 0.850\nthere is no champion"}),
        ("register-local-model", "Register", 1, (nested + "finetune", "compare-models"), {}),
        ("deploy-local", "Deploy", 5, ("register-local-model",), {}),
        ("test-endpoint", "Test the endpoint", 9, ("deploy-local",), {}),
    ]  # fmt: skip
    made = Run(id=f"finetune_local-{state}", pipeline="finetune_local", state=state, started=STARTED)
    (made.folder / "logs").mkdir(parents=True)
    tasks, time, stopped = [], STARTED, {"failed": "skipped", "running": "pending"}
    for index, (name, display_name, seconds, needs, outputs) in enumerate(plan):
        here = "succeeded" if state == "succeeded" or index < 2 else state if index == 2 else stopped[state]
        began, done = here in ("succeeded", "failed", "running"), here == "succeeded"
        (made.folder / "logs" / f"{index}.log").write_text("a line\n")
        tasks.append(
            Task(
                name=name,
                display_name=display_name,
                component=name.rpartition("/")[2].replace("-", "_"),
                state=here,
                started=time if began else None,
                ended=time + seconds if here in ("succeeded", "failed") else None,
                needs=needs,
                error=f"ArgumentError: text={HOSTILE!r}: \x1b[31mgive another\x1b[0m" if here == "failed" else "",
                log=f"logs/{index}.log" if began else "",
                parameters={"seed": 42, "note": HOSTILE, "columns": {"text": "tweet"}},
                outputs=outputs if done else {},
                artifacts=tuple(artifacts(made, name)) if done else (),
            )
        )
        time += seconds
    changes = {"ended": None if state == "running" else time, "tasks": tuple(tasks)}
    return Run(**{**vars(made), **changes, "parameters": {"source": "sample:tweets", "labels": [HOSTILE], "empty": ""}})


def artifacts(run: Run, task: str) -> list[Artifact]:
    """The artifacts of a task, those that are files written."""
    labels = ["negative", "positive"]
    place = f"artifacts/{task}"
    (run.folder / place).mkdir(parents=True)
    if task.endswith("finetune"):
        (run.folder / place / "model").mkdir()
        (run.folder / place / "model" / "history.json").write_text(json.dumps(history()))
        (run.folder / place / "model" / "README.md").write_text(model_card(manifest()))
        (run.folder / place / "curves").write_text(training_curves(history()))
        return [
            Artifact(name="model", type="system.Model", path=f"{place}/model"),
            Artifact(name="metrics", type="system.Metrics", path="", metadata={"validation/accuracy": 0.885}),
            Artifact(name="curves", type="system.HTML", path=f"{place}/curves"),
        ]
    if task.endswith("evaluate"):
        (run.folder / place / "report").write_text(evaluation_report(evaluation(labels)))
        metrics = evaluation(labels).metrics
        return [
            Artifact(name="metrics", type="system.Metrics", path="", metadata=metrics),
            Artifact(name="measured", type="system.ClassificationMetrics", path="", metadata=classification_metadata()),
            Artifact(name="report", type="system.HTML", path=f"{place}/report"),
            Artifact(name="predictions", type="system.Dataset", path="gs://bucket/predictions"),
            Artifact(name="gone", type="system.Dataset", path=f"{place}/gone"),
        ]
    return []
