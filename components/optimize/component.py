"""Component: the fastest form of a model that answers as well."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def optimize(
    model: Input[Model],
    dataset: Input[Dataset],
    optimized: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    enabled: bool = True,
    candidates: List[str] = [],
    max_metric_loss: float = 0.01,
    min_agreement: float = 0.99,
    calibration_rows: int = 256,
    max_rows: int = 2000,
    seed: int = 42,
    trust_remote_code: bool = False,
) -> NamedTuple("Outputs", [("kept", str), ("reason", str)]):
    """Makes faster forms of a model, measures each on this machine, and keeps the fastest good one.

    PyTorch in fp32 and bf16, ONNX Runtime in fp32 and INT8, and OpenVINO in fp32 and INT8. One that
    does not work here is a row of the report that says why. Whatever was kept, the model loads and
    answers everywhere as before, faster. Run this on the kind of machine that will serve.

    Args:
        model: A model from `finetune`.
        dataset: The data set it was made from: its training rows calibrate, its validation rows measure.
        enabled: Whether to try anything; if not, the model is passed on as it is. So a pipeline can
            switch the step off by a parameter.
        candidates: Names of candidates to try, e.g. `["onnxruntime-int8-dynamic"]`; empty tries all.
            Plain PyTorch (`pytorch-fp32`) is always measured.
        max_metric_loss: Most that the task's main metric may lose, in its own unit: 0.01 is one
            point of accuracy.
        min_agreement: Least share of labels, 0 to 1, that must be those of plain PyTorch.
        calibration_rows: Training rows that show which numbers occur inside the model.
        max_rows: Validation rows to measure quality on, at most.
        seed: Seed of what is drawn.
        trust_remote_code: Let the model's own Python code run, if it needs any.

    Returns:
        optimized: The model with what was kept, and all that was measured in its `hfpc.json`.
        metrics: Figures of the candidate that was kept: speed-up, latency (ms), rows per second,
            memory and size (MB), the main metric, what it lost, and the agreement.
        report: All candidates for reading.
        kept: Name of the candidate that was kept; empty where nothing was tried.
        reason: Why.
    """
    from pathlib import Path

    from hfpc.optimization.optimize import OptimizeConfig, optimize

    config = OptimizeConfig(
        enabled=enabled,
        candidates=candidates,
        max_metric_loss=max_metric_loss,
        min_agreement=min_agreement,
        calibration_rows=calibration_rows,
        max_rows=max_rows,
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    optimization = optimize(config, Path(model.path), Path(dataset.path), Path(optimized.path), Path(report.path))
    for name, value in optimization.metrics.items():
        metrics.log_metric(name, value)
    return optimization.kept, optimization.reason
