"""The API server of a Kubernetes cluster on loopback, over TLS, for custom objects.

It checks bearer tokens, objects against their definitions (`kubernetes_schemas/`), unknown fields where the client is
strict, and resource versions. Controllers do what they do when an object is looked at, and not when it is written: a
client sees an old status first, as in a cluster. Any call can be made to go wrong by `faults`.
"""

import contextlib
import copy
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.cloud import kubernetes_schema
from tests.cloud.faults import Faults

TOKEN = "token-of-the-caller"
NAMESPACE = "team"
PATH = re.compile(
    "/api(s/(?P<group>[^/]+))?/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)"
    "(/(?P<name>[^/]+)(?P<status>/status)?)?"
)
APIS = {
    "deployments": "apps/v1",
    "inferenceservices": "serving.kserve.io/v1beta1",
    "trainjobs": "trainer.kubeflow.org/v1alpha1",
    "clustertrainingruntimes": "trainer.kubeflow.org/v1alpha1",
    "pods": "v1",
    "events": "v1",
}
_LOOKS_UNTIL_GONE = 3  # at an object that is deleted together with what was made for it


class Controller(Protocol):
    """What acts on objects of a kind."""

    def check(self, body: dict[str, Any]) -> str:
        """What an admission webhook says against an object; "" for nothing."""

    def advance(self, found: dict[str, Any]) -> None:
        """Goes on with an object by one step, and writes its status."""

    def remove(self, found: dict[str, Any]) -> None:
        """Takes away what was made for an object."""


class ApiError(Exception):
    """A refusal, as a `Status` object tells it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


class Kubernetes:
    """A cluster.

    Attributes:
        objects: Plural, namespace and name to the object.
        controllers: Plural to what acts on such objects.
        views: Plural to what gives such an object, which only a controller makes, by its namespace and name.
        lists: Plural to what gives all such objects, which only a controller makes, of a namespace.
        forbidden: Plurals of the kinds that the caller may not look at.
        faults: Which calls go wrong, and which were made, such as "GET inferenceservices".
        unknown_requests: Requests for what there is not.
        installed: Plurals of the kinds that the cluster knows.
        address: URL of the API server.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.controllers: dict[str, Controller] = {}
        self.views: dict[str, Callable[[str, str], dict[str, Any] | None]] = {}
        self.lists: dict[str, Callable[[str], list[dict[str, Any]]]] = {}
        self.forbidden: set[str] = set()
        self.faults = Faults()
        self.unknown_requests: list[str] = []
        self.installed = set(APIS)
        self.address = ""
        self.lock = threading.RLock()
        self._version = 0
        self._looks: dict[str, int] = {}

    @contextlib.contextmanager
    def serve(self, certificate: Path, key: Path) -> Iterator["Kubernetes"]:
        """Serves in threads, on a free port, while the block runs."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.cluster = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake in the connection's own thread: one that stalls must not keep others out.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"https://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def write_kubeconfig(self, file: Path, certificate: Path, token: str = TOKEN) -> Path:
        """Writes what `kubectl` would log in with."""
        cluster = {"server": self.address, "certificate-authority": str(certificate)}
        context = {"cluster": "loopback", "user": "caller", "namespace": NAMESPACE}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "loopback", "cluster": cluster}],
            "users": [{"name": "caller", "user": {"token": token}}],
            "contexts": [{"name": "loopback", "context": context}],
            "current-context": "loopback",
        }
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file

    def reset(self) -> None:
        """Forgets all objects, faults and calls."""
        with self.lock:
            for (plural, _, _), found in self.objects.items():
                self._remove(plural, found)
            self.objects.clear()
            self.faults.clear()
            self.unknown_requests.clear()
            self.forbidden.clear()
            self.installed = set(APIS)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """Does what a request asks for; what it answers.

        Raises:
            ApiError: It is refused.
        """
        found = PATH.fullmatch(path)
        if not found or "/".join(filter(None, found.group("group", "version"))) != APIS.get(found["plural"]):
            self.unknown_requests.append(f"{method} {path}")
            raise ApiError(404, "", "404 page not found")
        if found["plural"] not in self.installed:
            raise ApiError(404, "", "404 page not found")
        if found["plural"] in self.forbidden:
            told = f'{found["plural"]} is forbidden: User "caller" cannot {method.lower()} it'
            raise ApiError(403, "Forbidden", told)
        key = (found["plural"], found["namespace"], found["name"] or "")
        with self.lock:
            if not found["name"]:
                return self._create(key, query, body) if method == "POST" else self._list(key, query)
            return getattr(self, f"_{method.lower()}")(key, query, body, bool(found["status"]))

    def _list(self, key: tuple[str, str, str], query: dict[str, str]) -> Any:
        wanted, fields = (
            dict(part.split("=") for part in query.get(selector, "").split(",") if part)
            for selector in ("labelSelector", "fieldSelector")
        )
        if key[0] in self.lists:
            items = self.lists[key[0]](key[1])
        else:
            places = [place for place in self.objects if place[:2] == key[:2]]
            items = [found for place in sorted(places) if (found := self._look(place)) is not None]
        chosen = [each for each in items if wanted.items() <= each["metadata"].get("labels", {}).items()]
        chosen = [each for each in chosen if all(_field(each, path) == value for path, value in fields.items())]
        return {"apiVersion": APIS[key[0]], "kind": "List", "metadata": {}, "items": chosen}

    def _create(self, key: tuple[str, str, str], query: dict[str, str], body: Any) -> Any:
        key = (*key[:2], body["metadata"]["name"])
        if key in self.objects:
            being = "object is being deleted: " if "deletionTimestamp" in self.objects[key]["metadata"] else ""
            raise ApiError(409, "AlreadyExists", f'{being}{key[0]} "{key[2]}" already exists')
        self._check(key, query, body)
        made = {**copy.deepcopy(body), "status": {}}
        given = {"namespace": key[1], "uid": str(uuid.uuid4()), "generation": 1}
        made["metadata"] = {**made["metadata"], **given, "creationTimestamp": "2026-01-01T00:00:00Z"}
        self.objects[key] = made
        return self._stored(made)

    def _get(self, key: tuple[str, str, str], query: dict[str, str], body: Any, status: bool) -> Any:
        found = self._look(key)
        if found is None:
            raise ApiError(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return found

    def _put(self, key: tuple[str, str, str], query: dict[str, str], body: Any, status: bool) -> Any:
        found = self._here(key)
        version = body["metadata"].get("resourceVersion")
        if not version or version != found["metadata"]["resourceVersion"]:
            fix = "please apply your changes to the latest version and try again"
            raise ApiError(409, "Conflict", f'{key[0]} "{key[2]}": the object has been modified; {fix}')
        if status:
            found["status"] = copy.deepcopy(body.get("status", {}))
            return self._stored(found)
        self._check(key, query, body)
        if body["spec"] != found["spec"]:
            found["metadata"]["generation"] += 1
        for name in ("labels", "annotations", "finalizers"):
            found["metadata"].pop(name, None)
            if name in body["metadata"]:
                found["metadata"][name] = copy.deepcopy(body["metadata"][name])
        found["spec"] = copy.deepcopy(body["spec"])
        return self._stored(found)

    def _patch(self, key: tuple[str, str, str], query: dict[str, str], body: Any, status: bool) -> Any:
        if not isinstance(body, dict):
            raise ApiError(415, "UnsupportedMediaType", "this cluster knows merge patches only")
        return self._put(key, query, _merged(self._here(key), body), status)

    def _delete(self, key: tuple[str, str, str], query: dict[str, str], body: Any, status: bool) -> Any:
        found = self._here(key)
        uid = ((body or {}).get("preconditions") or {}).get("uid")
        if uid not in (None, found["metadata"]["uid"]):
            raise ApiError(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if body and body.get("propagationPolicy") == "Foreground":
            found["metadata"]["finalizers"] = ["foregroundDeletion"]
        return self._stored(found)

    def _look(self, key: tuple[str, str, str]) -> Any:
        """An object after its controller has looked at it too.

        One that is being deleted is seen once more, and longer where what was made for it goes first.
        """
        if key[0] in self.views:
            return self.views[key[0]](*key[1:])
        found = self.objects.get(key)
        if found is None:
            return None
        if "deletionTimestamp" in found["metadata"]:
            seen, uid = copy.deepcopy(found), found["metadata"]["uid"]
            self._looks[uid] = self._looks.get(uid, 0) + 1
            if "finalizers" not in found["metadata"] or self._looks[uid] == _LOOKS_UNTIL_GONE:
                self._remove(key[0], self.objects.pop(key))
            return seen
        if key[0] in self.controllers:
            before = copy.deepcopy(found.get("status"))
            self.controllers[key[0]].advance(found)
            if found.get("status") != before:
                self._stored(found)
        return copy.deepcopy(found)

    def _here(self, key: tuple[str, str, str]) -> dict[str, Any]:
        if key not in self.objects:
            raise ApiError(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.objects[key]

    def _stored(self, found: dict[str, Any]) -> Any:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(found)

    def _remove(self, plural: str, found: dict[str, Any]) -> None:
        if plural in self.controllers:
            self.controllers[plural].remove(found)

    def _check(self, key: tuple[str, str, str], query: dict[str, str], body: Any) -> None:
        kind = f"{body.get('apiVersion')} {key[0]}"
        if body.get("apiVersion") != APIS[key[0]]:
            raise ApiError(400, "BadRequest", f"the API version in the data ({kind}) does not match the expected one")
        unknown = kubernetes_schema.unknown_fields(key[0], body)
        if unknown and query.get("fieldValidation") == "Strict":
            told = ", ".join(f'unknown field "{field}"' for field in unknown)
            raise ApiError(400, "BadRequest", f"strict decoding error: {told}")
        if problem := kubernetes_schema.invalid(key[0], body):
            raise ApiError(422, "Invalid", f'{body["kind"]} "{key[2]}" is invalid: {problem}')
        for name, value in body["metadata"].get("labels", {}).items():
            if not re.fullmatch("([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value):
                raise ApiError(422, "Invalid", f"metadata.labels: Invalid value {name}: {value}")
        if key[0] in self.controllers and (problem := self.controllers[key[0]].check(body)):
            raise ApiError(400, "BadRequest", f"admission webhook denied the request: {problem}")


def _field(found: dict[str, Any], path: str) -> Any:
    """A field of an object, as field selectors name it, e.g. `involvedObject.name`."""
    value: Any = found
    for name in path.split("."):
        value = value.get(name, {})
    return value


def _merged(found: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(found, dict):
        return patch
    merged = {**found, **{key: _merged(found.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in merged.items() if value is not None}


class _Server(ThreadingHTTPServer):
    cluster: Kubernetes
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer in one piece

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass

    def _handle(self) -> None:
        cluster = self.server.cluster
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(ApiError(401, "Unauthorized", "Unauthorized"))
        split = urlsplit(self.path)
        found = PATH.fullmatch(split.path)
        fault = cluster.faults.next(f"{self.command} {found['plural'] if found else split.path}")
        if fault == "error":
            return self._refuse(ApiError(500, "InternalError", "Internal error occurred: injected"))
        if fault == "throttled":
            return self._refuse(ApiError(429, "TooManyRequests", "the server has received too many requests"))
        if fault == "timeout":
            return self._refuse(ApiError(504, "Timeout", "Timeout: request did not complete within the allotted time"))
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        try:
            answer = cluster.answer(self.command, split.path, query, body)
        except ApiError as error:
            return self._refuse(error)
        if fault == "lost":
            self.close_connection = True
            return None
        return self._send(201 if self.command == "POST" else 200, json.dumps(answer).encode())

    def _refuse(self, error: ApiError) -> None:
        if not error.reason:
            return self._send(error.code, f"{error.message}\n".encode(), "text/plain")
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": error.code}
        content = {**told, "reason": error.reason, "message": error.message}
        return self._send(error.code, json.dumps(content).encode())

    def _send(self, code: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
