"""What an optimization found, as data: the stage fills it, the component and the report read it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of a candidate.

    Attributes:
        latency_ms_p50: Milliseconds that half of the requests of one row take at most.
        latency_ms_p95: Milliseconds that 95 of 100 such requests take at most.
        rows_per_second: Rows a second in batches of 32, on all cores, tokenizing included.
        processor_ms: Milliseconds of one core that a row costs then. Other work on the machine
            changes it less than it changes `rows_per_second`.
        speedup: `rows_per_second` over that of plain PyTorch. Both were measured by turns, and this
            is the median of the turns' ratios, so it is not quite the ratio of the figures.
        memory_mb: Most resident memory of a process that loaded it and predicted the rows, in 10^6 bytes.
        size_mb: Files with its weights, in 10^6 bytes.
        metric: The task's main metric on the rows.
        metric_loss: How much lower that is than plain PyTorch's; below 0 where it is higher.
        agreement: Share of units, 0 to 1, that get the label which plain PyTorch gives.
        changed: Units that get another label.
        golden: Golden requests that get another answer than when the model was made.
    """

    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float
    processor_ms: float
    speedup: float
    memory_mb: float
    size_mb: float
    metric: float
    metric_loss: float
    agreement: float
    changed: int
    golden: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A candidate and what became of it.

    Attributes:
        name: Its name, e.g. "onnxruntime-int8-dynamic".
        figures: What was measured; None where it could not be made or run.
        fits: Whether it is within the limits.
        reason: Why it was kept or not, a phrase.
    """

    name: str
    figures: Figures | None = None
    fits: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the figures hold for.

    Attributes:
        processor: Its name as the system tells it.
        cores: Cores that were used.
        instructions: Those of its instruction sets that make models faster, e.g. "avx2".
        versions: Package name to version, of the packages that computed.
    """

    processor: str
    cores: int
    instructions: list[str]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Everything one optimization found.

    Attributes:
        enabled: Whether anything was tried; if not, the model was passed on as it came.
        main_metric: Name of the task's main metric.
        max_metric_loss: Loss of the main metric that was allowed.
        min_agreement: Agreement that was required.
        rows: Rows of the validation split that quality was measured on.
        kept: Name of the candidate that was kept; "" where nothing was tried.
        reason: Why, a phrase.
        candidates: In the order in which they were tried; plain PyTorch is the first.
        machine: What they were measured on; None where nothing was tried.
    """

    enabled: bool
    main_metric: str
    max_metric_loss: float
    min_agreement: float
    rows: int = 0
    kept: str = ""
    reason: str = "optimization is switched off"
    candidates: list[Row] = field(default_factory=list)
    machine: Machine | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Metric name to value: the figures of the candidate that was kept; empty where nothing was tried."""
        figures = next((row.figures for row in self.candidates if row.name == self.kept), None)
        if figures is None:
            return {}
        measured = sum(row.figures is not None for row in self.candidates)
        return {**{name: float(value) for name, value in vars(figures).items()}, "candidates_measured": float(measured)}
