"""A repository of Artifact Registry in the format KFP, on loopback over TLS; calls can fail."""

import email
import hashlib
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from tests.cloud.faults import Faults

HOST = "us-central1-kfp.pkg.dev"
REPOSITORY = f"https://{HOST}/test/pipelines"
_STATUS = {"error": 500, "throttled": 429, "lost": 502, "timeout": 504}


class ArtifactRegistry:
    """One repository.

    Attributes:
        files: Package name to version (`sha256:…`) to its YAML.
        tags: Package name to tag to version.
        admits: Whether a header `Authorization` is that of a caller known here.
        faults: Lets calls of "Upload" and "Download" go wrong.
        port: Where it listens.
    """

    def __init__(self, admits: Callable[[str], bool]) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.admits = admits
        self.faults = Faults()
        self.port = 0

    @contextmanager
    def serve(self, certificate: Path, key: Path) -> Iterator["ArtifactRegistry"]:
        """Serves in threads, on a free port, while the block runs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": self}))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def upload(self, content: bytes, tags: list[str]) -> tuple[int, str]:
        """Keeps a pipeline under the digest of its YAML; answers `PACKAGE/VERSION`."""
        documents = list(yaml.safe_load_all(content))
        package = documents[0].get("pipelineInfo", {}).get("name", "") if len(documents) == 1 else ""
        if not re.fullmatch("[a-z0-9][a-z0-9-]{3,127}", package):
            return 400, "the content is not one pipeline with a name"
        version = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.files.setdefault(package, {})[version] = content
        self.tags.setdefault(package, {}).update(dict.fromkeys(tags, version))
        return 200, f"{package}/{version}"

    def download(self, package: str, name: str) -> tuple[int, str]:
        """The YAML of a version or of a tag."""
        version = self.tags.get(package, {}).get(name, name)
        content = self.files.get(package, {}).get(version)
        return (404, "Requested entity was not found.") if content is None else (200, content.decode())


class _Handler(BaseHTTPRequestHandler):
    registry: ArtifactRegistry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = email.message_from_bytes(f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + body)
        fields = {part.get_param("name", header="content-disposition"): part for part in parts.get_payload()}
        tags = fields["tags"].get_payload().split(",") if "tags" in fields else []
        at_home = self.path == "/test/pipelines"
        self._answer("Upload", at_home, lambda: self.registry.upload(fields["content"].get_payload(decode=True), tags))

    def do_GET(self) -> None:
        found = re.fullmatch("/test/pipelines/([^/]+)/([^/]+)", self.path)
        self._answer("Download", bool(found), lambda: self.registry.download(*found.groups()))

    def _answer(self, method: str, at_home: bool, handle: Callable[[], tuple[int, str]]) -> None:
        fault = self.registry.faults.next(method)
        if fault == "timeout":
            time.sleep(0.2)
        if not self.registry.admits(self.headers.get("Authorization", "")):
            status, text = 401, "Request had invalid authentication credentials."
        elif not at_home:
            status, text = 404, "Repository not found."
        else:
            status, text = (0, "") if fault in ("error", "timeout", "throttled") else handle()
        if fault == "lost":
            self.close_connection = True
            self.connection.close()
            return
        status, text = (_STATUS[fault], f"{method} failed") if fault else (status, text)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Nothing is printed."""
