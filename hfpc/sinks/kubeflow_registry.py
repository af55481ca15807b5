"""Kubeflow Model Registry: a model, a version of it for each model that is registered, and where its files are.

The registry is asked over its REST interface: its own client `model-registry` registers in three calls and refuses the
version that a lost answer, or a step killed between them, left half made.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hfpc import manifest
from hfpc.errors import ArgumentError, HfpcError
from hfpc.redaction import redacted
from hfpc.sinks import model_folder
from hfpc.sinks.kubernetes_calls import MANAGED
from hfpc.sinks.patience import Patience

if TYPE_CHECKING:
    import httpx

PLATFORM = "kubeflow"
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 the name of a variable
"""File with a token, as Kubeflow mounts it into the pods of pipelines; the registry's own client reads it too."""
_BASES = ("/api/model_registry/v1", "/api/model_registry/v1alpha3")
_ARTIFACT = {"artifactType": "model-artifact"}
_PASSING = (429, 500, 502, 503, 504)
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")


@dataclass(frozen=True, kw_only=True)
class RegisterKubeflowModelConfig:
    """Where a model is registered.

    Attributes:
        name: Name of the model: letters, digits, spaces, `.`, `_` and `-`, at most 100.
        registry: Address of the registry, `http://HOST:PORT`.
        version: Name of the version; "" takes the beginning of the model's fingerprint, so that the same model is the
            same version.
        staging_uri: `gs://` or `s3://` folder that a model is copied to which does not lie in such a store yet.
        description: Description of the version.
        properties: Properties of the version beside our own.

    Raises:
        ArgumentError: A value cannot be used.
    """

    name: str
    registry: str
    version: str = ""
    staging_uri: str = ""
    description: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for argument in ("name", "version"):
            value = getattr(self, argument)
            if not _NAME.fullmatch(value) and (value or argument == "name"):
                fix = "use letters, digits, spaces, . _ and -, at most 100, beginning with a letter or digit"
                raise ArgumentError(argument, value, fix)
        if not re.fullmatch("https?://[^/@ ]+/?", self.registry):
            raise ArgumentError("registry", self.registry, "give http://HOST:PORT or https://HOST")
        if self.staging_uri and not re.fullmatch("(gs|s3)://.+", self.staging_uri):
            raise ArgumentError("staging_uri", self.staging_uri, "give a folder in a store, gs://… or s3://…")
        for name, value in self.properties.items():
            if not isinstance(value, str):
                raise ArgumentError("properties", {name: value}, "give text")


@dataclass(frozen=True, kw_only=True)
class KubeflowModel:
    """A version of a model in the registry.

    Attributes:
        name: Name of the model.
        version: Name of the version.
        model_id: Id of the model in the registry.
        version_id: Id of the version.
        artifact_id: Id of what says where its files are.
        fingerprint: SHA-256 of weights, configuration and tokenizer files.
        uri: Where its files are.
    """

    name: str
    version: str
    model_id: str
    version_id: str
    artifact_id: str
    fingerprint: str
    uri: str

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of its artifact."""
        kept = {key: value for key, value in vars(self).items() if key != "uri"}
        return {"platform": PLATFORM, "artifact_uri": self.uri, **kept}


def location(path: str, uri: str, metadata: Mapping[str, Any]) -> str:
    """Where the files of a model artifact are: its registered place, this machine's path, or its URI.

    Args:
        path: Path of the artifact, which may be mounted.
        uri: URI of the artifact.
        metadata: Metadata; `artifact_uri` is where a registry keeps the files.
    """
    if registered := str(metadata.get("artifact_uri", "")):
        return registered
    if uri.startswith(("gs://", "s3://")):
        return uri
    return path


def register(
    model: str, predictions: Path | None, config: RegisterKubeflowModelConfig, patience: Patience | None = None
) -> KubeflowModel:
    """Registers a model as a version of the model of that name, which is made if there is none.

    Registering the same model twice gives the same version, with the files where they were registered last; what a step
    left half made is completed.

    Args:
        model: Path or URI of a model folder.
        predictions: The model's predictions from `evaluate`, whose metrics become properties; None for none.
        config: Where to.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used, the predictions are another model's, or the version is taken.
        DataError: A folder does not hold what it should.
        HfpcError: The registry refused or did not answer.
    """
    record = model_folder.record(model)
    assert record.model is not None
    fingerprint = record.model.fingerprint
    metrics = _metrics(predictions, fingerprint)
    uri = model_folder.staged(model, fingerprint, config.staging_uri, ("gs://", "s3://"))
    version = config.version or fingerprint[:12]
    own = {**MANAGED, "fingerprint": fingerprint, "task": record.task, "base_model": redacted(record.model.base_model)}
    properties = _properties({**config.properties, **own, **metrics})
    with _Registry(config.registry, patience or Patience()) as registry:
        parent = registry.ensure(
            ("/registered_model", {"name": config.name}),
            ("/registered_models", {"name": config.name, "customProperties": _properties(MANAGED)}),
        )
        made = registry.ensure(
            ("/model_version", {"name": version, "parentResourceId": parent["id"]}),
            (
                "/model_versions",
                {
                    "name": version,
                    "registeredModelId": parent["id"],
                    "description": config.description,
                    "customProperties": properties,
                },
            ),
        )
        _check_same(made, fingerprint, version)
        artifact = registry.ensure(
            ("/model_artifact", {"name": config.name, "parentResourceId": made["id"]}),
            (
                f"/model_versions/{made['id']}/artifacts",
                {
                    **_ARTIFACT,
                    "name": config.name,
                    "uri": uri,
                    "modelFormatName": "huggingface",
                    "customProperties": _properties({"fingerprint": fingerprint}),
                },
            ),
        )
        if artifact["uri"] != uri:
            artifact = registry.change(f"/model_artifacts/{artifact['id']}", {**_ARTIFACT, "uri": uri})
    return KubeflowModel(
        name=config.name,
        version=version,
        model_id=parent["id"],
        version_id=made["id"],
        artifact_id=artifact["id"],
        fingerprint=fingerprint,
        uri=str(artifact["uri"]),
    )


class _Registry:
    """The registry's REST interface; calls that may pass are repeated, and what was made is found again."""

    def __init__(self, url: str, patience: Patience) -> None:
        import httpx

        file = os.environ.get(TOKEN_FILE_VARIABLE, "")
        token = Path(file).read_text(encoding="utf-8").strip() if file and Path(file).is_file() else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        own = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        # A proxy of the environment could not reach this machine.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=patience.call, trust_env=not own)
        self._url, self._patience = url, patience
        self._base = ""

    def __enter__(self) -> "_Registry":
        try:
            self._base = self._known_base()
        except BaseException:
            self._http.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ensure(self, find: tuple[str, dict[str, str]], make: tuple[str, dict[str, Any]]) -> Any:
        """What there is, after making it if there was nothing."""
        for attempt in self._patience.retries():
            found = self._ask("GET", self._base + find[0], params=find[1])
            if found is not None:
                return found
            try:
                made = self._call("POST", self._base + make[0], json=make[1])
            except _PassingError:
                if attempt == self._patience.attempts:
                    raise
                continue
            if made is not None:
                return made
        raise HfpcError(f"the model registry at {self._url} does not show what it was told to make: try again")

    def change(self, path: str, content: dict[str, Any]) -> Any:
        """What there is, after giving it these values."""
        changed = self._ask("PATCH", self._base + path, json=content)
        if changed is None:
            raise HfpcError(f"the model registry at {self._url} has no {path} any more: it was deleted meanwhile")
        return changed

    def _known_base(self) -> str:
        for base in _BASES:
            if self._ask("GET", f"{base}/registered_models", params={"pageSize": "1"}) is not None:
                return base
        raise HfpcError(f"{self._url} is no Kubeflow Model Registry: it has none of {', '.join(_BASES)}")

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        for attempt in self._patience.retries():
            try:
                return self._call(method, path, **content)
            except _PassingError:
                if attempt == self._patience.attempts:
                    raise
        raise AssertionError("there is at least one attempt")

    def _call(self, method: str, path: str, **content: Any) -> Any:
        """What a call gives; None where there is no such thing, or where it is there already."""
        import httpx

        try:
            response = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            told = f"{error or type(error).__name__}"
            raise _PassingError(f"the model registry at {self._url} does not answer: {told}") from error
        if response.status_code == 404 or (method == "POST" and response.status_code == 409):
            return None
        if response.is_error:
            kind = _PassingError if response.status_code in _PASSING else HfpcError
            raise kind(f"the model registry at {self._url} answered {response.status_code}: {_message(response)}")
        try:
            return response.json()
        except ValueError as error:
            raise HfpcError(f"the model registry at {self._url} did not answer in JSON") from error


class _PassingError(HfpcError):
    """A call that may succeed when it is made again."""


def _message(response: "httpx.Response") -> str:
    try:
        content = response.json()
    except ValueError:
        content = response.text
    text = content.get("message", "") if isinstance(content, dict) else str(content)
    advice = " (the step's service account may not use the registry)" if response.status_code in (401, 403) else ""
    return " ".join(text.split())[:300] + advice


def _check_same(made: Mapping[str, Any], fingerprint: str, version: str) -> None:
    known = (made.get("customProperties") or {}).get("fingerprint", {}).get("string_value", "")
    if known != fingerprint:
        raise ArgumentError("version", version, "another model has this version: give another, or none")


def _properties(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the registry takes them: text and numbers, each with its type."""
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, float):
            typed[name] = {"metadataType": "MetadataDoubleValue", "double_value": value}
        else:
            typed[name] = {"metadataType": "MetadataStringValue", "string_value": str(value)}
    return typed


def _metrics(predictions: Path | None, fingerprint: str) -> dict[str, float]:
    if predictions is None:
        return {}
    record = manifest.read(predictions, "predictions").predictions
    assert record is not None
    if record.model != fingerprint:
        fix = "give the predictions that evaluate made with this very model"
        raise ArgumentError("predictions", str(predictions), fix)
    # JSON has no number for what is not finite.
    return {name: float(value) for name, value in record.metrics.items() if math.isfinite(value)}
