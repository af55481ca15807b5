"""A Kubeflow Model Registry on loopback: models, versions and artifacts over REST."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.cloud.faults import Faults

KINDS = {"registered_model": "registered_models", "model_version": "model_versions", "model_artifact": "artifacts"}


class ModelRegistry:
    """What is registered.

    Attributes:
        objects: Kind to objects.
        base: Path that the interface is at.
        faults: Which calls go wrong, and which were made.
        unknown_requests: Requests for what there is not.
        address: URL.
    """

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {each: [] for each in KINDS.values()}
        self.base = "/api/model_registry/v1"
        self.faults = Faults()
        self.unknown_requests: list[str] = []
        self.address = ""
        self._ids = itertools.count(1)

    @contextlib.contextmanager
    def serve(self) -> Iterator["ModelRegistry"]:
        """Serves in threads, on a free port, while the block runs."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.registry = self
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def reset(self) -> None:
        for each in self.objects.values():
            each.clear()
        self.faults.clear()
        self.unknown_requests.clear()
        self.base = "/api/model_registry/v1"

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and content of an answer."""
        parts = path.removeprefix(self.base).strip("/").split("/") if path.startswith(f"{self.base}/") else []
        if method == "GET" and len(parts) == 1 and parts[0] in KINDS:
            return self._find(KINDS[parts[0]], query)
        if method == "GET" and len(parts) == 1 and parts[0] in self.objects:
            items = self.objects[parts[0]]
            return 200, {"items": items, "size": len(items), "pageSize": 0, "nextPageToken": ""}
        if method == "GET" and len(parts) == 3 and parts[2] in ("versions", "artifacts"):
            kind = "model_versions" if parts[2] == "versions" else "artifacts"
            items = [each for each in self.objects[kind] if self._parent(kind, each) == parts[1]]
            return 200, {"items": items, "size": len(items), "pageSize": 0, "nextPageToken": ""}
        if method == "POST" and parts in (["registered_models"], ["model_versions"]):
            return self._make(parts[0], body, "")
        if method == "POST" and len(parts) == 3 and (parts[0], parts[2]) == ("model_versions", "artifacts"):
            return self._make("artifacts", body, parts[1])
        if method == "PATCH" and len(parts) == 2 and parts[0] == "model_artifacts":
            return self._change(parts[1], body)
        self.unknown_requests.append(f"{method} {path}")
        return 404, {"code": "404", "message": "page not found"}

    def _parent(self, kind: str, found: dict[str, Any]) -> str:
        return str(found.get("registeredModelId" if kind == "model_versions" else "_parent", ""))

    def _find(self, kind: str, query: dict[str, str]) -> tuple[int, Any]:
        for each in self.objects[kind]:
            inside = kind == "registered_models" or self._parent(kind, each) == query.get("parentResourceId")
            if each["name"] == query.get("name") and inside:
                return 200, each
        return 404, {"code": "404", "message": f"no {kind} found"}

    def _change(self, key: str, body: Any) -> tuple[int, Any]:
        for each in self.objects["artifacts"]:
            if each["id"] == key:
                if problem := _problem("artifacts", {**body, "name": each["name"]}):
                    return 400, {"code": "400", "message": problem}
                each.update(body)
                return 200, each
        return 404, {"code": "404", "message": "no such artifact"}

    def _make(self, kind: str, body: Any, parent: str) -> tuple[int, Any]:
        problem = _problem(kind, body)
        if problem:
            return 400, {"code": "400", "message": problem}
        made = {**body, "id": str(next(self._ids)), **({"_parent": parent} if parent else {})}
        if kind == "model_versions" and not any(
            each["id"] == made["registeredModelId"] for each in self.objects["registered_models"]
        ):
            return 404, {"code": "404", "message": "no such registered model"}
        same = [each for each in self.objects[kind] if each["name"] == made["name"]]
        if any(self._parent(kind, each) == self._parent(kind, made) for each in same):
            return 409, {"code": "409", "message": f"{made['name']} already exists"}
        self.objects[kind].append(made)
        return 201, made


def _problem(kind: str, body: Any) -> str:
    if not isinstance(body, dict) or not body.get("name"):
        return "name is required"
    if kind == "artifacts" and body.get("artifactType") != "model-artifact":
        return "artifactType must be model-artifact"
    for name, value in body.get("customProperties", {}).items():
        types = {"MetadataStringValue": ("string_value", str), "MetadataDoubleValue": ("double_value", float)}
        key, kind_of = types.get(value.get("metadataType"), ("", object))
        if not isinstance(value.get(key), kind_of) or set(value) != {"metadataType", key}:
            return f"customProperties.{name} is no metadata value"
    return ""


class _Server(ThreadingHTTPServer):
    registry: ModelRegistry
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        registry, split = self.server.registry, urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        fault = registry.faults.next(f"{self.command} {split.path}")
        refusals = {"error": 500, "throttled": 429, "timeout": 504}
        if fault in refusals:
            return self._send(refusals[fault], {"message": "injected"})
        code, content = registry.answer(self.command, split.path, dict(parse_qsl(split.query)), body)
        if fault == "lost":
            self.close_connection = True
            return None
        return self._send(code, {key: each for key, each in content.items() if key != "_parent"})

    do_POST = do_PATCH = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass

    def _send(self, code: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
