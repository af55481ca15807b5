"""The command line `hfpc`: parses, calls and prints. Nothing slow is imported before a command needs it."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hfpc
from hfpc import cli_values, cloud_cli, schedule_cli
from hfpc.errors import ArgumentError, HfpcError


class _Group(TyperGroup):
    """Prints a mistake that the reader can correct as one line, and exits with 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except HfpcError as error:
            from rich.text import Text

            cli_values.console(stderr=True).print(Text(str(error), style="bold red"), soft_wrap=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Hugging Face models on Kubeflow Pipelines and Vertex AI Pipelines.",
)

Registry = Annotated[str, typer.Option(help="Folder of the local registry; empty means $HFPC_HOME/registry.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(hfpc.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hugging Face models on Kubeflow Pipelines and Vertex AI Pipelines."""


@app.command("list")
def list_() -> None:
    """List the components and pipelines."""
    from hfpc.console import tables

    tables.print_catalog(cli_values.console())


@app.command()
def describe(name: Annotated[str, typer.Argument(help="Name of a component or pipeline.")]) -> None:
    """Show the inputs and outputs of a component or pipeline."""
    from hfpc.console import tables

    tables.print_description(cli_values.console(), name.replace("-", "_"))


@app.command("compile")
def compile_(
    name: Annotated[
        str, typer.Argument(help="Name of a component or pipeline, or file.py:function; all if left out.")
    ] = "",
    target: Annotated[str, typer.Option(help="vertex or kubeflow.")] = "vertex",
    output: Annotated[Path | None, typer.Option(help="File to write; a folder if NAME is left out.")] = None,
    profile: Annotated[
        str, typer.Option(help="Machines that the step finetune is for; `hfpc profiles` lists them.")
    ] = "cpu",
) -> None:
    """Write components and pipelines as YAML for Vertex AI Pipelines or Kubeflow Pipelines."""
    from hfpc.console import catalog
    from hfpc.submit import compile as compiler

    if not name:
        folder = output or Path("build") / target
        files = compiler.compile_all(target, folder, profile)
        print(f"wrote {len(files)} files below {folder}")
        return
    is_own = ".py:" in name or name.endswith((".yaml", ".yml"))
    name = name if is_own else name.replace("-", "_")
    file = output or Path(f"{name.rpartition(':')[2]}.yaml")
    if not is_own and catalog.kind_of(name) == "components":
        if profile != "cpu":
            raise ArgumentError("profile", profile, "a profile is for pipelines: leave it out, or name a pipeline")
        compiler.compile_component(name, file)
    else:
        compiler.compile_pipeline(name, target, file, profile)
    print(f"wrote {file}")


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, a compiled .yaml, or file.py:function.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be given many times.")
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="YAML file of parameters; --set goes first.", exists=True, dir_okay=False)
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Take over tasks that ran before with --cache and the same inputs.")
    ] = False,
    docker: Annotated[
        bool, typer.Option("--docker", help="Run each task in a container of its image; `make images` builds ours.")
    ] = False,
    network: Annotated[
        bool, typer.Option("--network/--no-network", help="With --docker: whether the containers have a network.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the parameters and list the tasks only.")] = False,
) -> None:
    """Run a pipeline on this machine."""
    from hfpc.console import run_view
    from hfpc.submit import local

    parameters = cli_values.parameters(params, settings)
    if not network and not docker:
        raise ArgumentError("network", network, "only containers can be kept from the network: add --docker")
    if dry_run:
        for step in local.plan(pipeline, parameters).steps:
            print(step.name)
        return
    console = cli_values.console()
    interrupted = False
    with run_view.view(console) as view:
        last = view.last
        try:
            last = local.run(pipeline, parameters, cache=cache, docker=docker, network=network, watch=view)
        except KeyboardInterrupt:
            last, interrupted = view.last, True
    if last:
        run_view.print_end(console, last)
    if interrupted:
        raise typer.Exit(130)
    if last and last.state != "succeeded":
        raise typer.Exit(1)


@app.command()
def runs(
    run: Annotated[str, typer.Argument(help="A run, to see its tasks in detail; all runs if left out.")] = "",
    as_json: Json = False,
) -> None:
    """List past local runs, or show one."""
    import hfpc.runs
    from hfpc.console import tables

    found = [hfpc.runs.read(run)] if run else hfpc.runs.all_runs()
    if as_json:
        content = [dataclasses.asdict(each) for each in found]
        print(json.dumps(content[0] if run else content, indent=2))
    elif run:
        tables.print_run(cli_values.console(), found[0])
    elif found:
        tables.print_runs(cli_values.console(), found)
    else:
        print("no runs yet; start one with: hfpc run finetune_local")


@app.command()
def predict(
    target: Annotated[str, typer.Argument(help="NAME@ALIAS, NAME@VERSION, a model folder or the URL of a server.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; lines of stdin if none.")
    ] = None,
    registry: Registry = "",
    served: Annotated[bool, typer.Option("--served", help="Ask a server over HTTP; start one if none runs.")] = False,
    as_json: Json = False,
) -> None:
    """Predict texts with a model."""
    from hfpc.console import predictions
    from hfpc.serving.predict import predict as answer

    inputs = texts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    responses = answer(target, inputs, registry=registry, served=served)
    if as_json:
        for text, response in zip(inputs, responses, strict=True):
            print(json.dumps({"inputs": text, "response": response}, ensure_ascii=False))
    else:
        predictions.print_predictions(cli_values.console(), inputs, responses)


@app.command()
def serve(
    target: Annotated[
        str,
        typer.Argument(
            help="NAME@ALIAS, NAME@VERSION, a model folder, a URI or OWNER/NAME[@REVISION] on the Hub; "
            "what the platform names if left out."
        ),
    ] = "",
    host: Annotated[str, typer.Option(help="Address to listen at. Default: all on a platform, else 127.0.0.1.")] = "",
    port: Annotated[
        int | None, typer.Option(help="Port to listen at; 0 takes any that is free. Default: the platform's, or 8080.")
    ] = None,
    registry: Registry = "",
    name: Annotated[
        str, typer.Option(envvar="HFPC_MODEL_NAME", help="Name that clients ask for, e.g. KServe's; TARGET's if empty.")
    ] = "",
    queue: Annotated[
        int,
        typer.Option(
            envvar="HFPC_QUEUE",
            help="Inputs that may wait; more are refused with 503, except in a transform job of SageMaker.",
        ),
    ] = 512,
    timeout: Annotated[
        float, typer.Option(envvar="HFPC_TIMEOUT", help="Seconds after which a request is given up with 503.")
    ] = 30.0,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            envvar="HFPC_DRAIN_SECONDS",
            help="Seconds after SIGTERM during which new connections are accepted. Default: 5 on a platform, else 0.",
        ),
    ] = None,
    log_requests: Annotated[
        bool, typer.Option(envvar="HFPC_LOG_REQUESTS", help="Print a line of JSON for each request.")
    ] = True,
    log_inputs: Annotated[
        bool, typer.Option("--log-inputs", envvar="HFPC_LOG_INPUTS", help="Print the inputs as well.")
    ] = False,
) -> None:
    """Serve a model over HTTP.

    One server answers Vertex AI, SageMaker, Azure ML, KServe, the Hugging Face and the OpenAI
    clients; http://HOST:PORT/docs lists its routes. It stops on SIGTERM without losing a request.
    """
    from hfpc.serving import hosting
    from hfpc.serving.limits import Limits
    from hfpc.serving.server import ServerConfig
    from hfpc.serving.server import serve as start

    platform = hosting.from_environment()
    limits = platform.limits or Limits(queue=queue, inputs=max(1, min(queue, Limits.inputs)))
    start(
        ServerConfig(
            target=target or platform.target,
            registry=registry,
            name=name,
            host=host or platform.host,
            port=platform.port if port is None else port,
            limits=dataclasses.replace(limits, seconds=timeout),
            drain_seconds=platform.drain_seconds if drain_seconds is None else drain_seconds,
            log_requests=log_requests,
            log_inputs=log_inputs,
        )
    )


@app.command()
def models(registry: Registry = "") -> None:
    """List the models in the local registry."""
    import hfpc.registry
    from hfpc.console import tables

    versions = hfpc.registry.versions(registry)
    if versions:
        tables.print_models(cli_values.console(), versions)
    else:
        print(f"no models in {hfpc.registry.folder(registry)} yet; hfpc run finetune_local makes one")


@app.command()
def doctor(
    aws: Annotated[
        bool, typer.Option("--aws", help="Ask Amazon Web Services as well: identity, SageMaker, images.")
    ] = False,
) -> None:
    """Check this machine: versions, devices, space, access."""
    from hfpc import doctor as checks
    from hfpc.console import diagnosis

    found = checks.examine()
    if aws:
        from hfpc import doctor_aws

        found += doctor_aws.examine()
    diagnosis.print_findings(cli_values.console(), found)
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


cloud_cli.register(app)
app.add_typer(schedule_cli.app, name="schedule")


def main() -> None:
    """The console script `hfpc`."""
    app(prog_name="hfpc")


if __name__ == "__main__":
    main()
