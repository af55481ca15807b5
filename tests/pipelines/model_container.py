"""What SageMaker on loopback starts for an image: this project's server, with the model that a deployment put on S3."""

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx

from tests.sinks.sagemaker_place import running

KEY = "container"
"""Access key that the container fetches its model with: on SageMaker that of the endpoint's role."""


class ModelContainer:
    """Fetches the model that SageMaker was told of last, as SageMaker does, and serves it; each model once.

    Attributes:
        fetched: `s3://…` of the models that were fetched.
    """

    def __init__(self, folder: Path, stack: ExitStack, url: str) -> None:
        self.fetched: list[str] = []
        self._folder, self._stack, self._url = folder, stack, url
        self._addresses: dict[str, str] = {}
        self._lock = threading.Lock()

    def address(self) -> str:
        """Where the server listens."""
        with self._lock:
            uri = self._newest()
            if uri not in self._addresses:
                self._addresses[uri] = self._stack.enter_context(running(self._fetch(uri)))
            return self._addresses[uri]

    def _newest(self) -> str:
        sagemaker = self._client("sagemaker")
        newest = max(sagemaker.list_models()["Models"], key=lambda model: model["CreationTime"])
        container = sagemaker.describe_model(ModelName=newest["ModelName"])["PrimaryContainer"]
        return str(container.get("ModelDataUrl") or container["ModelDataSource"]["S3DataSource"]["S3Uri"])

    def _fetch(self, uri: str) -> Path:
        """A folder or an archive of S3 as a folder, which is `/opt/ml/model` on SageMaker."""
        folder = self._folder / str(len(self.fetched))
        folder.mkdir(parents=True)
        self.fetched.append(uri)
        s3 = self._client("s3")
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            content = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            if uri.endswith(".tar.gz"):
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    archive.extractall(folder, filter="data")
            else:
                file = folder / item["Key"].removeprefix(prefix)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        return folder

    def _client(self, service: str) -> Any:
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY, "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self._url, **keys)


class _Server(ThreadingHTTPServer):
    container: ModelContainer


class _Port(BaseHTTPRequestHandler):
    """Hands requests on to the server, and waits for its start."""

    server: _Server

    def do_GET(self) -> None:
        self._hand_on()

    def do_POST(self) -> None:
        self._hand_on()

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: self.headers[name] for name in ("Accept", "Content-Type") if self.headers[name]}
        asked = f"{self.server.container.address()}{self.path}"
        answer = httpx.request(self.command, asked, content=body, headers=headers, timeout=60, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/octet-stream"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def started_when_asked(folder: Path, url: str) -> Iterator[tuple[ModelContainer, str]]:
    """A container, and the address of its port, while the block runs.

    Args:
        folder: Where models are kept.
        url: Address of the loopback's Amazon Web Services.
    """
    with ExitStack() as stack:
        server = _Server(("127.0.0.1", 0), _Port)
        server.container = ModelContainer(folder, stack, url)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(server.server_close)
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield server.container, f"http://127.0.0.1:{server.server_port}"
