"""Calls to a Kubernetes cluster that leave one thing of a kind, whatever goes wrong on the way.

Who calls is told by the cluster, in one of its pods, or by the kubeconfig (`KUBECONFIG`, `~/.kube/config`) elsewhere:
no credential is an argument.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hfpc.errors import ArgumentError, EndpointError, HfpcError, MissingExtraError
from hfpc.sinks.patience import Patience

MANAGED = {"app.kubernetes.io/managed-by": "hfpc"}
"""Label of everything that is made here; nothing without it is ever changed or removed."""

OWN = "hfpc/"
"""What our labels and annotations begin with."""

GIVEN = f"{OWN}labels"
"""Annotation: names of the labels that a user gave, by which they are told from those that others have added since."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LABEL_VALUE = re.compile("([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile("([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAME = re.compile("[a-z]([a-z0-9-]*[a-z0-9])?")
_QUANTITY = re.compile("[0-9]+([.][0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_PASSING = (429, 500, 502, 503, 504)
_LONGEST = 600


@dataclass(frozen=True)
class Kind:
    """A kind of custom objects.

    Attributes:
        group: API group.
        version: Version of the group.
        plural: What the kind is called in addresses.
        name: Name of the kind.
        owner: The project that brings it, for errors.
    """

    group: str
    version: str
    plural: str
    name: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A namespace of a cluster, and how it is asked.

    Attributes:
        name: Its name.
        patience: How long is waited.
    """

    name: str
    patience: Patience = field(default_factory=Patience)

    @cached_property
    def api(self) -> Any:
        """Client of custom objects."""
        return _client()

    def get(self, kind: Kind, name: str) -> Any:
        """An object; None where there is none."""
        try:
            return self._ask(self.api.get_namespaced_custom_object, kind, name)
        except Exception as error:
            if status(error) == 404 and not _is_unknown_kind(error):
                return None
            raise

    def list(self, kind: Kind, labels: Mapping[str, str]) -> list[Any]:
        """The objects that have these labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        answer = self._ask(self.api.list_namespaced_custom_object, kind, label_selector=selector)
        items: list[Any] = answer["items"]
        return items

    def put(self, kind: Kind, body: Mapping[str, Any]) -> Any:
        """Makes an object, or makes the one of that name what `body` says; the object as it is then.

        What others, such as the controller or a webhook, wrote into the object's metadata stays.

        Args:
            kind: Kind of the object.
            body: `metadata` with `name`, `labels` and `annotations`, and `spec`.

        Raises:
            EndpointError: The object was not made by this library.
        """
        name = body["metadata"]["name"]
        for attempt in self.patience.retries():
            found = self._staying(kind, name)
            if found is not None and _is_so(found, body):
                return found
            try:
                return self._create(kind, body) if found is None else self._replace(kind, found, body)
            except Exception as error:
                # A conflict: somebody, perhaps this very call before, was faster.
                if attempt == self.patience.attempts or not (may_pass(error) or status(error) == 409):
                    raise
        raise AssertionError("there is at least one attempt")

    def remove(self, kind: Kind, name: str) -> bool:
        """Deletes an object of ours and waits until it is gone, with all that was made for it; whether there was one.

        An object that went first would leave its pods at work for a while, and an object that is made anew under the
        name would be told what became of the old one.

        Raises:
            EndpointError: The object was not made by this library, or it stays.
        """
        found = self.get(kind, name)
        if found is None:
            return False
        check_ours(kind, found)
        uid = found["metadata"]["uid"]
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Foreground"}
        try:
            self._ask(self.api.delete_namespaced_custom_object, kind, name, body=body)
        except Exception as error:
            if status(error) != 404:
                raise
        return self._gone(kind, name, uid)

    def _staying(self, kind: Kind, name: str) -> Any:
        """An object that nobody has deleted; one that somebody has is waited for until it is gone."""
        found = self.get(kind, name)
        if found is None or "deletionTimestamp" not in found["metadata"]:
            return found
        self._gone(kind, name, found["metadata"]["uid"])
        return self.get(kind, name)

    def _gone(self, kind: Kind, name: str, uid: str) -> bool:
        for _ in self.patience.polls():
            found = self.get(kind, name)
            if found is None or found["metadata"]["uid"] != uid:
                return True
        raise EndpointError(f"{kind.name} {name} is still there {self.patience.total:g} seconds after it was deleted")

    def _create(self, kind: Kind, body: Mapping[str, Any]) -> Any:
        made = {"apiVersion": f"{kind.group}/{kind.version}", "kind": kind.name, **body}
        return self._call(self.api.create_namespaced_custom_object, kind, body=made, field_validation="Strict")

    def _replace(self, kind: Kind, found: Any, body: Mapping[str, Any]) -> Any:
        check_ours(kind, found)
        metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
        kept = {"labels": _labels(found, body), "annotations": _annotations(found, body)}
        changed = {**found, "metadata": {**metadata, **body["metadata"], **kept}, "spec": body["spec"]}
        return self._call(
            self.api.replace_namespaced_custom_object,
            kind,
            name=body["metadata"]["name"],
            body=changed,
            field_validation="Strict",
        )

    def _ask(self, method: Any, kind: Kind, name: str = "", **settings: Any) -> Any:
        """Makes a call that has the same effect when it is made twice; again after a failure that may pass."""
        if name:
            settings["name"] = name
        for attempt in self.patience.retries():
            try:
                return self._call(method, kind, **settings)
            except Exception as error:
                if attempt == self.patience.attempts or not may_pass(error):
                    raise
        raise AssertionError("there is at least one attempt")

    def _call(self, method: Any, kind: Kind, **settings: Any) -> Any:
        place = {"group": kind.group, "version": kind.version, "namespace": self.name, "plural": kind.plural}
        return method(**place, **settings, _request_timeout=self.patience.call)


def namespace(name: str = "", patience: Patience | None = None) -> Namespace:
    """A namespace: the one that is named, else that of this pod, else that of the kubeconfig's context.

    Args:
        name: Its name; "" for the one that this code runs in, or that the kubeconfig names.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: There is no such name, or no cluster is known here.
        MissingExtraError: The extra `kubeflow` is not installed.
    """
    if name:
        check_name(name, "namespace", 63)
    return Namespace(name=name or _own_namespace(), patience=patience or Patience())


def _own_namespace() -> str:
    if _NAMESPACE_FILE.is_file():
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    try:
        from kubernetes import config
    except ImportError as error:
        raise MissingExtraError("kubernetes", "kubeflow", "Kubernetes") from error
    try:
        active = config.list_kube_config_contexts(_kubeconfig())[1]
    except config.ConfigException as error:
        raise _no_cluster(error) from error
    return str(active["context"].get("namespace") or "default")


def _client() -> Any:
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise MissingExtraError("kubernetes", "kubeflow", "Kubernetes") from error
    settings = client.Configuration()
    try:
        if _NAMESPACE_FILE.is_file():
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(_kubeconfig(), client_configuration=settings)
    except config.ConfigException as error:
        raise _no_cluster(error) from error
    settings.retries = False  # it is here that calls are repeated, and known which may be
    return client.CustomObjectsApi(client.ApiClient(settings))


def _kubeconfig() -> str | None:
    """The file that is named now: the client looks when it is imported."""
    return os.environ.get("KUBECONFIG") or None


def _no_cluster(error: Exception) -> ArgumentError:
    fix = f"no cluster is known here ({_line(str(error))}): run this in a pod, or log in so that kubectl works"
    return ArgumentError("KUBECONFIG", os.environ.get("KUBECONFIG", ""), fix)


def status(error: BaseException) -> int:
    """HTTP status that the cluster refused with; 0 for other errors."""
    given = getattr(error, "status", 0)
    return given if isinstance(given, int) else 0


def may_pass(error: BaseException) -> bool:
    """Whether a call that failed so may succeed when it is made again."""
    if type(error).__module__.partition(".")[0] == "urllib3":
        return True
    return status(error) in _PASSING


def _is_unknown_kind(error: BaseException) -> bool:
    """Whether the cluster knows no such kind, rather than no object of that name."""
    return "page not found" in str(getattr(error, "body", ""))


@contextmanager
def reaching(what: str, kind: Kind) -> Iterator[None]:
    """Raises HfpcError, in one line, for what the cluster's client raises in the block.

    Args:
        what: What was being done, e.g. "deploying tweets".
        kind: What is changed by it, for the advice.
    """
    try:
        yield
    except HfpcError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("kubernetes", "urllib3"):
            raise
        raise HfpcError(f"the cluster failed at {what}: {line(error)}{_advice(error, kind)}") from error


def line(error: BaseException) -> str:
    """What went wrong, in one line."""
    body = getattr(error, "body", None)
    if body:
        try:
            content = json.loads(body)
        except ValueError:
            content = body
        message = content.get("message", "") if isinstance(content, dict) else str(content)
        return _line(message or str(getattr(error, "reason", "")) or type(error).__name__)
    return _line(str(error) or type(error).__name__)


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]


def _advice(error: BaseException, kind: Kind) -> str:
    if _is_unknown_kind(error):
        return f" (the cluster has no {kind.group}/{kind.version}: install {kind.owner})"
    if status(error) == 401:
        return " (log in again: the token or certificate is no longer valid)"
    if status(error) == 403:
        return f" (whoever calls needs get, list, create, update and delete of {kind.plural}.{kind.group})"
    return ""


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether an object was made here."""
    labels = found["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in MANAGED.items())


def check_ours(kind: Kind, found: Mapping[str, Any]) -> None:
    """Raises EndpointError unless an object was made here."""
    if not is_ours(found):
        name = found["metadata"]["name"]
        raise EndpointError(f"{kind.name} {name} was not made by this library: give another name")


def _is_so(found: Any, body: Mapping[str, Any]) -> bool:
    """Whether an object is what `body` says, whatever a webhook has filled in beside it."""
    metadata = found["metadata"]
    same = (metadata.get("annotations") or {}) == _annotations(found, body)
    same = same and (metadata.get("labels") or {}) == _labels(found, body)
    return same and _canary(found["spec"]) == _canary(body["spec"]) and _holds(found["spec"], body["spec"])


def _annotations(found: Any, body: Mapping[str, Any]) -> dict[str, str]:
    """What an object's annotations shall be: those of `body`, and those of others."""
    there = found["metadata"].get("annotations") or {}
    others = {key: value for key, value in there.items() if not key.startswith(OWN)}
    return {**others, **body["metadata"].get("annotations", {})}


def _labels(found: Any, body: Mapping[str, Any]) -> dict[str, str]:
    """The same for its labels; one that was given with what it was before goes with that."""
    there, annotations = found["metadata"].get("labels") or {}, found["metadata"].get("annotations") or {}
    given = annotations.get(GIVEN, "").split(",")
    others = {key: value for key, value in there.items() if not key.startswith(OWN) and key not in given}
    return {**others, **body["metadata"].get("labels", {})}


def _canary(spec: Any) -> Any:
    """The one field that says something by its absence."""
    return spec.get("predictor", {}).get("canaryTrafficPercent")


def _holds(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and _holds(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(_holds(*pair) for pair in zip(found, wanted, strict=True))
    return bool(found == wanted)


def check_name(name: str, argument: str, most: int) -> None:
    """Raises ArgumentError unless a name can be an object's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > most:
        fix = f"start with a letter and use lower case letters, digits and hyphens, at most {most}"
        raise ArgumentError(argument, name, fix)


def check_labels(labels: Mapping[str, str], argument: str) -> None:
    """Raises ArgumentError unless Kubernetes takes these labels beside ours."""
    for key, value in labels.items():
        if not isinstance(value, str) or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            fix = "use letters, digits, - _ and ., at most 63, with a letter or digit at both ends"
            raise ArgumentError(argument, {key: value}, fix)
        if key in MANAGED or key.startswith(OWN):
            raise ArgumentError(argument, {key: value}, "this label is kept for the library itself")


def check_resources(resources: Mapping[str, str]) -> None:
    """Raises ArgumentError unless these are amounts of resources, such as `{"cpu": "2", "nvidia.com/gpu": "1"}`."""
    for name, amount in resources.items():
        if not _LABEL_KEY.fullmatch(name) or not isinstance(amount, str) or not _QUANTITY.fullmatch(amount):
            fix = 'give amounts as Kubernetes writes them, e.g. {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}'
            raise ArgumentError("resources", {name: amount}, fix)
