"""The commands of `hfpc` that run pipelines on a cloud or on a Kubeflow."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfpc import cli_values, kubeflow_cli
from hfpc.errors import ArgumentError

if TYPE_CHECKING:
    from hfpc.submit.vertex import Submitted
    from hfpc.submit.vertex_run import VertexRun
    from hfpc.submit.vertex_submission import VertexSubmission

Pipeline = Annotated[
    str,
    typer.Argument(
        help="A pipeline's name, a compiled .yaml, file.py:function, or "
        "https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/NAME/TAG."
    ),
]
Profile = Annotated[str, typer.Option(help="Machines that the step finetune runs on; `hfpc profiles` lists them.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be given many times.")
]
Params = Annotated[
    Path | None, typer.Option(help="YAML file of parameters; --set goes first.", exists=True, dir_okay=False)
]
Project = Annotated[str, typer.Option(help="Google Cloud project. Default: $GOOGLE_CLOUD_PROJECT.")]
Location = Annotated[str, typer.Option(help="Region, e.g. us-central1. Default: $GOOGLE_CLOUD_LOCATION.")]
Root = Annotated[
    str,
    typer.Option(
        help="Folder of the artifacts, e.g. gs://BUCKET/…. Default: $HFPC_PIPELINE_ROOT, on Kubeflow the namespace's."
    ),
]
Account = Annotated[
    str, typer.Option(help="Service account that the tasks run as: its e-mail address, on Kubeflow its name.")
]
Network = Annotated[str, typer.Option(help="Full name of a peered VPC network.")]
Key = Annotated[
    str,
    typer.Option(
        help="Full name of a Cloud KMS key that encrypts the run, its custom jobs, and the models, endpoints and "
        "batch predictions that its steps make on Vertex AI; artifacts are encrypted as their bucket is."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="KEY=VALUE", help="A label of the run and its custom jobs; may be given many times."
    ),
]
SkipPreflight = Annotated[
    bool, typer.Option("--skip-preflight", help="Do not look first for what would make the run fail.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(profiles)
    app.command()(submit)
    app.command()(publish)


def profiles() -> None:
    """List the machines that pipelines can be compiled for and submitted to."""
    from hfpc.console import profile_table

    profile_table.print_profiles(cli_values.console())


def submit(
    pipeline: Pipeline,
    to: kubeflow_cli.To = "vertex",
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
        bool | None, typer.Option("--cache/--no-cache", help="For all tasks. Default: as each task has it.")
    ] = None,
    experiment: Annotated[
        str,
        typer.Option(help="Experiment that the run is in; it is made if there is none. Default on Kubeflow: Default."),
    ] = "",
    host: kubeflow_cli.Host = "",
    namespace: kubeflow_cli.Namespace = "",
    existing_token_file: kubeflow_cli.TokenFile = "",
    existing_token: kubeflow_cli.Token = "",
    job_id: Annotated[
        str, typer.Option(help="Id of the run; given again with the same content, nothing new starts.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show the tasks until the run has ended.")] = False,
    poll_seconds: Annotated[
        float, typer.Option(envvar="HFPC_POLL_SECONDS", min=0.01, help="Seconds between two looks while waiting.")
    ] = 10.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check what can be checked, and submit nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    skip_preflight: SkipPreflight = False,
) -> None:
    """Run a pipeline on Vertex AI Pipelines or on Kubeflow Pipelines.

    Before anything is submitted, it looks for what would make the run fail, and says how to mend it. What only a
    Kubernetes cluster knows is not asked for. Kubeflow gets the pipeline as a version of its own. However often the
    call is repeated or its answer is lost, one run starts.
    """
    google = {"project": project, "location": location, "network": network, "kms_key": kms_key, "label": labels}
    own = {"host": host, "namespace": namespace, "existing_token_file": existing_token_file}
    kubeflow_cli.check_options(to, google, own)
    values = cli_values.parameters(params, settings)
    if to == "kubeflow":
        where = kubeflow_cli.address(host, namespace, existing_token_file)
        run_as = {"pipeline_root": pipeline_root, "service_account": service_account, "experiment": experiment}
        ready = kubeflow_cli.prepare(pipeline, values, profile, cache, job_id=job_id, **run_as)
        how = {"wait": wait, "dry_run": dry_run, "as_json": as_json, "skip_preflight": skip_preflight}
        return kubeflow_cli.submit(where, ready, every=poll_seconds, **how)
    from hfpc.submit import experiment as experiments
    from hfpc.submit import prepare, vertex
    from hfpc.submit.vertex_submission import VertexSubmission

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
            job_id=job_id,
            service_account=service_account,
            network=network,
            kms_key=kms_key,
            labels=dict(cli_values.pair(label, "--label", "team=search") for label in labels or []),
            caching=cache,
            experiment=experiment,
        ),
        profile,
    )
    told = cli_values.console(stderr=as_json)
    submitted = vertex.find(submission) if job_id else None
    if submitted is None:
        look_first(told, submission, skip_preflight)
    elif dry_run:
        _line(told, f"is submitted already: {submission.job_id}")
    if dry_run:
        return _print_plan(submission, as_json)
    if submitted is None:
        submitted = vertex.submit(submission)
    _line(told, f"{'submitted' if submitted.is_new else 'is submitted already'}: {submission.job_id}")
    _line(told, submitted.console)
    if experiment:
        experiments.add_run(submission, submitted)
        _line(told, f"in experiment {experiment}")
    run = _wait(told, submitted, submission.location, poll_seconds) if wait else None
    if as_json:
        _print_json(submission.job_id, submitted, run)
    if run and run.run.state != "succeeded":
        raise typer.Exit(1)
    return None


def publish(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, a compiled .yaml, or file.py:function.")],
    repository: Annotated[
        str, typer.Option(help="https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY, a repository of the format KFP.")
    ],
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="A name for this version; may be given many times.")
    ] = None,
    profile: Profile = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a pipeline, compiled for Vertex AI, into a repository of Artifact Registry.

    The same pipeline again is the same version; a tag moves to the version that it is given with last.
    """
    import tempfile

    from hfpc.submit import compile as compiler
    from hfpc.submit import publish as registry

    registry.check_repository(repository)
    for tag in tags or []:
        registry.check_tag(tag)
    with tempfile.TemporaryDirectory(prefix="hfpc-publish-") as folder:
        file = Path(folder) / "pipeline.yaml"
        if pipeline.endswith((".yaml", ".yml")):
            if profile != "cpu":
                raise ArgumentError("profile", profile, "the pipeline is compiled already: compile it for the profile")
            compiler.check_compiled(Path(pipeline))
            file = Path(pipeline)
        else:
            compiler.compile_pipeline(pipeline, "vertex", file, profile)
        published = registry.publish(file, repository, tags or [])
    if as_json:
        content = {"package": published.package, "version": published.version, "addresses": published.addresses}
        print(json.dumps(content, indent=2))
        return
    print(f"published {published.package} {published.version}")
    print(f"run it with: hfpc submit {published.addresses[0]}")


def look_first(console: Any, submission: "VertexSubmission", skip_preflight: bool) -> None:
    """Prints what is wrong with a submission, and stops where that will make it fail."""
    from hfpc.submit.custom_job import loses_checkpoints

    if loses_checkpoints(submission):
        _line(console, "spot machines may be taken back: give checkpoint_uri=gs://…, or training starts anew then")
    if skip_preflight:
        return
    from hfpc.console import diagnosis
    from hfpc.submit.preflight import preflight

    if diagnosis.print_troubles(console, preflight(submission)):
        raise typer.Exit(1)


def _wait(console: Any, submitted: "Submitted", location: str, every: float) -> "VertexRun | None":
    """Shows a run until it has ended; returns it as it is then."""
    from hfpc.console import run_view, vertex_view
    from hfpc.submit import vertex

    last = None
    try:
        with run_view.view(console) as view:
            for last in vertex.watch(submitted, location, every):
                view(last.run, {})
    except KeyboardInterrupt:
        _line(console, f"no longer watching; the run goes on: {submitted.console}")
        raise typer.Exit(130) from None
    if last:
        vertex_view.print_end(console, last, submitted.console)
    return last


def _print_plan(submission: Any, as_json: bool) -> None:
    from hfpc.submit.graph import Graph

    steps = [step.name for step in Graph(spec=submission.spec, parameters=submission.parameters).steps]
    if as_json:
        plan = {"job_id": submission.job_id, "parameters": submission.parameters, "tasks": steps}
        print(json.dumps(plan, indent=2))
    else:
        print("\n".join(steps))


def _print_json(job_id: str, submitted: "Submitted", run: "VertexRun | None") -> None:
    content: dict[str, Any] = {"job_id": job_id, "name": submitted.name, "console": submitted.console}
    if run:
        content["state"] = run.state
        content["error"] = run.run.error
        content["tasks"] = {task.name: task.state for task in run.run.tasks}
        content["errors"] = {task.name: task.error for task in run.run.tasks if task.error}
    print(json.dumps(content, indent=2))


def _line(console: Any, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
