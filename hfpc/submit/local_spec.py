"""A pipeline as kfp.local can run it: the same tasks, wired so that kfp.local gets them right.

What kfp.local 2.17 gets wrong, and what is done about it here:

- It keeps a task's files in a folder named after its component, so tasks that share a component
  overwrite each other's outputs. Each task gets a component of its own, named after the task.
- In a loop, it gives the loop's item to every input that is a task's output or an outer loop's
  item. It leaves inputs alone that a component around the loop passes on, so one is put there.
- It takes a condition on a task's named output for false. It finds the output where a component
  around the condition passes it on.
"""

from typing import Any

from hfpc.submit.graph import CONDITION_INPUT, Spec, inside

_KEPT = "--kept"


def local_spec(spec: Spec, executors: dict[str, Spec]) -> Spec:
    """The pipeline spec for kfp.local.

    Args:
        spec: The pipeline spec as it was compiled.
        executors: What runs each task, by the task's name as in `hfpc.submit.graph`.
    """
    components: Spec = {}
    root = _dag(spec, spec["root"], "", "", components)
    labelled = {f"exec-{name}": executor for name, executor in executors.items()}
    return {**spec, "root": root, "components": components, "deploymentSpec": {"executors": labelled}}


def _dag(spec: Spec, dag: Spec, path: str, groups: str, components: Spec) -> Spec:
    """A pipeline, condition or loop with components of its own.

    Args:
        spec: The pipeline spec as it was compiled.
        dag: The component that holds the tasks.
        path: Path of its tasks through nested pipelines.
        groups: Path of its tasks through nested pipelines, conditions and loops.
        components: Gets the new components.
    """
    tasks = {}
    for name, task in dag["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            key = f"comp-{groups}{name}"
            components[key] = _dag(spec, component, inside(path, name, task), f"{groups}{name}/", components)
        else:
            key = f"comp-{path}{name}"
            components[key] = {**component, "executorLabel": f"exec-{path}{name}"}
        tasks[name] = {**task, "componentRef": {"name": key}}
        if _needs_passing_on(task):
            around = f"{key}/passed on"
            components[around] = _around(name, tasks[name], component)
            tasks[name] = _outside(tasks[name], around)
    return {**dag, "dag": {**dag["dag"], "tasks": tasks}}


def _needs_passing_on(task: Spec) -> bool:
    parameters = task.get("inputs", {}).get("parameters", {})
    deciding = CONDITION_INPUT.findall(task.get("triggerPolicy", {}).get("condition", ""))
    return "parameterIterator" in task or any("taskOutputParameter" in parameters[name] for name in deciding)


def _outside(task: Spec, component: str) -> Spec:
    """The task that stands for a loop or condition: its inputs, without what makes it one."""
    kept = {name: value for name, value in task.items() if name not in ("parameterIterator", "iteratorPolicy")}
    policy = {name: value for name, value in task.get("triggerPolicy", {}).items() if name != "condition"}
    return {**kept, "triggerPolicy": policy, "inputs": _twice(task), "componentRef": {"name": component}}


def _twice(task: Spec) -> Spec:
    """A task's inputs, each parameter also under a name that kfp.local does not touch."""
    inputs = task.get("inputs", {})
    parameters = inputs.get("parameters", {})
    return {**inputs, "parameters": parameters | {f"{name}{_KEPT}": value for name, value in parameters.items()}}


def _around(name: str, task: Spec, component: Spec) -> Spec:
    """A component with nothing in it but a loop or condition, whose inputs it passes on."""
    inputs, definitions = task.get("inputs", {}), component.get("inputDefinitions", {})
    types = definitions.get("parameters", {})
    passed: Spec = {
        "parameters": {key: {"componentInputParameter": f"{key}{_KEPT}"} for key in inputs.get("parameters", {})},
        "artifacts": {key: {"componentInputArtifact": key} for key in inputs.get("artifacts", {})},
    }
    inner = {**task, "inputs": passed, "dependentTasks": []}
    # The outputs of a condition that is closed do not exist; nothing outside of it may name them.
    outputs = component.get("outputDefinitions", {}) if "parameterIterator" in task else {}
    return {
        "dag": {"tasks": {name: inner}, "outputs": _outputs(name, outputs)},
        "inputDefinitions": {
            "parameters": {key: types[key.removesuffix(_KEPT)] for key in _twice(task)["parameters"]},
            "artifacts": {key: definitions["artifacts"][key] for key in passed["artifacts"]},
        },
        "outputDefinitions": outputs,
    }


def _outputs(name: str, definitions: Spec) -> dict[str, Any]:
    """Outputs of a component that are those of its only task."""
    return {
        "parameters": {
            key: {"valueFromParameter": {"producerSubtask": name, "outputParameterKey": key}}
            for key in definitions.get("parameters", {})
        },
        "artifacts": {
            key: {"artifactSelectors": [{"producerSubtask": name, "outputArtifactKey": key}]}
            for key in definitions.get("artifacts", {})
        },
    }
