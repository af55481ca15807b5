# ruff: noqa: B006, UP006, UP035 (kfp reads these signatures)
"""Pipelines of trivial components that need no machine learning package, each for one kind of graph."""

from typing import Dict, List, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Input, Metrics, Output


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: int, b: int = 1) -> int:
    print(f"adding {a} and {b}")
    return a + b


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def total(numbers: List[int]) -> float:
    return float(sum(numbers))


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def measure(
    value: int, made: Output[Artifact], metrics: Output[Metrics], classification_metrics: Output[ClassificationMetrics]
):
    from pathlib import Path

    Path(made.path).write_text("made")
    metrics.log_metric("value", value)
    classification_metrics.log_confusion_matrix(["no", "yes"], [[value, 1], [2, 3]])


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def read(made: Input[Artifact]) -> str:
    from pathlib import Path

    return Path(made.path).read_text()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def fail(kind: str):
    import os
    import signal

    from hfpc.errors import ArgumentError

    print("about to fail")
    if kind == "argument":
        raise ArgumentError("epochs", 0, "give a number above 0")
    if kind == "unexpected":
        raise RuntimeError("the disk is on fire")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def work(folder: str, seconds: float):
    """Counts progress, with a child in a session of its own, as some launchers start them."""
    import os
    import subprocess
    import time
    from pathlib import Path

    from hfpc.progress import Reporter

    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(folder, "pids").write_text(f"{os.getpid()} {child.pid}")
    report, steps = Reporter("counting", total=int(seconds * 10), interval=0.0), int(seconds * 10)
    for step in range(steps):
        time.sleep(0.1)
        report.update(step + 1, f"loss {1 / (step + 1):.2f}")
    child.kill()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def take(uri: str, api_token: str, options: Dict[str, str]) -> str:
    return f"took {uri} with a token of {len(api_token)} characters"


@dsl.pipeline
def inner(x: int = 1) -> int:
    return add(a=x).output


@dsl.pipeline(name="chain")
def chain(n: int = 3):
    """One task after another, with artifacts."""
    first = measure(value=add(a=n).output)
    read(made=first.outputs["made"]).set_display_name("Read it")


@dsl.pipeline(name="branches")
def branches(n: int = 3, threshold: int = 3):
    """Nested pipelines, both branches of a condition."""
    one = inner(x=n)
    two = inner(x=10)
    with dsl.If(one.output > threshold, name="big"):
        add(a=two.output).set_display_name("Big")
    with dsl.Else():
        add(a=two.output).set_display_name("Small")


@dsl.pipeline(name="loops")
def loops(items: List[int] = [1, 2]) -> float:
    """Loops in a loop, and what collects them."""
    with dsl.ParallelFor(items) as item:
        once = add(a=item)
        with dsl.ParallelFor([10, 20]) as other:
            add(a=once.output, b=other)
    return total(numbers=dsl.Collected(once.output)).output


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def halves(number: int) -> NamedTuple("Outputs", [("low", List[int]), ("middle", int)]):
    return [0, 1], number


@dsl.pipeline(name="scopes")
def scopes(items: List[int] = [1, 2], others: List[int] = [10, 20]):
    """Loops over an output and over parameters, whose bodies use what lies outside of the loop."""
    split = halves(number=100)
    with dsl.ParallelFor(split.outputs["low"]) as index:
        add(a=index, b=split.outputs["middle"])
    with dsl.ParallelFor(items) as item, dsl.ParallelFor(others) as other:
        both = add(a=item, b=other)
        add(a=both.output, b=split.outputs["middle"])


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def decide(answer: str) -> NamedTuple("Outputs", [("decision", str), ("reason", str)]):
    return answer, "because"


@dsl.pipeline(name="gate")
def gate(answer: str = "yes"):
    """Conditions on an output with a name, alone and within each other."""
    decision = decide(answer=answer)
    with dsl.If(decision.outputs["decision"] == "yes", name="if yes"):
        inner(x=2)
        with dsl.If(decision.outputs["reason"] == "because"):
            add(a=3)
    with dsl.If(decision.outputs["decision"] == "no"):
        add(a=4)


@dsl.pipeline(name="failing")
def failing(kind: str):
    """A failure, what hangs on it, and what does not."""
    broken = fail(kind=kind)
    add(a=1).after(broken)
    add(a=2).set_display_name("Independent")


@dsl.pipeline(name="working")
def working(folder: str, seconds: float = 600.0):
    """A long step with progress."""
    work(folder=folder, seconds=seconds).set_display_name("Work")


@dsl.pipeline(name="secretive")
def secretive(uri: str, api_token: str, options: Dict[str, str] = {}):
    """Secrets as parameters, and in outputs."""
    take(uri=uri, api_token=api_token, options=options)


@dsl.container_component
def shell():
    return dsl.ContainerSpec(image="alpine", command=["true"])


@dsl.pipeline(name="contained")
def contained():
    """A component that only a container can run."""
    shell()


@dsl.pipeline(name="imported")
def imported(uri: str):
    """An artifact from outside."""
    found = dsl.importer(artifact_uri=uri, artifact_class=Artifact)
    read(made=found.output)


@dsl.pipeline(name="outputs")
def outputs(n: int = 1) -> NamedTuple("Outputs", [("sum", int)]):
    """A pipeline with outputs, and optional parameters of every type."""
    return NamedTuple("Outputs", [("sum", int)])(add(a=n).output)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def double(number: float) -> float:
    return number * 2


@dsl.pipeline
def small_constant():
    double(number=5e-05)
