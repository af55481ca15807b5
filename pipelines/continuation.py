"""Pipelines that go on where another ends."""

import inspect
from collections.abc import Callable
from typing import Any


def continues(first: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a pipeline function start with another pipeline, whose parameters it takes beside its own.

    A parameter of the shared part is so written, and documented, once. Put it below `dsl.pipeline`:

        @dsl.pipeline(name="my-pipeline")
        @continues(train_and_evaluate)
        def my_pipeline(candidate, name: str):
            register(model=candidate.outputs["model"], name=name)

    Args:
        first: The pipeline that comes first. Its task is the function's first argument: `outputs` are what it gives,
            `inputs` its parameters, for tasks that take the same.

    Returns:
        The decorator. It puts the parameters of `first` behind the function's own, with their descriptions.
        One that the function names too is the function's, e.g. to ask for what `first` has a default for.
    """
    shared = inspect.signature(first.pipeline_func).parameters

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        _, *own = inspect.signature(function).parameters.values()

        # kfp calls it with a channel for each parameter of the signature, in their order.
        def pipeline(*channels: Any) -> Any:
            given = dict(zip(pipeline.__signature__.parameters, channels, strict=True))
            task = first(**{name: given[name] for name in shared})
            task.set_display_name(first.pipeline_spec.pipeline_info.display_name)
            return function(task, **{each.name: given[each.name] for each in own})

        pipeline.__name__ = function.__name__
        pipeline.__module__ = function.__module__
        names = {each.name for each in own}
        rest = [each for name, each in shared.items() if name not in names]
        required_first = sorted([*own, *rest], key=lambda each: each.default is not each.empty)
        pipeline.__signature__ = inspect.Signature(required_first)
        # kfp takes the last description of a name: the function's own.
        head, args, described = str(inspect.getdoc(function)).partition("Args:\n")
        pipeline.__doc__ = f"{head}{args}{_arguments(first.pipeline_func)}\n{described}"
        return pipeline

    return decorate


def _arguments(function: Callable[..., Any]) -> str:
    """The lines below `Args:` in the docstring of a function."""
    described = str(inspect.getdoc(function)).partition("Args:\n")[2]
    return described.partition("\n\nReturns:")[0]
