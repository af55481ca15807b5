"""The ways into the loopback cluster: requests find their service by the host that they name.

Who asks the gateway itself comes from outside. Who takes it for an HTTP proxy is in a pod: there the cluster's own
names lead to services, and no others do.
"""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.cloud.kubernetes import Kubernetes
from tests.cloud.kubernetes_kserve import INSIDE, KServe, Revision, Service, uri_of


class Gateway:
    """Divides requests between revisions by their shares, one hundred after another.

    Attributes:
        answered: Host that was asked, and what the model that answered was loaded from.
        address: `http://HOST:PORT`.
    """

    def __init__(self, cluster: Kubernetes, kserve: KServe) -> None:
        self.answered: list[tuple[str, str]] = []
        self.address = ""
        self.cluster = cluster
        self._kserve = kserve
        self._numbers = itertools.count()
        self._client = httpx.Client(timeout=60, trust_env=False)

    @contextlib.contextmanager
    def serve(self) -> Iterator["Gateway"]:
        """Serves in threads, on a free port, while the block runs."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.gateway = self
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            self._client.close()

    def answer(self, host: str, path: str, body: bytes) -> tuple[int, bytes]:
        """What the service of a host answers."""
        with self.cluster.lock:
            revision, path = self._revision(host, path)
        if revision is None:
            return 404, b""
        given = self._client.post(f"{self._kserve.containers.address(revision.predictor)}{path}", content=body)
        uri = uri_of(revision.predictor)
        self.answered.append((host, uri))
        if "model" not in revision.predictor or given.is_error:
            return given.status_code, given.content
        labels = self._kserve.containers.labels(uri)
        return 200, json.dumps(
            {"predictions": [_number(each, labels) for each in given.json()["predictions"]]}
        ).encode()

    def _revision(self, host: str, path: str) -> tuple[Revision | None, str]:
        """What answers, and the path that it is asked for."""
        for key, found in self.cluster.objects.items():
            if key[0] != "inferenceservices":
                continue
            service = self._kserve.services.get(found["metadata"]["uid"])
            if service is None:
                continue
            if host in service.tags:
                return service.revision(service.tags[host]), path
            status = found["status"]
            for place in map(urlsplit, (status.get("url", ""), status.get("address", {}).get("url", ""))):
                if host == place.netloc and path.startswith(f"{place.path}/"):
                    return self._by_share(service), path.removeprefix(place.path)
        return None, path

    def _by_share(self, service: Service) -> Revision | None:
        number = next(self._numbers) * 37 % 100
        for name, share in service.traffic.items():
            if number < share:
                return service.revision(name)
            number -= share
        return None


def _number(response: list[dict[str, Any]], labels: list[str]) -> int:
    """What KServe's Hugging Face runtime answers for a text: the number of the likeliest label."""
    return labels.index(max(response, key=lambda item: item["score"])["label"])


class _Server(ThreadingHTTPServer):
    gateway: Gateway
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gateway = self.server.gateway
        fault = gateway.cluster.faults.next("predict")
        refusals = {"error": 503, "throttled": 429, "timeout": 504}
        if fault in refusals:
            return self._send(refusals[fault], b"injected")
        host, asked = self.headers["Host"].partition(":")[0], urlsplit(self.path)
        if bool(asked.netloc) != host.endswith(f".{INSIDE}"):
            return self._send(502 if asked.netloc else 404, b"no such host")
        code, content = gateway.answer(host, asked.path, body)
        if fault == "lost":
            self.close_connection = True
            return None
        return self._send(code, content)

    def log_message(self, *arguments: Any) -> None:
        pass

    def _send(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
