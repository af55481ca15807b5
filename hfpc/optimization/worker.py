"""The process in which one candidate is made or measured, so that its crash is not that of `optimize`.

It reads a call a line on its standard input, `{"function": …, "arguments": {…}}`, and answers each with
a line of JSON, `{"result": …}` or `{"error": …}`. When its input closes, it ends.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hfpc import golden
from hfpc.errors import HfpcError
from hfpc.evaluation import held_out
from hfpc.evaluation.evaluate import latency
from hfpc.inference.predictor import Predictor
from hfpc.optimization.candidates import CANDIDATES
from hfpc.optimization.samples import draw

BATCH_ROWS = 32
_LEAST_BATCHES = 8
_STATUS = Path("/proc/self/status")
_MOST_CHARACTERS = 300


class Calls:
    """What the process can be asked for."""

    def make(self, *, name: str, model: str, dataset: str, folder: str, base: str, settings: dict[str, Any]) -> None:
        """Adds a candidate's file to its model folder.

        Args:
            name: Name of the candidate.
            model: The model folder.
            dataset: The data set folder, for calibration.
            folder: The candidate's model folder.
            base: Model folder of the candidate that it is quantized from; "" for none.
            settings: `calibration_rows`, `seed` and `trust_remote_code`.
        """
        from hfpc.optimization import onnx, openvino

        candidate = CANDIDATES[name]
        source, file = Path(base, candidate.file), Path(folder, candidate.file)
        trust = settings["trust_remote_code"]
        calibration = {"rows": settings["calibration_rows"], "seed": settings["seed"]}
        if name == "onnxruntime-fp32":
            onnx.export(Path(model), Path(dataset), file, trust_remote_code=trust)
        elif name == "onnxruntime-int8-dynamic":
            onnx.quantize_dynamic(source, file, Path(model), Path(dataset), **calibration)
        elif name == "onnxruntime-int8-static":
            onnx.quantize_static(source, file, Path(model), Path(dataset), **calibration)
        elif name == "openvino-fp32":
            openvino.export(Path(model), file, trust_remote_code=trust)
        elif name == "openvino-int8":
            openvino.quantize(source, file, Path(model), Path(dataset), **calibration, trust_remote_code=trust)

    def load(self, *, folder: str, dataset: str, max_rows: int, seed: int, trust_remote_code: bool) -> dict[str, Any]:
        """Loads a model folder and predicts the validation rows.

        Returns:
            `labels` (of every unit), `metric`, `golden` (requests answered otherwise than when the
            model was made) and `memory_mb`.
        """
        self._seed = seed
        self._predictor = predictor = Predictor(Path(folder), trust_remote_code=trust_remote_code)
        task = predictor.task
        table = draw(held_out.read(Path(dataset), "validation").table, max_rows, seed)
        self._rows = rows = {role: table[role].to_pylist() for role in task.columns}
        predictions = predictor.predict(rows)
        sums = task.score(rows, predictions, predictor.label_names).main_sums.sum(axis=0)
        requests = golden.read(Path(folder))
        responses = predictor.respond([request["inputs"] for request in requests])
        outputs = task.output_columns(predictions, predictor.label_names)
        return {
            "labels": _flat(outputs["prediction"].to_pylist()),
            "metric": float(task.main_value(sums)),
            "golden": len(golden.differences(task, requests, responses)),
            "memory_mb": _peak_memory() / 1e6,
        }

    def time(self) -> dict[str, float]:
        """One turn of measuring speed: `latency_ms_p50`, `latency_ms_p95`, `rows_per_second` and `processor_ms`."""
        return {**latency(self._predictor, self._rows, self._seed), **self._throughput()}

    def _throughput(self) -> dict[str, float]:
        """Tokenizes rows and computes them in batches of 32 of similar length, one a core at a time."""
        predictor = self._predictor
        count = len(next(iter(self._rows.values())))
        wanted = BATCH_ROWS * max(_LEAST_BATCHES, 2 * predictor.workers)
        places = np.resize(np.random.default_rng(self._seed).permutation(count), wanted)
        rows = {role: [values[place] for place in places] for role, values in self._rows.items()}
        started, processor = time.perf_counter(), time.process_time()
        encoded = sorted(predictor.encode(rows), key=lambda row: len(row["input_ids"]))
        batches = [encoded[start : start + BATCH_ROWS] for start in range(0, wanted, BATCH_ROWS)]
        with ThreadPoolExecutor(predictor.workers) as pool:
            list(pool.map(predictor.forward, batches))
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        return {"rows_per_second": wanted / seconds, "processor_ms": 1000 * processor / wanted}


def main() -> int:
    """Answers calls until its input closes; returns the exit status."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log
    calls = Calls()
    for line in sys.stdin:
        call = json.loads(line)
        function: Callable[..., Any] = getattr(calls, call["function"])
        try:
            answer = {"result": function(**call["arguments"])}
        except Exception as error:
            answer = {"error": _told(error)}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _told(error: Exception) -> str:
    """An error in a line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    known = isinstance(error, HfpcError)
    return (text if known else f"{type(error).__name__}: {text}".removesuffix(": "))[:_MOST_CHARACTERS]


def _flat(values: list[Any]) -> list[Any]:
    """Labels of units: lists of them, where a row has several, one after the other."""
    return [label for value in values for label in (value if isinstance(value, list) else [value])]


def _peak_memory() -> int:
    """Most resident memory that this process ever had, in bytes; what it has now where the system does not tell."""
    import psutil

    try:
        status = _STATUS.read_text()
    except OSError:
        return psutil.Process().memory_info().rss
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(main())
