"""What a server tells of itself: Prometheus metrics, and a line of JSON for each request."""

import json
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfpc.serving.batching import Batch

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Telemetry:
    """Counts and logs.

    Args:
        waiting: Gives how many inputs wait to be computed now.
        log: Where a line for each request goes; None for nowhere.
        log_inputs: Whether the inputs are in it. Off, because they may be anybody's words.
    """

    def __init__(
        self, waiting: Callable[[], float] = lambda: 0, log: IO[str] | None = None, log_inputs: bool = False
    ) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self._requests = Counter("hfpc_requests", "Requests answered", ["contract", "status"], **own)
        self._seconds = Histogram(
            "hfpc_request_seconds", "Time from headers to answer", ["contract"], buckets=_SECONDS, **own
        )
        self.in_progress = Gauge("hfpc_requests_in_progress", "Requests that are being answered", **own)
        Gauge("hfpc_queue_inputs", "Inputs that wait to be computed", **own).set_function(waiting)
        self._batch_rows = Histogram("hfpc_batch_rows", "Inputs of a forward pass", buckets=_ROWS, **own)
        self._batch_seconds = Histogram("hfpc_batch_seconds", "Time of a forward pass", buckets=_SECONDS, **own)
        self._tokens = Counter("hfpc_tokens", "Tokens computed, padding left out", **own)
        self._padding = Counter("hfpc_padding_tokens", "Tokens of padding computed", **own)
        self._log = log
        self._log_inputs = log_inputs

    def count_batch(self, batch: "Batch") -> None:
        """Counts a forward pass."""
        self._batch_rows.observe(batch.rows)
        self._batch_seconds.observe(batch.seconds)
        self._tokens.inc(batch.tokens)
        self._padding.inc(batch.padded_tokens - batch.tokens)

    def count_tokens(self, tokens: int) -> None:
        """Counts tokens that were read or generated without a batch."""
        self._tokens.inc(tokens)

    def count_request(
        self, *, contract: str, path: str, status: int, seconds: float, request_id: str, inputs: list[Any] | None
    ) -> None:
        """Counts and logs a request that was answered; `inputs` is None where they could not be read."""
        self._requests.labels(contract, str(status)).inc()
        self._seconds.labels(contract).observe(seconds)
        if self._log is None:
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": "request",
            "contract": contract,
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "request_id": request_id,
        }
        if inputs is not None:
            line["inputs"] = inputs if self._log_inputs else len(inputs)
        print(json.dumps(line, ensure_ascii=False), file=self._log, flush=True)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        from prometheus_client import generate_latest

        found: bytes = generate_latest(self.registry)
        return found
