"""Pipelines that go on where another ends."""

from kfp import dsl

from hfpc.components import load_dataset
from hfpc.pipelines.continuation import continues


@dsl.pipeline(name="first", display_name="First of all")
def first(source: str, seed: int = 1):
    """Loads.

    Args:
        source: Where from.
        seed: Of the split.
    """
    load_dataset(source=source, seed=seed)


@dsl.pipeline(name="whole")
@continues(first)
def whole(loaded, name: str, seed: int = 2):
    """Loads twice.

    Args:
        loaded: What was loaded.
        name: Who it is for.
        seed: Of both splits.
    """
    load_dataset(source=name, seed=loaded.inputs["seed"])


def test_a_pipeline_takes_the_parameters_of_the_one_before_it_with_their_descriptions():
    inputs = whole.component_spec.inputs
    assert {name: spec.description for name, spec in inputs.items()} == {
        "name": "Who it is for.",
        "seed": "Of both splits.",
        "source": "Where from.",
    }
    assert inputs["seed"].default == 2 and not inputs["source"].optional
    assert whole.component_spec.description == "Loads twice."


def test_both_get_what_they_take():
    tasks = whole.pipeline_spec.root.dag.tasks
    assert tasks["first"].task_info.name == "First of all"

    def given(task):
        parameters = tasks[task].inputs.parameters
        return {name: parameters[name].component_input_parameter for name in ("source", "seed") if name in parameters}

    assert given("first") == {"source": "source", "seed": "seed"}
    assert given("load-dataset") == {"source": "name", "seed": "seed"}
