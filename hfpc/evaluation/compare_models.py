"""Is a new model better than the one in use?"""

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from hfpc import manifest, registry, storage, tasks
from hfpc.errors import ArgumentError, DataError
from hfpc.evaluation import held_out, significance
from hfpc.evaluation.evaluate import MAIN_SUMS, NOT_SEEN, PREDICTIONS
from hfpc.evaluation.held_out import HeldOut
from hfpc.inference.predictor import Predictor
from hfpc.manifest import PredictionsRecord

_LOWER_IS_BETTER = ("calibration_error", "latency_ms_p50", "latency_ms_p95", NOT_SEEN)

_OTHER_DATA = "the champion was trained on another version of the data, so it may have seen some of these rows"


@dataclass(frozen=True, kw_only=True)
class CompareModelsConfig:
    """When a candidate takes the champion's place.

    Attributes:
        champion: Model folder or URI, or `NAME@ALIAS` or `NAME@VERSION` in `registry`. "", or a
            name or alias that nothing has yet, means that there is none.
        registry: Folder of the local registry; "" means `$HFPC_HOME/registry`.
        min_metrics: Metric name to the least value a candidate must reach, champion or not.
        min_gain: Least gain over the champion in the task's main metric, in its own unit. No gain
            at all is never enough.
        significance: Largest p-value of the paired test at which a gain counts as real; 1 takes
            any gain.
        trust_remote_code: Let the champion's own Python code run, if it needs any. Off, because such
            code can do anything this process can.

    Raises:
        ArgumentError: A value cannot be used.
    """

    champion: str = ""
    registry: str = ""
    min_metrics: Mapping[str, float] = field(default_factory=dict)
    min_gain: float = 0.0
    significance: float = 0.05
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        registry.folder(self.registry)
        place = self.champion.removeprefix("file://")
        if place and not storage.is_uri(place) and not Path(place).is_dir():
            if "@" not in place or "/" in place:
                fix = "give a model folder or URI, NAME@ALIAS or NAME@VERSION, or nothing"
                raise ArgumentError("champion", self.champion, fix)
            registry.check_reference(place, "champion")
        known = _known_metrics() if self.min_metrics else set()
        for name, value in self.min_metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                fix = f"give a number for {name!r}"
                raise ArgumentError("min_metrics", dict(self.min_metrics), fix)
            if name in _LOWER_IS_BETTER:
                fix = f"{name} is better when it is lower, so a least value would be wrong"
                raise ArgumentError("min_metrics", dict(self.min_metrics), fix)
            if name not in known:
                fix = f"there is no {name!r}; there are {', '.join(sorted(known))}"
                raise ArgumentError("min_metrics", dict(self.min_metrics), fix)
        if not 0 <= self.min_gain < math.inf:
            raise ArgumentError("min_gain", self.min_gain, "give a number of at least 0")
        if not 0 < self.significance <= 1:
            raise ArgumentError("significance", self.significance, "give a number above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was decided and why.

    Attributes:
        decision: Whether the candidate should serve.
        reasons: Sentences.
        metrics: `candidate_…` and, if there is a champion, `champion_…` for the main metric, the
            `gain` and the `p_value`.
    """

    decision: Literal["promote", "keep"]
    reasons: list[str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class _Champion:
    """A champion: how to call it, the main metric, its main sums, and whether it is of the same data."""

    name: str
    value: float
    main_sums: np.ndarray
    same_data: bool


def compare_models(config: CompareModelsConfig, predictions: Path, dataset: Path) -> Comparison:
    """Compares a candidate with the champion on the same rows.

    A candidate is promoted when it reaches every least value and there is no champion, or it beats
    the champion by enough and not by luck.

    Args:
        config: When a candidate takes the champion's place.
        predictions: The candidate's predictions folder, from `evaluate`.
        dataset: The data set they were made on.

    Raises:
        ArgumentError: There is no such champion, or no such metric.
        DataError: The predictions were made on other data, or the champion is for other labels or
            another task.
    """
    content = manifest.read(predictions, "predictions")
    candidate = content.predictions
    assert candidate is not None
    if not candidate.split or content.dataset is None:
        raise DataError(f"{predictions} was made by batch_predict and has no scores: give the output of evaluate")
    reached, reasons = _least_values(config, candidate.metrics)
    test = held_out.read(dataset, candidate.split)
    if test.record.fingerprint != content.dataset.fingerprint:
        raise DataError(f"{predictions} was not made on {dataset}: evaluate the candidate on this data set first")
    metric = tasks.get(content.task).main_metric
    value = candidate.metrics[metric]
    metrics = {f"candidate_{metric}": value}
    with _folder(config) as folder:
        if folder is None:
            reasons.append("there is no champion yet")
            return Comparison(decision=_decision(reached), reasons=reasons, metrics=metrics)
        name = _name(config.champion, folder)
        if _fingerprint(folder) == candidate.model:
            reasons.append(f"the candidate is the same model as {name}")
            return Comparison(decision="keep", reasons=reasons, metrics=metrics)
        champion = _measure(name, folder, test, config.trust_remote_code)
    gain = value - champion.value
    p_value = significance.p_value(
        tasks.get(content.task).main_value, _main_sums(predictions, candidate), champion.main_sums
    )
    metrics |= {f"champion_{metric}": champion.value, "gain": gain, "p_value": p_value}
    better, reason = _gained(config, metric, gain, p_value, champion)
    reasons.append(reason)
    if not champion.same_data:
        reasons.append(_OTHER_DATA)
    return Comparison(decision=_decision(reached and better), reasons=reasons, metrics=metrics)


def _known_metrics() -> set[str]:
    """Names of the metrics that a least value can be for, over all tasks."""
    found = {"roc_auc", "rows_per_second"}
    for task in map(tasks.get, tasks.names()):
        sums = task.score({role: [] for role in task.columns}, [], ["a", "b"]).sums.sum(axis=0)
        found |= {f"{name}{bound}" for name in task.metrics(sums) for bound in ("", "_low", "_high")}
    return found


def _decision(promote: bool) -> Literal["promote", "keep"]:
    return "promote" if promote else "keep"


def _least_values(config: CompareModelsConfig, metrics: Mapping[str, float]) -> tuple[bool, list[str]]:
    """Whether every least value is reached, and a sentence for each."""
    reached, reasons = True, []
    for name, least in config.min_metrics.items():
        if name not in metrics:
            there = ", ".join(sorted(set(metrics) - set(_LOWER_IS_BETTER)))
            raise ArgumentError("min_metrics", dict(config.min_metrics), f"there is no {name!r}; there are {there}")
        enough = metrics[name] >= least
        reached = reached and enough
        value, required = _pair(metrics[name], least)
        reasons.append(f"{name} {value} {'is at least' if enough else 'is below'} the required {required}")
    return reached, reasons


def _gained(
    config: CompareModelsConfig, metric: str, gain: float, p_value: float, champion: _Champion
) -> tuple[bool, str]:
    """Whether the candidate beats the champion, and the sentence that says so."""
    # 1e-9 takes up rounding: 0.88 is better than 0.87 by 0.01.
    enough = gain > 0 and gain >= config.min_gain - 1e-9
    real = p_value <= config.significance
    over = f"in {metric} over {champion.name} ({champion.value:.3f})"
    start = f"gain of {gain:.3f} {over}, p = {p_value:.2g}"
    if gain <= 0:
        return False, f"no gain {over}: it is {f'{-gain:.3f} lower' if gain else 'the same'}"
    if not enough:
        return False, f"{start}: less than the required gain of {config.min_gain:.3f}"
    if not real:
        return False, f"{start}: may be luck, since p is above {config.significance:g}"
    return True, f"{start}: better"


def _measure(name: str, folder: Path, test: HeldOut, trust_remote_code: bool) -> _Champion:
    content = manifest.read(folder, "model")
    if reason := held_out.mismatch(content, test):
        fix = "compare with another champion, or with none to begin anew"
        raise DataError(f"{name} cannot be measured on this data set: {reason}; {fix}")
    predictor = Predictor(folder, trust_remote_code=trust_remote_code)
    task, rows = predictor.task, test.rows(predictor.task)
    predictions, _ = held_out.predict(predictor, rows)
    scores = task.score(rows, predictions, predictor.label_names)
    value = float(task.main_value(scores.main_sums.sum(axis=0)))
    assert content.dataset is not None
    same_data = content.dataset.fingerprint == test.record.fingerprint
    return _Champion(name, value, scores.main_sums, same_data)


def _main_sums(predictions: Path, record: PredictionsRecord) -> np.ndarray:
    import pyarrow.parquet as pq

    file = predictions / PREDICTIONS
    if MAIN_SUMS not in pq.read_schema(file).names:
        raise DataError(f"{predictions} was made by an older version of hfpc: evaluate the candidate again")
    sums = np.array(pq.read_table(file, columns=[MAIN_SUMS])[MAIN_SUMS].to_pylist())
    if len(sums) != record.rows:
        raise DataError(f"{predictions} has {len(sums)} rows instead of {record.rows}: evaluate the candidate again")
    return sums


@contextmanager
def _folder(config: CompareModelsConfig) -> Iterator[Path | None]:
    """The champion's folder on this machine; None where there is no champion."""
    champion = config.champion
    if not champion:
        yield None
    elif storage.is_uri(champion):
        with tempfile.TemporaryDirectory() as scratch:
            yield storage.local_folder(champion, Path(scratch), "champion")
    elif Path(champion.removeprefix("file://")).is_dir():
        yield Path(champion.removeprefix("file://"))
    elif "@" in champion and "/" not in champion:
        yield registry.find(champion, config.registry)
    else:
        raise ArgumentError("champion", champion, "give a model folder or URI, NAME@ALIAS or NAME@VERSION, or nothing")


def _name(champion: str, folder: Path) -> str:
    """What sentences call the champion: `version 3 of tweets` for `tweets@champion`."""
    name, at, _ = champion.partition("@")
    return f"version {folder.name} of {name}" if at and "/" not in champion else champion


def _fingerprint(folder: Path) -> str:
    record = manifest.read(folder, "model").model
    assert record is not None
    return record.fingerprint


def _pair(value: float, required: float) -> tuple[str, str]:
    """Both with three decimals, or as many as show that they differ."""
    decimals = 3
    while decimals < 9 and value != required and f"{value:.{decimals}f}" == f"{required:.{decimals}f}":
        decimals += 1
    return f"{value:.{decimals}f}", f"{required:.{decimals}f}"
