"""The steps of compiled pipelines, their needs, and what is known of their inputs."""

from hfpc.submit.find import find
from hfpc.submit.graph import Graph
from tests.submit import TOY


def graph(pipeline: str, **parameters) -> Graph:
    return Graph(spec=find(pipeline), parameters=parameters)


def needs(found: Graph) -> dict[str, tuple[str, ...]]:
    return {step.name: step.needs for step in found.steps}


def test_nested_pipelines_and_conditions():
    found = graph(f"{TOY}:branches", n=3, threshold=3)
    assert needs(found) == {
        "inner/add": (),
        "inner-2/add": (),
        "add": ("inner-2/add", "inner/add"),
        "add-2": ("inner-2/add", "inner/add"),
    }
    assert {step.display_name for step in found.steps} == {"add", "Big", "Small"}


def test_loops_and_order_without_data():
    assert needs(graph(f"{TOY}:loops")) == {"add": (), "add-2": ("add",), "total": ("add",)}
    assert needs(graph(f"{TOY}:failing"))["add"] == ("fail",)


def test_the_gate_of_finetune_local_is_a_need():
    wanted = {
        "train-and-evaluate/load-dataset": (),
        "train-and-evaluate/preprocess": ("train-and-evaluate/load-dataset",),
        "train-and-evaluate/finetune": ("train-and-evaluate/preprocess",),
        "train-and-evaluate/optimize": ("train-and-evaluate/finetune", "train-and-evaluate/load-dataset"),
        "train-and-evaluate/evaluate": ("train-and-evaluate/load-dataset", "train-and-evaluate/optimize"),
        "compare-models": ("train-and-evaluate/evaluate", "train-and-evaluate/load-dataset"),
        "register-local-model": ("compare-models", "train-and-evaluate/evaluate", "train-and-evaluate/optimize"),
        "deploy-local": ("register-local-model",),
        "test-endpoint": ("deploy-local",),
    }
    found = needs(graph("finetune_local"))
    assert found == wanted
    assert list(found) == list(wanted)


def test_values_are_traced_to_the_parameter_they_come_from():
    steps = {step.name: step for step in graph("finetune_local", name="tweets", epochs=2.0).steps}
    epochs = steps["train-and-evaluate/finetune"].inputs["epochs"]
    assert (epochs.known, epochs.value, epochs.origin) == (True, 2.0, "epochs")
    champion = steps["compare-models"].inputs["champion"]
    assert (champion.known, champion.value, champion.origin) == (True, "tweets@champion", "name")
    split = steps["train-and-evaluate/evaluate"].inputs["split"]
    assert (split.known, split.value, split.origin) == (True, "test", "")


def test_an_output_of_a_task_is_not_known():
    steps = {step.name: step for step in graph(f"{TOY}:branches", n=3, threshold=3).steps}
    assert not steps["add"].inputs["a"].known
    assert steps["add"].inputs["b"].known
