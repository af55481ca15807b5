"""What was measured, as a table, as ratios with the aims, and as JSON."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.load import Load

OURS, OFFICIAL = "hfpc", "official"
NAMES = {OURS: "hfpc", OFFICIAL: "official stack"}

FASTER = {1: 2.5, 32: 2.8}
"""Clients to the least ratio of requests/s aimed at."""

LOWER = {1: "p50_ms", 32: "p95_ms"}
"""Clients to the latency that is to be lower than the official stack's."""

SOONER = 0.25
"""The most that our first right answer may take of the official stack's time."""

_COMPARED = ("requests_per_second", "p50_ms", "p95_ms", "p99_ms", "memory_mb")
_MEDIANS = (*_COMPARED, "agreement", "generator_cores")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One life of one server.

    Attributes:
        side: "hfpc" or "official".
        first_answer_seconds: From the start of the process to the first right answer.
        loads: Clients to what was seen.
        memory_mb: Clients to the resident memory of the process tree right after that load.
    """

    side: str
    first_answer_seconds: float
    loads: dict[int, Load]
    memory_mb: dict[int, float]

    def figure(self, clients: int, name: str) -> float:
        """One of the figures that medians and ratios are taken of."""
        return self.memory_mb[clients] if name == "memory_mb" else getattr(self.loads[clients], name)


def summary(runs: Sequence[Run], clients: Sequence[int]) -> dict[str, Any]:
    """Medians over the rounds of both sides, and medians of each round's ratio, ours by the official stack's.

    Args:
        runs: The official stack's and ours, by turns.
        clients: What each was loaded with.
    """
    sides = {side: [run for run in runs if run.side == side] for side in (OFFICIAL, OURS)}
    pairs = list(zip(sides[OURS], sides[OFFICIAL], strict=True))
    medians = {
        side: {
            "first_answer_seconds": statistics.median(run.first_answer_seconds for run in own),
            "clients": {count: _medians(own, count) for count in clients},
        }
        for side, own in sides.items()
    }
    ratios = {
        "first_answer_seconds": statistics.median(a.first_answer_seconds / b.first_answer_seconds for a, b in pairs),
        "clients": {count: _ratios(pairs, count) for count in clients},
    }
    return {"medians": medians, "ratios": ratios, "runs": [dataclasses.asdict(run) for run in runs]}


def _ratios(pairs: Sequence[tuple[Run, Run]], count: int) -> dict[str, Any]:
    """Medians of the rounds' ratios, and the least and the greatest of requests/s: far apart on a noisy machine."""
    ratios = {name: [ours.figure(count, name) / peer.figure(count, name) for ours, peer in pairs] for name in _COMPARED}
    speed = ratios["requests_per_second"]
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    return {**medians, "requests_per_second_range": [min(speed), max(speed)]}


def _medians(runs: Sequence[Run], count: int) -> dict[str, Any]:
    errors: Counter[str] = Counter()
    for run in runs:
        errors.update(run.loads[count].errors)
    figures = {name: statistics.median(run.figure(count, name) for run in runs) for name in _MEDIANS}
    return {**figures, "errors": dict(errors)}


def table(found: dict[str, Any]) -> str:
    """A line for each side and number of clients, then the ratios, then the aims."""
    settings = found["settings"]
    lines = [
        f"Medians of {settings['rounds']} rounds of {settings['seconds']:g} s, {settings['texts']} tweets, "
        f"{settings['processors']} processors. Official stack: {settings['official_workers']} workers, "
        f"torch threads each: {settings['official_threads']}. hfpc: {settings['kept']}.",
        "same label: as the model as it was trained. memory: resident, summed over a side's processes, so pages that",
        "they share count for each. generator: what the load generator itself used of a core.",
        "",
        f"{'':14} {'clients':>7} {'requests/s':>10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'errors':>6} "
        f"{'same label':>10} {'memory MB':>9} {'generator':>9}",
    ]
    for side, medians in found["medians"].items():
        for count, row in medians["clients"].items():
            lines.append(
                f"{NAMES[side]:14} {count:7} {row['requests_per_second']:10.1f} {row['p50_ms']:8.1f} "
                f"{row['p95_ms']:8.1f} {row['p99_ms']:8.1f} {sum(row['errors'].values()):6} "
                f"{row['agreement']:10.1%} {row['memory_mb']:9.0f} {row['generator_cores']:9.1%}"
            )
            lines += [f"{'':14} {'':7} {number} x {kind}" for kind, number in row["errors"].items()]
    lines += ["", "hfpc / official stack, median of each round's ratio:"]
    for count, row in found["ratios"]["clients"].items():
        low, high = row["requests_per_second_range"]
        lines.append(
            f"{count:4} at once: requests/s {row['requests_per_second']:.2f} x ({low:.2f} to {high:.2f}), "
            f"p50 {row['p50_ms']:.2f} x, p95 {row['p95_ms']:.2f} x, p99 {row['p99_ms']:.2f} x, "
            f"memory {row['memory_mb']:.2f} x"
        )
    official, ours = (found["medians"][side]["first_answer_seconds"] for side in (OFFICIAL, OURS))
    ratio = found["ratios"]["first_answer_seconds"]
    lines += [f"first right answer: {ours:.1f} s / {official:.1f} s, {ratio:.2f} x", ""]
    return "\n".join(lines + [f"{'met   ' if aim['met'] else 'MISSED'}  {aim['aim']}" for aim in found["aims"]])


def aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The aims that what was measured can tell of, each with `aim` and `met`."""
    ratios, told = found["ratios"], []
    for count, row in ratios["clients"].items():
        if count in FASTER:
            least, latency = FASTER[count], LOWER[count]
            errors = found["medians"][OURS]["clients"][count]["errors"]
            told += [
                (f"{count} at once: at least {least} x the requests/s", row["requests_per_second"] >= least),
                (f"{count} at once: a lower {latency.removesuffix('_ms')}", row[latency] < 1),
                (f"{count} at once: no errors", not errors),
            ]
    told.append((f"first right answer in at most {SOONER} x the time", ratios["first_answer_seconds"] <= SOONER))
    return [{"aim": aim, "met": met} for aim, met in told]
