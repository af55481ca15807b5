"""The tasks of a compiled pipeline, in order, with what each waits for.

A pipeline spec nests: a pipeline inside a pipeline, a condition and a loop are each a task with
tasks of its own. Here they are unfolded into the tasks that do something. A task's name is the
path to it through nested pipelines (`train-and-evaluate/finetune`); conditions and loops add
nothing to it, because kfp keeps the names of a pipeline's tasks unique across them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

Spec = dict[str, Any]

_GROUP = re.compile(r"^comp-(condition|condition-branches|for-loop|exit-handler)(-\d+)+$")
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
CONDITION_INPUT = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_INPUT_KINDS = ("parameters", "artifacts")


@dataclass(frozen=True, kw_only=True)
class Value:
    """What is known of a task's input before the pipeline runs.

    Attributes:
        known: Whether `value` is what the task will get.
        value: The value.
        origin: The pipeline parameter it comes from, "" if from none.
        producers: Names of the tasks that make it.
    """

    known: bool = False
    value: Any = None
    origin: str = ""
    producers: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Step:
    """A task that does something.

    Attributes:
        name: Path through nested pipelines, unique.
        display_name: What a person sees.
        executor: Its executor in the spec.
        inputs: Its input parameters.
        needs: Names of the tasks it waits for.
    """

    name: str
    display_name: str
    executor: Spec
    inputs: dict[str, Value]
    needs: tuple[str, ...]

    @property
    def function(self) -> str:
        """Name of the component's Python function, or "" for another kind of component."""
        arguments = self.executor.get("container", {}).get("args", [])
        flag = "--function_to_execute"
        return str(arguments[arguments.index(flag) + 1]) if flag in arguments else ""

    @property
    def source(self) -> str:
        """Python source of the component's function, or ""."""
        return str(self.executor["container"]["command"][-1]) if self.function else ""


@dataclass(kw_only=True)
class Graph:
    """The steps of a pipeline spec.

    Attributes:
        spec: The pipeline spec as a dictionary (its JSON form).
        parameters: Pipeline parameters, defaults included.
    """

    spec: Spec
    parameters: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def steps(self) -> list[Step]:
        """The steps in topological order."""
        scope = {name: Value(known=True, value=value, origin=name) for name, value in self.parameters.items()}
        return list(self._steps(self.spec["root"], "", scope, frozenset()))

    def _component(self, task: Spec) -> Spec:
        component: Spec = self.spec["components"][task["componentRef"]["name"]]
        return component

    def _executor(self, component: Spec) -> Spec:
        executor: Spec = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]
        return executor

    def _steps(self, dag: Spec, path: str, scope: dict[str, Value], gate: frozenset[str]) -> Iterator[Step]:
        """The steps inside a pipeline, condition or loop; its first ones also wait for `gate`."""
        tasks = dag["dag"]["tasks"]
        order = TopologicalSorter({name: sorted(tasks[name].get("dependentTasks", [])) for name in sorted(tasks)})
        for name in order.static_order():
            task, component = tasks[name], self._component(tasks[name])
            inputs = self._inputs(task, dag, path, scope)
            waits = self._waits(task, inputs, dag, path) | (frozenset() if task.get("dependentTasks") else gate)
            if "dag" in component:
                yield from self._steps(component, inside(path, name, task), _with_defaults(component, inputs), waits)
                continue
            parameters = _with_defaults(component, inputs)
            data = frozenset().union(*(value.producers for value in inputs.values()))
            yield Step(
                name=path + name,
                display_name=task.get("taskInfo", {}).get("name", name),
                executor=self._executor(component),
                inputs={key: parameters[key] for key in component.get("inputDefinitions", {}).get("parameters", {})},
                needs=tuple(sorted(data | waits)),
            )

    def _waits(self, task: Spec, inputs: dict[str, Value], dag: Spec, path: str) -> frozenset[str]:
        """Steps that must end first although `task` takes no data from them."""
        sources = {_source(spec)[0] for kind in _INPUT_KINDS for spec in task.get("inputs", {}).get(kind, {}).values()}
        waits = {
            step
            for other in task.get("dependentTasks", [])
            if other not in sources
            for step in self._all(dag, path, other)
        }
        deciding = CONDITION_INPUT.findall(task.get("triggerPolicy", {}).get("condition", ""))
        for iterator in ("parameterIterator", "artifactIterator"):
            items = task.get(iterator, {}).get("items", {})
            deciding += [items[key] for key in ("inputParameter", "inputArtifact") if key in items]
        return frozenset(waits).union(*(inputs[name].producers for name in deciding if name in inputs))

    def _inputs(self, task: Spec, dag: Spec, path: str, scope: dict[str, Value]) -> dict[str, Value]:
        specs = {name: spec for kind in _INPUT_KINDS for name, spec in task.get("inputs", {}).get(kind, {}).items()}
        values = {}
        for name, spec in specs.items():
            producer, output = _source(spec)
            parent = spec.get("componentInputParameter", spec.get("componentInputArtifact"))
            if producer:
                values[name] = Value(producers=frozenset(self._producers(dag, path, producer, output)))
            elif parent is not None:
                found = scope.get(parent, Value())
                values[name] = replace(found, known=False) if "parameterExpressionSelector" in spec else found
            else:
                values[name] = Value(known=True, value=spec.get("runtimeValue", {}).get("constant"))
        return {name: _filled(value, values) for name, value in values.items()}

    def _producers(self, dag: Spec, path: str, name: str, output: str) -> Iterator[str]:
        """The steps that make output `output` of a task; of all its steps where "" is given."""
        task = dag["dag"]["tasks"][name]
        component = self._component(task)
        if "dag" not in component:
            yield path + name
            return
        outputs = component["dag"].get("outputs", {})
        selector = outputs.get("parameters", {}).get(output) or outputs.get("artifacts", {}).get(output) or {}
        found = [selector["valueFromParameter"]] if "valueFromParameter" in selector else []
        found += selector.get("valueFromOneof", {}).get("parameterSelectors", []) + selector.get(
            "artifactSelectors", []
        )
        for item in found:
            key = item.get("outputParameterKey", item.get("outputArtifactKey"))
            yield from self._producers(component, inside(path, name, task), item["producerSubtask"], key)

    def _all(self, dag: Spec, path: str, name: str) -> Iterator[str]:
        """Every step of a task."""
        task = dag["dag"]["tasks"][name]
        component = self._component(task)
        if "dag" not in component:
            yield path + name
            return
        for inner in component["dag"]["tasks"]:
            yield from self._all(component, inside(path, name, task), inner)


def inside(path: str, name: str, task: Spec) -> str:
    """Path of what is inside a task: a condition or a loop adds nothing."""
    return path if _GROUP.match(task["componentRef"]["name"]) else f"{path}{name}/"


def _source(spec: Spec) -> tuple[str, str]:
    """The task and its output that an input is taken from, or two empty strings."""
    parameter, artifact = spec.get("taskOutputParameter"), spec.get("taskOutputArtifact")
    if parameter:
        return parameter["producerTask"], parameter["outputParameterKey"]
    if artifact:
        return artifact["producerTask"], artifact["outputArtifactKey"]
    return "", ""


def _with_defaults(component: Spec, inputs: dict[str, Value]) -> dict[str, Value]:
    """Inputs of a component, its defaults included; what is not known yet has no value."""
    definitions = component.get("inputDefinitions", {}).get("parameters", {})
    defaults = {
        name: Value(known=True, value=definition["defaultValue"])
        for name, definition in definitions.items()
        if "defaultValue" in definition
    }
    return {**dict.fromkeys(definitions, Value()), **defaults, **inputs}


def _filled(value: Value, inputs: dict[str, Value]) -> Value:
    """A constant with the other inputs that it names filled in (f-strings of a pipeline)."""
    names = _PLACEHOLDER.findall(value.value) if isinstance(value.value, str) else []
    if not names:
        return value
    producers = frozenset().union(*(inputs[name].producers for name in names))
    if not all(inputs[name].known for name in names):
        return Value(producers=producers)
    text = _PLACEHOLDER.sub(lambda found: str(inputs[found[1]].value), value.value)
    origins = {inputs[name].origin for name in names}
    return Value(known=True, value=text, origin=origins.pop() if len(origins) == 1 else "", producers=producers)
