"""From a fine-tuned model to the fastest form of it that answers as well, measured on this machine."""

import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import golden, manifest, storage, tasks
from hfpc.errors import ArgumentError, ModelError
from hfpc.evaluation import held_out
from hfpc.manifest import Manifest
from hfpc.optimization import folders
from hfpc.optimization.candidates import CANDIDATES, REFERENCE
from hfpc.optimization.choosing import choose
from hfpc.optimization.machine import computes_bf16, machine
from hfpc.optimization.optimization import Figures, Optimization, Row
from hfpc.optimization.process import FailedError, Process
from hfpc.progress import Reporter

_TURNS = 5
"""Turns in which the reference and a candidate are timed, one after the other; medians are taken of them.

Five, because other work on the machine may fall on two of them.
"""

_Measured = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class OptimizeConfig:
    """What to try and what may be lost by it.

    Attributes:
        enabled: Whether to try anything; if not, the model is passed on as it is.
        candidates: Names of candidates to try; empty tries all. Plain PyTorch is always measured.
        max_metric_loss: Most that the task's main metric may lose on the validation split, in its
            own unit: 0.01 is one point of accuracy.
        min_agreement: Least share of labels, 0 to 1, that must be those of plain PyTorch. It tells
            more than the metric does: what was right and is wrong now is not made up for by what
            was wrong and is right.
        calibration_rows: Training rows that show which numbers occur inside the model. The ranges
            of 256 short texts hardly grow with more.
        max_rows: Validation rows to measure quality on. With 2,000 of them, an agreement of 99 %
            is known to about 0.4 points.
        seed: Seed of what is drawn.
        trust_remote_code: Let the model's own Python code run, if it needs any. Off, because such
            code can do anything this process can.

    Raises:
        ArgumentError: A value cannot be used.
    """

    enabled: bool = True
    candidates: Sequence[str] = ()
    max_metric_loss: float = 0.01
    min_agreement: float = 0.99
    calibration_rows: int = 256
    max_rows: int = 2000
    seed: int = 42
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        unknown = (
            [self.candidates] if isinstance(self.candidates, str) else sorted(set(self.candidates) - set(CANDIDATES))
        )
        if unknown:
            fix = f"give a list of names out of {', '.join(CANDIDATES)}, or nothing for all"
            raise ArgumentError("candidates", self.candidates, fix)
        if not self.max_metric_loss >= 0:
            raise ArgumentError("max_metric_loss", self.max_metric_loss, "give a number of at least 0, e.g. 0.01")
        if not 0 <= self.min_agreement <= 1:
            raise ArgumentError("min_agreement", self.min_agreement, "give a share from 0 to 1, e.g. 0.99")
        for name in ("calibration_rows", "max_rows"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, getattr(self, name), "give a number of rows, at least 1")
        if self.seed < 0:
            raise ArgumentError("seed", self.seed, "give a whole number of at least 0")


def optimize(config: OptimizeConfig, model: Path, dataset: Path, out: Path, report: Path) -> Optimization:
    """Makes candidates of a model, measures each, and keeps the fastest that is good enough.

    Each is made and measured in a process of its own: one that crashes, or needs a package that is
    not installed, or cannot express the model, is a row of the report that says so.

    Args:
        config: What to try.
        model: A model folder. One that was optimized before is optimized anew, from its weights.
        dataset: The data set it was made from: it is calibrated on rows of the training split, and
            measured on the validation split.
        out: Model folder to make: the model with the file of what was kept, which `hfpc.json` names.
        report: HTML file to write.

    Raises:
        ArgumentError: The data set has no validation rows.
        DataError: A folder is not what it should be, or the model does not fit the data set.
        ModelError: The model does not load.
    """
    from hfpc.reports.optimization_report import optimization_report

    content = manifest.read(model, "model")
    found = Optimization(
        enabled=config.enabled,
        main_metric=tasks.get(content.task).main_metric,
        max_metric_loss=config.max_metric_loss,
        min_agreement=config.min_agreement,
    )
    if not config.enabled:
        with storage.publishing(out) as folder:
            storage.copy_folder(model, folder)
        storage.write_text(report, optimization_report(found))
        return found
    validation = held_out.read(dataset, "validation")
    held_out.refuse_mismatch(content, validation)
    golden.read(model)  # fails here, before anything slow
    with tempfile.TemporaryDirectory() as scratch:
        trials = _Trials(config, model, content, dataset, Path(scratch))
        found = dataclasses.replace(
            choose(found, trials.run()),
            rows=min(config.max_rows, validation.table.num_rows),
            machine=machine(),
        )
        page = optimization_report(found)  # before anything is published, should it fail
        folders.publish(out, model, content, found, trials.folder(found.kept))
    storage.write_text(report, page)
    return found


class _Trials:
    """Makes and measures candidates, each beside plain PyTorch, so that other work slows down both.

    Args:
        config: What to try.
        model: The model folder.
        content: Its `hfpc.json`.
        dataset: The data set folder.
        scratch: An empty folder.
    """

    def __init__(self, config: OptimizeConfig, model: Path, content: Manifest, dataset: Path, scratch: Path) -> None:
        self._config, self._model, self._content = config, model, content
        self._dataset, self._scratch = dataset, scratch
        self._made: dict[str, str] = {}  # name to why it could not be made, "" where it was
        self._turns: list[_Measured] = []  # of the reference, over all candidates

    def folder(self, name: str) -> Path:
        """Where a candidate's model folder is."""
        return self._scratch / name

    def run(self) -> list[Row]:
        """A row for each candidate, not decided on yet.

        Raises:
            ModelError: The model does not load.
        """
        names = [name for name in CANDIDATES if name != REFERENCE and name in (self._config.candidates or CANDIDATES)]
        reporter = Reporter("trying candidates", len(names) + 1, interval=0)
        reporter.update(0, REFERENCE)
        with Process() as reference:
            try:
                self._make(REFERENCE)
                plain = self._load(reference, REFERENCE)
                self._turns.append(reference.call("time"))
            except FailedError as error:
                raise ModelError(f"the model in {self._model} cannot be measured: {error}") from error
            rows = []
            for number, name in enumerate(names, start=1):
                reporter.update(number, name)
                rows.append(self._try(name, plain, reference))
        first = Row(name=REFERENCE, figures=_figures(plain, plain, self._turns, self._turns))
        reporter.update(len(names) + 1)
        return [first, *rows]

    def _try(self, name: str, plain: _Measured, reference: Process) -> Row:
        """A candidate's row."""
        try:
            self._make(name)
            with Process() as process:
                found = self._load(process, name)
                turns = [(reference.call("time"), process.call("time")) for _ in range(_TURNS)]
        except FailedError as error:
            return Row(name=name, reason=str(error))
        before, own = [list(side) for side in zip(*turns, strict=True)]
        self._turns += before
        return Row(name=name, figures=_figures(found, plain, own, before))

    def _make(self, name: str) -> None:
        """Makes a candidate, after the one that it is made from.

        Raises:
            FailedError: It cannot be made.
        """
        if name not in self._made:
            try:
                self._made[name] = ""
                self._make_now(name)
            except FailedError as error:
                self._made[name] = str(error)
        if reason := self._made[name]:
            raise FailedError(reason)

    def _make_now(self, name: str) -> None:
        candidate, settings = CANDIDATES[name], dataclasses.asdict(self._config)
        if candidate.precision == "bf16" and not computes_bf16():
            raise FailedError("this processor does not compute in bfloat16")
        if candidate.base:
            self._make(candidate.base)
        folders.sketch(self._model, self._content, name, self.folder(name))
        if not candidate.file:
            return
        with Process() as process:
            process.call(
                "make",
                name=name,
                model=str(self._model),
                dataset=str(self._dataset),
                folder=str(self.folder(name)),
                base=str(self.folder(candidate.base)) if candidate.base else "",
                settings=settings,
            )

    def _load(self, process: Process, name: str) -> _Measured:
        """What a process tells of a candidate once it has loaded it, and the size of its files."""
        config = self._config
        found = process.call(
            "load",
            folder=str(self.folder(name)),
            dataset=str(self._dataset),
            max_rows=config.max_rows,
            seed=config.seed,
            trust_remote_code=config.trust_remote_code,
        )
        return {**found, "size_mb": folders.size(self.folder(name), CANDIDATES[name]) / 1e6}


def _figures(found: _Measured, plain: _Measured, turns: Sequence[_Measured], beside: Sequence[_Measured]) -> Figures:
    """A candidate's figures.

    Args:
        found: What it answered, and how large it is.
        plain: The same of plain PyTorch.
        turns: Its times.
        beside: Times of plain PyTorch, each from just before the candidate's.
    """
    changed = sum(one != other for one, other in zip(found["labels"], plain["labels"], strict=True))
    ratios = [own["rows_per_second"] / other["rows_per_second"] for own, other in zip(turns, beside, strict=True)]
    speed = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    return Figures(
        **speed,
        speedup=statistics.median(ratios),
        memory_mb=found["memory_mb"],
        size_mb=found["size_mb"],
        metric=found["metric"],
        metric_loss=plain["metric"] - found["metric"],
        agreement=1 - changed / len(plain["labels"]),
        changed=changed,
        golden=found["golden"],
    )
