"""Component: is the new model better than the one in use?"""

from typing import Dict, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def compare_models(
    predictions: Input[Dataset],
    dataset: Input[Dataset],
    metrics: Output[Metrics],
    champion: str = "",
    registry: str = "",
    min_metrics: Dict[str, float] = {},
    min_gain: float = 0.0,
    significance: float = 0.05,
    trust_remote_code: bool = False,
) -> NamedTuple("Outputs", [("decision", str), ("reasons", str)]):
    """Compares a candidate with the champion on the same rows and decides which should serve.

    Args:
        predictions: The candidate's predictions, from `evaluate`.
        dataset: The data set they were made on; the champion predicts the same split of it.
        champion: Model folder or URI, or `NAME@ALIAS` or `NAME@VERSION` in `registry`. Empty, or
            an alias that nothing has yet, means that there is no champion.
        registry: Folder of the local registry; empty means `$HFPC_HOME/registry`.
        min_metrics: Metric name to the least value a candidate must reach, champion or not, e.g.
            `{"accuracy": 0.85}`.
        min_gain: Least gain over the champion in the task's main metric, in its own unit.
        significance: Largest p-value of the paired test at which a gain counts as real; 1 takes
            any gain.
        trust_remote_code: Let the champion's own Python code run, if it needs any.

    Returns:
        decision: `promote` or `keep`.
        reasons: Why, one sentence a line.
        metrics: Both models' main metric, the gain, and the p-value.
    """
    from pathlib import Path

    from hfpc.evaluation.compare_models import CompareModelsConfig, compare_models

    config = CompareModelsConfig(
        champion=champion,
        registry=registry,
        min_metrics=min_metrics,
        min_gain=min_gain,
        significance=significance,
        trust_remote_code=trust_remote_code,
    )
    comparison = compare_models(config, Path(predictions.path), Path(dataset.path))
    for name, value in comparison.metrics.items():
        metrics.log_metric(name, value)
    return comparison.decision, "\n".join(comparison.reasons)
