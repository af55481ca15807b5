import random
import re

import pytest

from hfpc.reports.task_graph import task_graph
from hfpc.runs import Task


def tasks(**needs: str) -> list[Task]:
    return [Task(name=name, display_name=name, component=name, needs=tuple(of.split())) for name, of in needs.items()]


def places(graph) -> dict[str, tuple[int, int]]:
    return {cell.task.name: (cell.layer, cell.lane) for cell in graph.cells}


def test_a_chain_is_straight_and_what_follows_from_it_is_not_drawn():
    graph = task_graph(tasks(load="", train="load", test="load train", ship="test load"))
    assert places(graph) == {"load": (0, 0), "train": (1, 0), "test": (2, 0), "ship": (3, 0)}
    assert len(graph.arrows) == 3
    assert (graph.layers, graph.lanes) == (4, 1)


def test_an_arrow_over_several_layers_has_a_lane_of_its_own():
    graph = task_graph(tasks(a="", b="a", c="b", other="", end="c other"))
    assert graph.layers == 4
    long = next(arrow for arrow in graph.arrows if arrow.across.startswith("M0.50 1.5"))
    at_boxes = {place for name, place in places(graph).items() if name in ("b", "c")}
    assert not at_boxes & {(1, 1), (2, 1)}
    assert long.across.count("L") == 3


def test_names_that_are_not_there_are_passed_over():
    graph = task_graph(tasks(a="gone", b="a gone"))
    assert len(graph.arrows) == 1
    assert task_graph([]).cells == []


def test_a_nested_pipeline_is_framed_unless_another_task_stands_in_it():
    nested = tasks(**{"inner/a": "", "inner/b": "inner/a", "after": "inner/b"})
    assert [(group.name, group.layers, group.lanes) for group in task_graph(nested).groups] == [("inner", 2, 1)]
    between = tasks(**{"inner/a": "", "other": "inner/a", "inner/b": "other"})
    assert task_graph(between).groups == []


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_is_drawn_forward_without_overlaps_and_keeps_its_order(seed):
    rng = random.Random(seed)
    names = [f"t{index}" for index in range(rng.randint(1, 14))]
    made = tasks(**{n: " ".join(rng.sample(names[:at], min(at, rng.randint(0, 3)))) for at, n in enumerate(names)})
    graph = task_graph(made)
    where = places(graph)
    assert len(set(where.values())) == len(names)
    ends = {(layer + 0.5, lane + 0.5): name for name, (layer, lane) in where.items()}
    drawn = {name: set() for name in names}
    for arrow in graph.arrows:
        numbers = [float(number) for number in re.findall(r"[\d.]+", arrow.across)]
        source = ends[numbers[0], numbers[1]]
        target = next(
            name
            for name, (layer, lane) in where.items()
            if layer < numbers[-2] < layer + 1 and lane + 0.5 == numbers[-1]
        )
        assert where[source][0] < where[target][0]
        drawn[target].add(source)

    def before(name, direct):
        return set(direct[name]).union(*(before(need, direct) for need in direct[name])) if direct[name] else set()

    for task in made:
        assert before(task.name, drawn) == before(task.name, {one.name: one.needs for one in made})
