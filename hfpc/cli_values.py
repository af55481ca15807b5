"""What the commands of the command line share: texts to values, and where they print."""

from pathlib import Path
from typing import Any

import typer

from hfpc.errors import ArgumentError


def console(*, stderr: bool = False) -> Any:
    """The console that a command prints to."""
    from rich.console import Console

    return Console(stderr=stderr)


def pair(text: str, option: str = "--set", example: str = "epochs=1") -> tuple[str, str]:
    """Name and value of `NAME=VALUE`.

    Args:
        text: What was given.
        option: The option that it was given to.
        example: What it could look like.

    Raises:
        typer.BadParameter: It has no `=`, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE, e.g. {example}", param_hint=option)
    return name, value


def parameters(file: Path | None, settings: list[str] | None) -> dict[str, Any]:
    """The parameters of a pipeline from a file and from `--set`, which goes first.

    Raises:
        ArgumentError: The file holds no `name: value` lines.
        typer.BadParameter: A setting is not NAME=VALUE.
    """
    return {**(_parameters_in(file) if file else {}), **dict(map(pair, settings or []))}


def _parameters_in(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError("params", str(file), f"it is not YAML ({error})") from error
    if not isinstance(content, dict):
        raise ArgumentError("params", str(file), "give a file of `name: value` lines")
    return content
