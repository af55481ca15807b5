"""What `hfpc submit` and `hfpc schedule` do with `--to kubeflow`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfpc import cli_values
from hfpc.errors import ArgumentError

if TYPE_CHECKING:
    from hfpc.submit.cron import Timing
    from hfpc.submit.kubeflow import KubeflowSubmission, Submitted
    from hfpc.submit.kubeflow_client import Address, Server
    from hfpc.submit.kubeflow_run import KubeflowRun
    from hfpc.submit.kubeflow_schedule import RecurringRuns

To = Annotated[str, typer.Option(help="Where to run it: vertex or kubeflow.")]
Host = Annotated[
    str,
    typer.Option(
        help="Kubeflow: address of the API and console, e.g. https://kubeflow.example.com/pipeline. "
        "Default: $KF_PIPELINES_ENDPOINT.",
    ),
]
Namespace = Annotated[str, typer.Option(help="Kubeflow: your namespace, where each user has one.")]
TokenFile = Annotated[
    str,
    typer.Option(
        "--existing-token-file",
        help="Kubeflow: file with a bearer token, read anew for each request. Default: $HFPC_KUBEFLOW_TOKEN, "
        "$HFPC_KUBEFLOW_COOKIE, or the pod's service account token. A token itself is no option: other users of the "
        "machine see the options of a command.",
    ),
]


def _refuse_token(given: str) -> str:
    if given:
        fix = "other users of the machine see it: put it into $HFPC_KUBEFLOW_TOKEN, or name a file with "
        raise ArgumentError("existing_token", "***", f"{fix}--existing-token-file; and revoke this one")
    return given


Token = Annotated[str, typer.Option("--existing-token", hidden=True, callback=_refuse_token)]


def check_options(to: str, google: dict[str, Any], kubeflow: dict[str, Any]) -> None:
    """Refuses an unknown place to run, and options that are for the other one.

    Args:
        to: Where to run.
        google: Name of an option for Vertex AI to what was given.
        kubeflow: The same for Kubeflow.

    Raises:
        ArgumentError: Names the option.
    """
    if to not in ("vertex", "kubeflow"):
        raise ArgumentError("to", to, "give vertex or kubeflow")
    other, options = ("Kubeflow", kubeflow) if to == "vertex" else ("Vertex AI", google)
    for name, value in options.items():
        if value:
            raise ArgumentError(name, value, f"it is for {other}: leave it out, or change --to")


def address(host: str, namespace: str, token_file: str) -> "Address":
    """Where the Kubeflow Pipelines is, from the options."""
    from hfpc.submit.kubeflow_client import Address

    return Address(host=host, namespace=namespace, token_file=token_file)


def prepare(
    pipeline: str, values: dict[str, Any], profile: str, caching: bool | None, **options: str
) -> "KubeflowSubmission":
    """The submission, checked as far as this machine can.

    Args:
        pipeline: What is to be run.
        values: Its parameters.
        profile: The machines of its step `finetune`.
        caching: True or False for all tasks; None leaves it to each.
        options: Further attributes of the submission.
    """
    from hfpc.submit import kubeflow

    empty = kubeflow.KubeflowSubmission(spec={}, parameters={}, **options)
    return kubeflow.prepare(pipeline, values, empty, profile, caching)


def submit(
    where: "Address",
    submission: "KubeflowSubmission",
    *,
    wait: bool,
    every: float,
    dry_run: bool,
    as_json: bool,
    skip_preflight: bool,
) -> None:
    """Starts a run, prints its page, and waits for it if told to."""
    from hfpc.submit import kubeflow
    from hfpc.submit.kubeflow_client import Server

    look_first(submission, skip_preflight)
    if dry_run:
        steps = [step.name for step in submission.graph.steps]
        plan = {"job_id": submission.job_id, "parameters": submission.parameters, "tasks": steps}
        print(json.dumps(plan, indent=2) if as_json else "\n".join(steps))
        return
    told = cli_values.console(stderr=as_json)
    server = Server(where)
    submitted = kubeflow.submit(server, submission)
    _line(told, f"{'submitted' if submitted.is_new else 'is submitted already'}: {submission.job_id}")
    _line(told, f"version {submitted.version}, experiment {submission.experiment}")
    _line(told, submitted.page)
    run = _wait(told, server, submitted, submission, every) if wait else None
    if as_json:
        _print_json(submission, submitted, run)
    if run and run.run.state != "succeeded":
        raise typer.Exit(1)


def recurring_runs(where: "Address") -> "RecurringRuns":
    """The recurring runs of a Kubeflow Pipelines."""
    from hfpc.submit.kubeflow_client import Server
    from hfpc.submit.kubeflow_schedule import RecurringRuns

    return RecurringRuns(Server(where))


def schedule(
    where: "Address", name: str, submission: "KubeflowSubmission", timing: "Timing", skip_preflight: bool
) -> None:
    """Makes a recurring run what is asked for, and prints it."""
    from hfpc.submit.kubeflow_schedule import kubeflow_cron

    kubeflow_cron(timing)  # what it cannot say is refused before anything is asked
    look_first(submission, skip_preflight)
    made, change = recurring_runs(where).put(name or submission.name, submission, timing)
    zone = "time zone UTC unless the cluster has another"
    print(f"{change}: {made.display_name}, {made.cron}, {zone}, {made.state.lower()}")
    print(made.page)


def look_first(submission: "KubeflowSubmission", skip_preflight: bool) -> None:
    """Prints what is wrong with a submission, and stops where that will make it fail."""
    from hfpc.console import diagnosis
    from hfpc.submit.preflight_kubeflow import preflight

    if not skip_preflight and diagnosis.print_troubles(cli_values.console(stderr=True), preflight(submission)):
        raise typer.Exit(1)


def _wait(
    console: Any, server: "Server", submitted: "Submitted", submission: "KubeflowSubmission", every: float
) -> "KubeflowRun | None":
    """Shows a run until it has ended; returns it as it is then."""
    from hfpc.console import run_view
    from hfpc.submit import kubeflow

    last = None
    try:
        with run_view.view(console) as view:
            for last in kubeflow.watch(server, submitted, submission.graph, every):
                view(last.run, {})
    except KeyboardInterrupt:
        _line(console, f"no longer watching; the run goes on: {submitted.page}")
        raise typer.Exit(130) from None
    if last:
        _print_end(console, last, submitted.page)
    return last


def _print_end(console: Any, ended: "KubeflowRun", page: str) -> None:
    from rich.text import Text

    failed = [task for task in ended.run.tasks if task.state == "failed"]
    for task in failed:
        console.print(Text(f"{task.name}: {task.error}", style="bold red"), soft_wrap=True)
    if ended.run.error and not failed:
        console.print(Text(ended.run.error, style="bold red"), soft_wrap=True)
    style = "green" if ended.run.state == "succeeded" else "bold red"
    console.print(Text.assemble((ended.state.lower(), style), f": {page}"), soft_wrap=True)


def _print_json(submission: "KubeflowSubmission", submitted: "Submitted", run: "KubeflowRun | None") -> None:
    content: dict[str, Any] = {
        "job_id": submission.job_id,
        "run_id": submitted.run_id,
        "version": submitted.version,
        "console": submitted.page,
    }
    if run:
        content["state"] = run.state
        content["error"] = run.run.error
        content["tasks"] = {task.name: task.state for task in run.run.tasks}
        content["errors"] = {task.name: task.error for task in run.run.tasks if task.error}
    print(json.dumps(content, indent=2))


def _line(console: Any, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
