"""The Model Registry of the loopback Vertex AI."""

import re
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format

from tests.cloud.vertex_metrics import check_metrics
from tests.cloud.vertex_names import numbered
from tests.cloud.vertex_resources import (
    Resources,
    check_mask,
    check_names,
    check_parent,
    delete_metadata,
    do,
    now,
    page,
)
from tests.cloud.vertex_wire import VertexError

_ALIAS = re.compile("[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_MODEL_ID = re.compile("[a-z_][a-z0-9_-]{0,62}")


@dataclass
class _Upload:
    """A version on its way: the looks that are left, its operation's work, and what adds it."""

    left: int
    work: "futures.Future[Any]"
    add: Callable[[], v1.UploadModelResponse]


class Models(Resources):
    """ModelService: models, their versions, aliases and evaluations.

    Each version is kept under `NAME@VERSION`; the one with the alias `default` also under `NAME`.

    Attributes:
        upload_looks: How many looks at models and operations an upload takes, whoever looks; 0 lets it be done at once.
    """

    def UploadModel(self, request: v1.UploadModelRequest) -> operations_pb2.Operation:
        check_parent(request.parent)
        model = v1.Model(request.model)
        check_names(model.display_name, model.labels.items())
        if not model.container_spec.image_uri:
            raise VertexError("INVALID_ARGUMENT", "container_spec.image_uri is required.")
        if not re.search(r"pkg\.dev/|gcr\.io/", model.container_spec.image_uri):
            raise VertexError("INVALID_ARGUMENT", "The image must be in Artifact Registry or Container Registry.")
        if model.artifact_uri and not model.artifact_uri.startswith("gs://"):
            raise VertexError("INVALID_ARGUMENT", f"Invalid artifact_uri {model.artifact_uri}: it must be gs://")
        if request.model_id and not _MODEL_ID.fullmatch(request.model_id):
            raise VertexError("INVALID_ARGUMENT", f"Invalid model_id {request.model_id!r}")
        _check_probes(model.container_spec)
        _check_aliases(model.version_aliases)
        name = request.parent_model or f"{request.parent}/models/{request.model_id or self.new_number()}"
        if request.parent_model:
            self.get(name, "Model")
        elif name in self.objects:
            raise VertexError("ALREADY_EXISTS", f"Model {name} already exists.")
        metadata = v1.UploadModelOperationMetadata()
        if not self.upload_looks:
            made = self._add_version(name, model)
            return self.operation(name, metadata, lambda: made)
        long = self._begun(name, metadata)
        self._uploads.append(_Upload(self.upload_looks, long.work, lambda: self._add_version(name, model)))
        return long.operation

    def GetOperation(self, name: str) -> operations_pb2.Operation:
        self._look()
        return super().GetOperation(name)

    def ListOperations(self, name: str) -> operations_pb2.ListOperationsResponse:
        self._look()
        return super().ListOperations(name)

    def _look(self) -> None:
        """Lets uploads go on."""
        with self._lock:
            for upload in self._uploads:
                upload.left -= 1
                if not upload.left:
                    do(upload.work, upload.add)

    def _add_version(self, name: str, model: v1.Model) -> v1.UploadModelResponse:
        with self._lock:
            versions = self._versions(name)
            model.name = name
            model.version_id = str(max((int(each.version_id) for each in versions), default=0) + 1)
            aliases = list(model.version_aliases)
            model.version_aliases = []
            model.create_time = model.update_time = model.version_create_time = model.version_update_time = now()
            dedicated = v1.Model.DeploymentResourcesType.DEDICATED_RESOURCES
            model.supported_deployment_resources_types = [dedicated]
            self.add(model, f"{name}@{model.version_id}")
            self._move_aliases(name, model, aliases if versions else [*aliases, "default"])
        return v1.UploadModelResponse(model=name, model_version_id=model.version_id)

    def GetModel(self, request: v1.GetModelRequest) -> v1.Model:
        self._look()
        return self.version(request.name)

    def version(self, name: str) -> v1.Model:
        """A version by `NAME`, `NAME@VERSION` or `NAME@ALIAS`."""
        base, _, wanted = numbered(name).partition("@")
        for model in self._versions(base):
            if (wanted or "default") in (model.version_id, *model.version_aliases):
                return model
        raise VertexError("NOT_FOUND", f"The Model does not exist: {name}")

    def ListModels(self, request: v1.ListModelsRequest) -> v1.ListModelsResponse:
        models, token = page(self.listed(f"{request.parent}/models/", request.filter), request)
        return v1.ListModelsResponse(models=models, next_page_token=token)

    def ListModelVersions(self, request: v1.ListModelVersionsRequest) -> v1.ListModelVersionsResponse:
        self.get(request.name, "Model")
        versions = []
        for model in self._versions(request.name):
            key = f"{model.name}@{model.version_id}"
            self._lists_missed[key] = self._lists_missed.get(key, 0) + 1
            if self._lists_missed[key] > self.lag:
                versions.append(model)
        versions, token = page(versions, request)
        return v1.ListModelVersionsResponse(models=versions, next_page_token=token)

    def UpdateModel(self, request: v1.UpdateModelRequest) -> v1.Model:
        model, given = self.version(request.model.name), request.model
        fields = check_mask(request.update_mask, "display_name", "description", "labels", "version_description")
        check_names(given.display_name if "display_name" in fields else "-", given.labels.items())
        for field in fields:
            setattr(model, field, getattr(given, field))
        return model

    def MergeVersionAliases(self, request: v1.MergeVersionAliasesRequest) -> v1.Model:
        model = self.version(request.name)
        _check_aliases(alias.removeprefix("-") for alias in request.version_aliases)
        with self._lock:
            self._move_aliases(model.name, model, list(request.version_aliases))
        return model

    def DeleteModel(self, request: v1.DeleteModelRequest) -> operations_pb2.Operation:
        self.get(request.name, "Model")
        versions = self._versions(request.name)
        for model in versions:
            self._check_not_deployed(model)
        for model in versions:
            del self.objects[f"{model.name}@{model.version_id}"]
        del self.objects[request.name]
        return self.operation(request.name.rpartition("/models/")[0], delete_metadata(), empty_pb2.Empty)

    def DeleteModelVersion(self, request: v1.DeleteModelVersionRequest) -> operations_pb2.Operation:
        model = self.version(request.name)
        if "default" in model.version_aliases:
            raise VertexError("FAILED_PRECONDITION", "The default version cannot be deleted.")
        self._check_not_deployed(model)
        del self.objects[f"{model.name}@{model.version_id}"]
        return self.operation(model.name.rpartition("/models/")[0], delete_metadata(), empty_pb2.Empty)

    def ImportModelEvaluation(self, request: v1.ImportModelEvaluationRequest) -> v1.ModelEvaluation:
        model = self.version(request.parent)
        evaluation = v1.ModelEvaluation(request.model_evaluation)
        metrics = json_format.MessageToDict(v1.ModelEvaluation.pb(evaluation).metrics)
        check_metrics(evaluation.metrics_schema_uri, metrics)
        evaluation.name = f"{model.name}/evaluations/{self.new_number()}"
        self.evaluations.setdefault(f"{model.name}@{model.version_id}", []).append(evaluation)
        return evaluation

    def ListModelEvaluations(self, request: v1.ListModelEvaluationsRequest) -> v1.ListModelEvaluationsResponse:
        model = self.version(request.parent)
        evaluations, token = page(self.evaluations.get(f"{model.name}@{model.version_id}", []), request)
        return v1.ListModelEvaluationsResponse(model_evaluations=evaluations, next_page_token=token)

    def __init__(self) -> None:
        super().__init__()
        self.evaluations: dict[str, list[v1.ModelEvaluation]] = {}
        self.upload_looks = 0
        self._uploads: list[_Upload] = []

    def reset(self) -> None:
        super().reset()
        self.evaluations.clear()
        self.upload_looks, self._uploads = 0, []

    def _versions(self, name: str) -> list[v1.Model]:
        return [item for key, item in list(self.objects.items()) if key.startswith(f"{name}@")]

    def _move_aliases(self, name: str, model: v1.Model, aliases: list[str]) -> None:
        """Gives a version its aliases, and takes them from the others; `-ALIAS` takes one away."""
        for alias in aliases:
            if alias.startswith("-"):
                if alias == "-default":
                    raise VertexError("INVALID_ARGUMENT", "The alias default can only be moved.")
                model.version_aliases = [each for each in model.version_aliases if each != alias[1:]]
                continue
            for other in self._versions(name):
                other.version_aliases = [each for each in other.version_aliases if each != alias]
            model.version_aliases = list(dict.fromkeys([*model.version_aliases, alias]))
            if alias == "default":
                missed = self._lists_missed.get(name, 0)
                self.add(model, name)
                self._lists_missed[name] = missed

    def _check_not_deployed(self, model: v1.Model) -> None:
        for item in self.objects.values():
            for deployed in getattr(item, "deployed_models", []) if isinstance(item, v1.Endpoint) else []:
                if (deployed.model.partition("@")[0], deployed.model_version_id) == (model.name, model.version_id):
                    raise VertexError("FAILED_PRECONDITION", f"Model {model.name} is deployed at {item.name}.")


def _check_aliases(aliases: Iterable[str]) -> None:
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise VertexError("INVALID_ARGUMENT", f"Invalid version alias {alias!r}")


def _check_probes(container: v1.ModelContainerSpec) -> None:
    """The rules of the reference of `Probe`, where 0 stands for the default: every 10 seconds, 1 second at most."""
    for name in ("startup_probe", "health_probe", "liveness_probe"):
        if name not in container:
            continue
        probe = getattr(container, name)
        period, timeout = probe.period_seconds or 10, probe.timeout_seconds or 1
        if period < 1 or period >= timeout:
            raise VertexError("INVALID_ARGUMENT", f"{name}: period_seconds must be less than timeout_seconds.")
        if probe.failure_threshold < 0:
            raise VertexError("INVALID_ARGUMENT", f"{name}: failure_threshold must be at least 1.")
