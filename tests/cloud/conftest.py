"""Loopback servers, and a way to run code against them in a process of its own.

Clients read their endpoints from the environment when they are imported, hence the processes.
"""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cloud.hub import Hub


@pytest.fixture(scope="session")
def hub():
    with Hub().serve() as served:
        yield served


@pytest.fixture(scope="session")
def s3():
    """The endpoint of an empty S3."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def sagemaker():
    """A SageMaker whose endpoints are answered by servers that run."""
    pytest.importorskip("moto.server")
    from tests.cloud.sagemaker import SageMaker

    with SageMaker().serve() as served:
        yield served


@pytest.fixture(scope="session")
def vertex(certificate):
    """A Vertex AI whose endpoints are answered by servers that run."""
    pytest.importorskip("google.cloud.aiplatform_v1")
    from tests.cloud.vertex import Vertex

    with Vertex().serve(*certificate) as served:
        yield served


@pytest.fixture
def web(tmp_path):
    """A folder, and the address a web server serves it at."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def run(tmp_path):
    """Runs code in a fresh process with environment variables; returns the JSON of its last line.

    What the code raises of this library comes back as `{"error": its class, "message": …}`.
    """

    def run_code(code: str, **environment: str):
        wrapped = "\n".join(
            [
                "import json",
                "from hfpc.errors import HfpcError",
                "try:",
                *(f"    {line}" for line in code.strip().splitlines()),
                "except HfpcError as error:",
                "    result = {'error': type(error).__name__, 'message': str(error)}",
                "print(json.dumps(result))",
            ]
        )
        inherited = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        own = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", wrapped],
            env={**inherited, **own, **environment},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run_code
