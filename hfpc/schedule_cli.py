"""The commands `hfpc schedule …`: pipelines that run again and again on Vertex AI or on a Kubeflow."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from hfpc import cli_values, kubeflow_cli
from hfpc.cloud_cli import (
    Account,
    Key,
    Labels,
    Location,
    Network,
    Params,
    Pipeline,
    Profile,
    Project,
    Root,
    Settings,
    SkipPreflight,
    look_first,
)

if TYPE_CHECKING:
    from hfpc.submit.kubeflow_schedule import RecurringRuns
    from hfpc.submit.schedule import Schedules

app = typer.Typer(no_args_is_help=True, help="Run pipelines again and again on Vertex AI or Kubeflow Pipelines.")

Name = Annotated[str, typer.Argument(help="Display name of the schedule.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    pipeline: Pipeline,
    cron: Annotated[
        str, typer.Option(help="Minute, hour, day, month, weekday, e.g. '0 6 * * 1' or 'TZ=Europe/Paris 0 6 * * 1'.")
    ],
    name: Annotated[str, typer.Option(help="Display name of the schedule. Default: the pipeline's name.")] = "",
    time_zone: Annotated[
        str, typer.Option(help="IANA time zone of the cron, e.g. Europe/Paris. Default: UTC. Kubeflow has UTC only.")
    ] = "",
    start: Annotated[str, typer.Option(help="ISO 8601 time before which nothing runs.")] = "",
    end: Annotated[str, typer.Option(help="ISO 8601 time after which nothing runs.")] = "",
    max_concurrent_runs: Annotated[int, typer.Option(help="Runs that may be under way at once.")] = 1,
    project: Project = "",
    location: Location = "",
    pipeline_root: Root = "",
    profile: Profile = "cpu",
    settings: Settings = None,
    params: Params = None,
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    labels: Labels = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Whether tasks may be taken from earlier runs.")
    ] = False,
    skip_preflight: SkipPreflight = False,
    experiment: Annotated[
        str, typer.Option(help="Kubeflow: experiment that the runs are in; it is made if there is none.")
    ] = "",
    to: kubeflow_cli.To = "vertex",
    host: kubeflow_cli.Host = "",
    namespace: kubeflow_cli.Namespace = "",
    existing_token_file: kubeflow_cli.TokenFile = "",
    existing_token: kubeflow_cli.Token = "",
) -> None:
    """Create a schedule, or change the one of this name.

    Before that it looks, as `hfpc submit` does, for what would make the runs fail. Nothing is taken from earlier
    runs unless --cache is given: new data behind the same URI must be read.

    Kubeflow reads crons as UTC, unless its administrator set another time zone for all of them, and cannot change a
    schedule: the new one takes over from the old one without a moment in which both run.
    """
    from hfpc.submit import prepare
    from hfpc.submit.cron import DEFAULT_ZONE, Timing
    from hfpc.submit.schedule import Schedules
    from hfpc.submit.vertex_submission import VertexSubmission

    timing = Timing(cron=cron, time_zone=time_zone, start=start, end=end, max_concurrent_runs=max_concurrent_runs)
    google = {"project": project, "location": location, "network": network, "kms_key": kms_key, "label": labels}
    own = {"host": host, "namespace": namespace, "existing_token_file": existing_token_file, "experiment": experiment}
    kubeflow_cli.check_options(to, google, own)
    values = cli_values.parameters(params, settings)
    if to == "kubeflow":
        where = kubeflow_cli.address(host, namespace, existing_token_file)
        run_as = {"pipeline_root": pipeline_root, "service_account": service_account, "experiment": experiment}
        ready = kubeflow_cli.prepare(pipeline, values, profile, None if cache else False, **run_as)
        return kubeflow_cli.schedule(where, name, ready, timing, skip_preflight)
    submission = prepare.prepare(
        pipeline,
        values,
        VertexSubmission(
            name="",
            spec={},
            parameters={},
            project=project,
            location=location,
            pipeline_root=pipeline_root,
            job_id="",
            service_account=service_account,
            network=network,
            kms_key=kms_key,
            labels=dict(cli_values.pair(label, "--label", "team=search") for label in labels or []),
            # None would leave the choice to each task, whose default is to take from earlier runs.
            caching=None if cache else False,
        ),
        profile,
    )
    look_first(cli_values.console(), submission, skip_preflight)
    schedules = Schedules(submission.project, submission.location)
    made, change = schedules.put(name or submission.name, submission, timing)
    default = "" if time_zone or timing.time_zone != DEFAULT_ZONE else " (the default)"
    state = f"time zone {timing.time_zone}{default}, {made.state.lower()}"
    print(f"{change}: {made.display_name}, {timing.cron}, {state}")
    print(made.console)
    return None


@app.command("list")
def list_(
    project: Project = "",
    location: Location = "",
    to: kubeflow_cli.To = "vertex",
    host: kubeflow_cli.Host = "",
    namespace: kubeflow_cli.Namespace = "",
    existing_token_file: kubeflow_cli.TokenFile = "",
    existing_token: kubeflow_cli.Token = "",
    as_json: Json = False,
) -> None:
    """List the schedules."""
    found = _schedules(to, project, location, host, namespace, existing_token_file).all()
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
        return
    for each in found:
        following = getattr(each, "next_run", "")  # Kubeflow does not tell
        print(f"{each.display_name}: {each.cron}, {each.state.lower()}" + f", next {following}" * bool(following))
    if not found:
        print("no schedules")


@app.command()
def pause(
    name: Name,
    project: Project = "",
    location: Location = "",
    to: kubeflow_cli.To = "vertex",
    host: kubeflow_cli.Host = "",
    namespace: kubeflow_cli.Namespace = "",
    existing_token_file: kubeflow_cli.TokenFile = "",
    existing_token: kubeflow_cli.Token = "",
) -> None:
    """Let no further run of a schedule start."""
    _schedules(to, project, location, host, namespace, existing_token_file).pause(name)
    print(f"paused: {name}")


@app.command()
def resume(
    name: Name,
    project: Project = "",
    location: Location = "",
    to: kubeflow_cli.To = "vertex",
    host: kubeflow_cli.Host = "",
    namespace: kubeflow_cli.Namespace = "",
    existing_token_file: kubeflow_cli.TokenFile = "",
    existing_token: kubeflow_cli.Token = "",
) -> None:
    """Let the runs of a schedule start again."""
    _schedules(to, project, location, host, namespace, existing_token_file).resume(name)
    print(f"resumed: {name}")


@app.command()
def delete(
    name: Name,
    project: Project = "",
    location: Location = "",
    to: kubeflow_cli.To = "vertex",
    host: kubeflow_cli.Host = "",
    namespace: kubeflow_cli.Namespace = "",
    existing_token_file: kubeflow_cli.TokenFile = "",
    existing_token: kubeflow_cli.Token = "",
) -> None:
    """Delete a schedule; its runs stay."""
    _schedules(to, project, location, host, namespace, existing_token_file).delete(name)
    print(f"deleted: {name}")


def _schedules(
    to: str, project: str, location: str, host: str, namespace: str, existing_token_file: str
) -> "Schedules | RecurringRuns":
    own = {"host": host, "namespace": namespace, "existing_token_file": existing_token_file}
    kubeflow_cli.check_options(to, {"project": project, "location": location}, own)
    if to == "kubeflow":
        return kubeflow_cli.recurring_runs(kubeflow_cli.address(host, namespace, existing_token_file))
    from hfpc import google_cloud
    from hfpc.submit.prepare import location_of
    from hfpc.submit.schedule import Schedules

    return Schedules(google_cloud.project(project), location_of(location))
