"""How a run on Vertex AI ended, in a few lines."""

from rich.console import Console
from rich.text import Text

from hfpc.submit.vertex_run import VertexRun


def print_end(console: Console, ended: VertexRun, page: str) -> None:
    """Prints each failed task with its own error, and how the run ended.

    Args:
        console: Where to print.
        ended: The run.
        page: Its page in the Google Cloud console.
    """
    failed = [task for task in ended.run.tasks if task.state == "failed"]
    for task in failed:
        message = f"{task.name}: {task.error or 'failed; Vertex AI does not say why, see its log'}"
        console.print(Text(message, style="bold red"), soft_wrap=True)
    if ended.run.error and not failed:
        console.print(Text(ended.run.error, style="bold red"), soft_wrap=True)
    style = "green" if ended.run.state == "succeeded" else "bold red"
    console.print(Text.assemble((ended.state.lower(), style), f": {page}"), soft_wrap=True)
