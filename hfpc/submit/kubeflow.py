"""Submits a run to Kubeflow Pipelines, and watches it.

Kubeflow gives its own id to whatever is created, so nothing but names tells whether a request whose answer was lost was
done: a version is named by the digest of its content, and a run by an id of ours, with the digest of all that was
submitted in its description. What no client can exclude is a second run where two callers submit the same id in the
same instant, or where Kubeflow does a request after its time limit was over and the next was sent.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit import compile as compiler
from hfpc.submit.caching import with_caching
from hfpc.submit.graph import Graph, Spec
from hfpc.submit.kubeflow_client import RequestError, Server, named
from hfpc.submit.kubeflow_run import KubeflowRun, read_run
from hfpc.submit.kubernetes import on_spot_machines
from hfpc.submit.parameters import check, resolve
from hfpc.submit.prepare import check_job_id, new_job_id

DEFAULT_EXPERIMENT = "Default"
"""The experiment that Kubeflow itself makes."""

_MARK = "hfpc-submission: "
_LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"  # the generated methods have none for it
_MOST_LOST_POLLS = 60  # ten minutes at the usual interval where a look fails at once
_LONGEST_LOST = 600.0  # seconds, where looks end at their time limit


@dataclass(frozen=True, kw_only=True)
class KubeflowSubmission:
    """A compiled pipeline with everything a run of it needs.

    Attributes:
        name: Name of the pipeline in Kubeflow, that of its spec.
        spec: The pipeline spec as a dictionary in the form of its JSON.
        package: The YAML that is uploaded: the spec, and a second document with its Kubernetes settings if it has any.
        parameters: Parameters of the run, with the types that the pipeline declares.
        job_id: Display name of the run: lower case letters, digits and `-`.
        experiment: Name of the experiment that the run is in.
        pipeline_root: Folder of the artifacts, e.g. `s3://BUCKET/…`; "" for that of the namespace.
        service_account: Kubernetes service account that the tasks run as; "" for that of the namespace.
    """

    name: str = ""
    spec: Spec
    package: str = ""
    parameters: dict[str, Any]
    job_id: str = ""
    experiment: str = ""
    pipeline_root: str = ""
    service_account: str = ""

    @property
    def graph(self) -> Graph:
        """The steps of the pipeline."""
        return Graph(spec=self.spec, parameters=self.parameters)

    @property
    def version(self) -> str:
        """Name of the pipeline's version: the same content has the same name."""
        return f"{self.name}-{hashlib.sha256(self.package.encode()).hexdigest()[:12]}"

    @property
    def fingerprint(self) -> str:
        """Digest of all that a run depends on."""
        content = [self.version, self.parameters, self.experiment, self.pipeline_root, self.service_account]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A run on Kubeflow.

    Attributes:
        run_id: Kubeflow's id of it.
        page: Its page in Kubeflow's console.
        version: Name of the pipeline's version.
        is_new: False where the same submission was there before.
    """

    run_id: str
    page: str
    version: str
    is_new: bool


def prepare(
    pipeline: str,
    given: dict[str, Any],
    submission: KubeflowSubmission,
    profile: str = "cpu",
    caching: bool | None = None,
) -> KubeflowSubmission:
    """Compiles a pipeline for Kubeflow and checks everything that needs no question to it.

    Args:
        pipeline: A name in `hfpc.pipelines`, a compiled YAML file, or `file.py:function`.
        given: Parameter name to value or text.
        submission: How to run it. Its name, spec, package and parameters are filled in here; so are job id and
            experiment where they are "".
        profile: The machines of its step `finetune`; see `hfpc.submit.profiles`.
        caching: True or False for all tasks; None leaves it to each.

    Raises:
        ArgumentError: A parameter or an option cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="hfpc-submit-") as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.write_pipeline(pipeline, "kubeflow", file, profile)
        spec, *platforms = yaml.safe_load_all(file.read_text("utf-8"))
    spec = spec if caching is None else with_caching(spec, caching)
    values = resolve(spec, given)
    check(Graph(spec=spec, parameters=values))
    name = spec["pipelineInfo"]["name"]
    whole = replace(
        submission,
        name=name,
        spec=spec,
        package=yaml.safe_dump_all([spec, *platforms], sort_keys=True),
        parameters=values,
        job_id=submission.job_id or new_job_id(name),
        experiment=submission.experiment or DEFAULT_EXPERIMENT,
    )
    check_job_id(whole.job_id)
    return whole


def submit(server: Server, submission: KubeflowSubmission) -> Submitted:
    """Starts a run. However often it is called, or an answer is lost, there is one version and one run with this id.

    Args:
        server: The Kubeflow Pipelines.
        submission: What to submit.

    Raises:
        ArgumentError: The id is that of another run.
        HfpcError: Kubeflow refuses the run or does not answer.
    """
    pipeline_id, version_id = upload(server, submission)
    experiment_id = experiment(server, submission.experiment)
    body = {"display_name": submission.job_id, "description": mark(submission.fingerprint)}

    def create() -> Any:
        request = {**job(submission, experiment_id, pipeline_id, version_id), **body}
        return server.client.runs.run_service_create_run(run=request, _request_timeout=server.timeout)

    def find() -> Any:
        return _find(server, submission, experiment_id)

    run, is_new = server.once(f"submitting run {submission.job_id}", find, create)
    page = f"{server.host}/#/runs/details/{run.run_id}"
    return Submitted(run_id=run.run_id, page=page, version=submission.version, is_new=is_new)


def upload(server: Server, submission: KubeflowSubmission) -> tuple[str, str]:
    """Ids of the pipeline and of the version with this content, which are created where they are not there.

    Raises:
        HfpcError: Kubeflow refuses the pipeline or does not answer.
    """
    client, what = server.client, f"uploading pipeline {submission.name}"
    own = {"namespace": server.namespace} if server.namespace else {}

    def create() -> Any:
        body = {"display_name": submission.name, **own}
        return client.pipelines.pipeline_service_create_pipeline(pipeline=body, _request_timeout=server.timeout)

    def find() -> Any:
        ask = client.pipelines.pipeline_service_list_pipelines
        return _first(server, what, "pipelines", ask, submission.name, **own)

    pipeline, _ = server.once(what, find, create)

    def create_version() -> Any:
        with tempfile.TemporaryDirectory(prefix="hfpc-submit-") as folder:
            file = Path(folder) / "pipeline.yaml"
            file.write_text(submission.package, "utf-8")
            return client.pipeline_uploads.upload_pipeline_version(
                str(file), name=submission.version, pipelineid=pipeline.pipeline_id, _request_timeout=server.timeout
            )

    def find_version() -> Any:
        ask = client.pipelines.pipeline_service_list_pipeline_versions
        return _first(server, what, "pipeline_versions", ask, submission.version, pipeline_id=pipeline.pipeline_id)

    version, _ = server.once(what, find_version, create_version)
    return pipeline.pipeline_id, version.pipeline_version_id


def experiment(server: Server, name: str) -> str:
    """Id of the experiment of a name, which is created if there is none.

    Raises:
        HfpcError: Kubeflow refuses or does not answer.
    """
    experiments, what = server.client.experiments, f"creating experiment {name}"
    own = {"namespace": server.namespace} if server.namespace else {}

    def create() -> Any:
        body = {"display_name": name, **own}
        return experiments.experiment_service_create_experiment(experiment=body, _request_timeout=server.timeout)

    def find() -> Any:
        return _first(server, what, "experiments", experiments.experiment_service_list_experiments, name, **own)

    found, _ = server.once(what, find, create)
    return str(found.experiment_id)


def job(submission: KubeflowSubmission, experiment_id: str, pipeline_id: str, version_id: str) -> dict[str, Any]:
    """What a run and a recurring run have in common, in the form of their JSON."""
    runtime: dict[str, Any] = {"parameters": submission.parameters}
    if submission.pipeline_root:
        runtime["pipeline_root"] = submission.pipeline_root
    content: dict[str, Any] = {
        "experiment_id": experiment_id,
        "pipeline_version_reference": {"pipeline_id": pipeline_id, "pipeline_version_id": version_id},
        "runtime_config": runtime,
    }
    if submission.service_account:
        content["service_account"] = submission.service_account
    return content


def loses_checkpoints(submission: KubeflowSubmission) -> bool:
    """Whether a training on spot machines keeps its checkpoints on them, and so starts from the beginning again."""
    _, *platforms = yaml.safe_load_all(submission.package)
    own = on_spot_machines(platforms[0]) if platforms else set()
    executors = [submission.spec["deploymentSpec"]["executors"][label] for label in own]
    for step in submission.graph.steps:
        uri = step.inputs.get("checkpoint_uri")
        if step.executor in executors and uri and uri.known and not uri.value:
            return True
    return False


def mark(fingerprint: str) -> str:
    """A description that tells what was submitted."""
    return f"{_MARK}{fingerprint}"


def watch(server: Server, submitted: Submitted, graph: Graph, every: float) -> Iterator[KubeflowRun]:
    """The run as it goes on, until it has ended. A look that gets no answer is left out.

    Args:
        server: The Kubeflow Pipelines.
        submitted: The run.
        graph: Its pipeline with its parameters.
        every: Seconds between two looks.

    Raises:
        HfpcError: Kubeflow no longer knows the run, refuses to tell, or does not answer for long; the run goes on.
    """
    runs, logs = server.client.runs, dict[str, str]()
    lost, seen = 0, time.monotonic()

    def read_log(pod: str) -> str:
        if not logs.get(pod):
            logs[pod] = _log(server, submitted.run_id, pod)
        return logs[pod]

    while True:
        try:
            with server.readable(f"watching {submitted.page}"):
                answer = runs.run_service_get_run(submitted.run_id, _request_timeout=server.timeout)
        except RequestError as error:
            lost += 1
            if not error.is_transient or lost >= _MOST_LOST_POLLS or time.monotonic() - seen > _LONGEST_LOST:
                raise HfpcError(f"{error}; whatever became of the run, see its page") from error
        else:
            lost, seen = 0, time.monotonic()
            run = read_run(answer, graph, read_log)
            yield run
            if run.has_ended:
                return
        time.sleep(every)


def _find(server: Server, submission: KubeflowSubmission, experiment_id: str) -> Any:
    """The run that this very submission started before, or None."""
    what = f"looking for run {submission.job_id}"
    ask = server.client.runs.run_service_list_runs
    run = _first(server, what, "runs", ask, submission.job_id, experiment_id=experiment_id)
    if run is not None and run.description != mark(submission.fingerprint):
        raise ArgumentError("job_id", submission.job_id, "another run has this id; give another, or leave it out")
    return run


def _first(server: Server, what: str, key: str, ask: Any, name: str, **given: Any) -> Any:
    """The first object of a display name, or None."""
    return next(iter(server.all(what, key, lambda **page: ask(filter=named(name), **given, **page))), None)


def _log(server: Server, run_id: str, pod: str) -> str:
    """Log of a task's pod; "" where it cannot be had: the run matters, and this may come without a right to logs."""
    path = {"run_id": run_id, "pod": pod}
    try:
        with server.readable(f"reading the log of {pod}"):
            answer, _, _ = server.api_client.call_api(
                _LOG, "GET", path, response_type="str", auth_settings=["Bearer"], _request_timeout=server.timeout
            )
    except RequestError:
        return ""
    return str(answer or "")
