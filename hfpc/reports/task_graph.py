"""Where each task of a run is drawn, and the arrows between them.

A layered drawing: a task's layer is the longest way to it, and its lane its place in the layer.
The same layout is drawn from left to right on a wide screen and from top to bottom on a phone. A
dependency that follows from others is not drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hfpc.runs import Task

_SIDE = 0.08
"""Free part of a cell at either side of its box, when drawn from left to right; see style.css."""
_TOP = 0.16
"""The same above and below it, when drawn from top to bottom."""
_LONG = 9
"""Layers from which a wide screen too is drawn on from top to bottom."""


@dataclass(frozen=True)
class Cell:
    """A place in the drawing, counted from 0: a task's, or one that an arrow passes through (task None)."""

    task: Task | None
    layer: int
    lane: int


@dataclass(frozen=True)
class Arrow:
    """An arrow as SVG paths, in units of cells, for both directions of drawing."""

    across: str
    down: str
    waiting: bool


@dataclass(frozen=True)
class Group:
    """A nested pipeline: the range of layers and lanes its tasks fill."""

    name: str
    layer: int
    lane: int
    layers: int
    lanes: int


@dataclass(frozen=True, kw_only=True)
class TaskGraph:
    """A drawn graph: `layers` by `lanes` cells, of which `cells` hold tasks."""

    layers: int
    lanes: int
    cells: list[Cell]
    arrows: list[Arrow]
    groups: list[Group]
    long: bool


def task_graph(tasks: Sequence[Task]) -> TaskGraph:
    """The drawing of a run's tasks.

    Args:
        tasks: In topological order. Names in `needs` that are not among them are passed over.
    """
    needs = _drawn_needs(tasks)
    layer_of: dict[str, int] = {}
    for task in tasks:
        layer_of[task.name] = 1 + max((layer_of[need] for need in needs[task.name]), default=-1)
    chains = [_chain(need, task.name, layer_of) for task in tasks for need in needs[task.name]]
    lane_of = _lanes(layer_of, chains)
    cells = [Cell(task, layer_of[task.name], lane_of[task.name, layer_of[task.name]]) for task in tasks]
    states = {task.name: task.state for task in tasks}
    layers = 1 + max(layer_of.values(), default=-1)
    return TaskGraph(
        layers=layers,
        lanes=1 + max(lane_of.values(), default=-1),
        cells=cells,
        arrows=[
            _arrow(
                [(layer, lane_of[name, layer]) for name, layer in chain], states[chain[-1][0]] in ("pending", "skipped")
            )
            for chain in chains
        ],
        groups=_groups(cells),
        long=layers >= _LONG,
    )


def _drawn_needs(tasks: Sequence[Task]) -> dict[str, list[str]]:
    """What each task waits for directly, without what follows from its other needs."""
    before: dict[str, set[str]] = {}
    needs = {}
    for task in tasks:
        known = [need for need in dict.fromkeys(task.needs) if need in before]
        implied = set().union(*(before[need] for need in known))
        needs[task.name] = [need for need in known if need not in implied]
        before[task.name] = implied | set(known)
    return needs


def _chain(source: str, target: str, layer_of: Mapping[str, int]) -> list[tuple[str, int]]:
    """The cells an arrow visits, a layer each: its ends by name, what it passes by the name of the arrow."""
    between = [(f"{source} -> {target}", layer) for layer in range(layer_of[source] + 1, layer_of[target])]
    return [(source, layer_of[source]), *between, (target, layer_of[target])]


def _lanes(layer_of: Mapping[str, int], chains: Sequence[Sequence[tuple[str, int]]]) -> dict[tuple[str, int], int]:
    """A lane for each cell: in each layer sorted by the mean lane of what comes before it."""
    parents: dict[tuple[str, int], list[tuple[str, int]]] = {(name, layer): [] for name, layer in layer_of.items()}
    for chain in chains:
        for left, right in pairwise(chain):
            parents.setdefault(right, []).append(left)
    lane_of: dict[tuple[str, int], int] = {}
    for layer in range(1 + max(layer_of.values(), default=-1)):
        cells = [cell for cell in parents if cell[1] == layer]
        middle = {cell: sum(lane_of[up] for up in parents[cell]) / (len(parents[cell]) or 1) for cell in cells}
        for lane, cell in enumerate(sorted(cells, key=lambda cell: middle[cell])):
            lane_of[cell] = lane
    return lane_of


def _arrow(places: Sequence[tuple[int, int]], waiting: bool) -> Arrow:
    return Arrow(
        across=_path([(layer + 0.5, lane + 0.5) for layer, lane in places], _SIDE),
        down=_path([(layer + 0.5, lane + 0.5) for layer, lane in places], _TOP, turned=True),
        waiting=waiting,
    )


def _path(centres: Sequence[tuple[float, float]], free: float, turned: bool = False) -> str:
    """From box to box: straight through the cells, bending in the gaps between them."""

    def at(along: float, aside: float) -> str:
        return f"{aside:g} {along:.2f}" if turned else f"{along:.2f} {aside:g}"

    path = f"M{at(*centres[0])}"
    for (along, aside), (next_along, next_aside) in pairwise(centres):
        start, end, middle = along + 0.5 - free, next_along - 0.5 + free, (along + next_along) / 2
        path += f"L{at(start, aside)}C{at(middle, aside)} {at(middle, next_aside)} {at(end, next_aside)}"
    return path


def _groups(cells: Sequence[Cell]) -> list[Group]:
    """Nested pipelines whose tasks fill a rectangle with no other task in it."""
    members: dict[str, list[Cell]] = {}
    for cell in cells:
        assert cell.task is not None
        parts = cell.task.name.split("/")[:-1]
        if parts:
            members.setdefault(parts[0], []).append(cell)
    groups = []
    for name, inside in members.items():
        layers, lanes = [cell.layer for cell in inside], [cell.lane for cell in inside]
        held = [
            cell for cell in cells if min(layers) <= cell.layer <= max(layers) and min(lanes) <= cell.lane <= max(lanes)
        ]
        if len(held) == len(inside):
            spread = max(layers) - min(layers) + 1, max(lanes) - min(lanes) + 1
            groups.append(Group(name, min(layers), min(lanes), *spread))
    return groups
