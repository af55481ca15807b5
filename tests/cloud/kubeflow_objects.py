"""What the loopback Kubeflow keeps: experiments, pipelines with versions, runs and recurring runs."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from tests.cloud.kubeflow_refusal import Refusal
from tests.cloud.kubeflow_runs import Runs, check_cron, task_details

_PAGE = 2
"""Objects on a page, however many are asked for: a client that does not turn pages is found out."""


class Objects:
    """The methods of the API; each takes a request's parts by name and answers with JSON.

    Attributes:
        multi_user: Whether each user has a namespace.
        namespaces: Those that the caller may use, where `multi_user`.
        experiments, pipelines, versions, runs, recurring_runs: Id to object.
        outcome: How runs end that are looked at from now on.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.multi_user = False
        self.namespaces = ["team"]
        self.experiments: dict[str, Any] = {}
        self.pipelines: dict[str, Any] = {}
        self.versions: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.recurring_runs: dict[str, Any] = {}
        self.outcome = Runs()

    def Healthz(self) -> Any:
        return {"multi_user": self.multi_user}

    def CreateExperiment(self, body: dict[str, Any]) -> Any:
        self._check_namespace(body.get("namespace", ""))
        self._refuse_double(self.experiments, body, "namespace")
        return _add(self.experiments, "experiment_id", body)

    def ListExperiments(self, namespace: str = "", **given: str) -> Any:
        self._check_namespace(namespace)
        found = [each for each in self.experiments.values() if each.get("namespace", "") == namespace]
        return _page("experiments", found, **given)

    def CreatePipeline(self, body: dict[str, Any]) -> Any:
        if body.get("namespace"):
            self._check_namespace(body["namespace"])
        self._refuse_double(self.pipelines, body, "namespace")
        return _add(self.pipelines, "pipeline_id", body)

    def ListPipelines(self, namespace: str = "", **given: str) -> Any:
        found = [each for each in self.pipelines.values() if each.get("namespace", "") == namespace]
        return _page("pipelines", found, **given)

    def UploadPipelineVersion(self, file: str, name: str, pipelineid: str, description: str = "") -> Any:
        _get(self.pipelines, pipelineid, "Pipeline")
        version = {"display_name": name, "pipeline_id": pipelineid, "description": description}
        self._refuse_double(self.versions, version, "pipeline_id")
        documents = _parsed(file)
        return _add(self.versions, "pipeline_version_id", {**version, "pipeline_spec": documents})

    def ListPipelineVersions(self, id: str, **given: str) -> Any:
        _get(self.pipelines, id, "Pipeline")
        found = [each for each in self.versions.values() if each["pipeline_id"] == id]
        return _page("pipeline_versions", found, **given)

    def CreateRun(self, body: dict[str, Any]) -> Any:
        self._check_job(body)
        return _add(self.runs, "run_id", {**body, "state": "PENDING"})

    def GetRun(self, id: str) -> Any:
        run = _get(self.runs, id, "Run")
        spec = self.version_of(run)["pipeline_spec"]["pipeline_spec"]
        run["state"] = self.outcome.after(run["state"])
        run["run_details"] = {"task_details": task_details(run, spec, self.outcome)}
        return run

    def ListRuns(self, namespace: str = "", experiment_id: str = "", **given: str) -> Any:
        if not experiment_id:
            self._check_namespace(namespace)
        found = [each for each in self.runs.values() if experiment_id in ("", each["experiment_id"])]
        return _page("runs", found, **given)

    def ReadRunLog(self, id: str, node: str) -> str:
        _get(self.runs, id, "Run")
        if node not in self.outcome.logs:
            raise Refusal(500, f"Failed to read logs from pod {node}")
        return self.outcome.logs[node]

    def CreateRecurringRun(self, body: dict[str, Any]) -> Any:
        self._check_job(body)
        check_cron(body["trigger"]["cron_schedule"]["cron"])
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Refusal(400, "The max concurrency of the recurring run is out of range. Support 1-10.")
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
        namespace = self.experiments[body["experiment_id"]].get("namespace", "")
        return _add(self.recurring_runs, "recurring_run_id", {**body, "status": status, "namespace": namespace})

    def ListRecurringRuns(self, namespace: str = "", **given: str) -> Any:
        self._check_namespace(namespace)
        found = [each for each in self.recurring_runs.values() if each["namespace"] == namespace]
        return _page("recurringRuns", found, **given)

    def EnableRecurringRun(self, id: str) -> Any:
        _get(self.recurring_runs, id, "RecurringRun").update(mode="ENABLE", status="ENABLED")
        return {}

    def DisableRecurringRun(self, id: str) -> Any:
        _get(self.recurring_runs, id, "RecurringRun").update(mode="DISABLE", status="DISABLED")
        return {}

    def DeleteRecurringRun(self, id: str) -> Any:
        _get(self.recurring_runs, id, "RecurringRun")
        del self.recurring_runs[id]
        return {}

    def version_of(self, job: dict[str, Any]) -> Any:
        """The version that a run or a recurring run is of."""
        return self.versions[job["pipeline_version_reference"]["pipeline_version_id"]]

    def _check_namespace(self, namespace: str) -> None:
        if not self.multi_user:
            return
        if not namespace:
            raise Refusal(400, "An experiment cannot have an empty namespace in multi-user mode")
        if namespace not in self.namespaces:
            raise Refusal(403, f"User 'ann@example.com' is not authorized in namespace {namespace}")

    def _refuse_double(self, there: dict[str, Any], new: dict[str, Any], within: str) -> None:
        if any(
            (each["display_name"], each.get(within)) == (new["display_name"], new.get(within))
            for each in there.values()
        ):
            raise Refusal(409, f"The name {new['display_name']} already exist. Please specify a new name.")

    def _check_job(self, body: dict[str, Any]) -> None:
        _get(self.experiments, body["experiment_id"], "Experiment")
        reference = body["pipeline_version_reference"]
        version = _get(self.versions, reference["pipeline_version_id"], "PipelineVersion")
        if version["pipeline_id"] != reference["pipeline_id"]:
            raise Refusal(400, "The version is of another pipeline")
        spec = version["pipeline_spec"]["pipeline_spec"]
        inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = set(body.get("runtime_config", {}).get("parameters", {}))
        if unknown := given - set(inputs):
            raise Refusal(400, f"parameter(s) provided are not required by pipeline: {sorted(unknown)}")
        needed = {name for name, each in inputs.items() if not each.get("isOptional") and "defaultValue" not in each}
        if missing := needed - given:
            raise Refusal(
                400,
                f"parameter {sorted(missing)[0]} is not optional, yet has neither a default nor a given value",
            )


def _parsed(file: str) -> dict[str, Any]:
    """The documents of a compiled pipeline, each read by the message that it is."""
    try:
        spec, *others = yaml.safe_load_all(file)
        json_format.ParseDict(spec, PipelineSpec())
        for each in others:
            json_format.ParseDict(each, PlatformSpec())
            executors = each["platforms"]["kubernetes"].get("deploymentSpec", {}).get("executors", {})
            for settings in executors.values():
                json_format.ParseDict(settings, KubernetesExecutorConfig())
    except (yaml.YAMLError, json_format.ParseError, KeyError, ValueError) as error:
        raise Refusal(400, f"Failed to parse the pipeline spec: {error}") from error
    if not spec["root"].get("dag"):
        raise Refusal(400, "The pipeline has no tasks")
    return {"pipeline_spec": spec, "platform_spec": others[0] if others else {}}


def _add(there: dict[str, Any], key: str, content: dict[str, Any]) -> Any:
    number = str(uuid.uuid4())
    there[number] = {**content, key: number, "created_at": datetime.now(UTC).isoformat()}
    return there[number]


def _get(there: dict[str, Any], number: str, kind: str) -> Any:
    if number not in there:
        raise Refusal(404, f"{kind} {number} not found.")
    return there[number]


def _page(
    key: str,
    found: list[Any],
    page_token: str = "",
    page_size: str = "",
    sort_by: str = "",
    filter: str = "",
) -> Any:
    if sort_by:
        raise Refusal(501, f"The loopback does not sort by {sort_by}")
    for predicate in json.loads(filter)["predicates"] if filter else []:
        if predicate["operation"] not in ("EQUALS", 1) or predicate["key"] != "display_name":
            raise Refusal(501, f"The loopback does not filter by {predicate}")
        found = [each for each in found if each["display_name"] == predicate["stringValue"]]
    start = int(page_token or 0)
    more = {"next_page_token": str(start + _PAGE)} if start + _PAGE < len(found) else {}
    return {key: found[start : start + _PAGE], **more}
