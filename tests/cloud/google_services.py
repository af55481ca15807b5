"""Google Cloud's REST services on loopback, as far as looking before a submission needs them, over plain HTTP.

Each service answers below a path of its name (`…/iam/v1/projects/…`). Like Google they take only the tokens that the
token server gave, here for a service account's signed request. A registry of images answers at `/v2/`: where it is
called by a name of Artifact Registry it takes Google's tokens, else it gives anybody one of its own. Any other request
is answered 501 and kept, so that a client that starts to need more is noticed.
"""

import contextlib
import json
import re
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

CALLER = "caller@test.iam.gserviceaccount.com"
AUDIENCE = "https://oauth2.googleapis.com/token"
APIS = (
    "aiplatform",
    "cloudkms",
    "cloudresourcemanager",
    "compute",
    "iam",
    "policytroubleshooter",
    "serviceusage",
    "storage",
)


@dataclass
class Bucket:
    """A bucket: what the JSON API says of it, its objects, and what the caller may do."""

    about: dict[str, Any] = field(default_factory=lambda: {"location": "US-CENTRAL1", "locationType": "region"})
    objects: set[str] = field(default_factory=set)
    permissions: set[str] = field(default_factory=set)


@dataclass
class Account:
    """A service account, and whether the caller may act as it."""

    disabled: bool = False
    may_be_acted_as: bool = True


@dataclass
class World:
    """What there is in the cloud.

    Attributes:
        project: Id of the only project, whose number is 123456.
        state: Its state.
        permissions: What the caller may do in it.
        enabled: APIs that are switched on.
        regions: Where Vertex AI is.
        buckets: Name to bucket.
        accounts: E-mail address to service account.
        granted: Principal, permission and full resource name, as Policy Troubleshooter finds them.
        types: "machineTypes" or "acceleratorTypes" to name, to zones and what else the API says of it.
        limits: Quota metric to region ("" for all others) to limit.
        jobs: Id to state of the pipeline jobs.
        endpoints: Name to JSON of the endpoints.
        resources: Full name of a key or a network to its JSON.
        images: Image with tag.
    """

    project: str = "test"
    state: str = "ACTIVE"
    permissions: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    regions: set[str] = field(default_factory=set)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    granted: set[tuple[str, str, str]] = field(default_factory=set)
    types: dict[str, dict[str, tuple[list[str], dict[str, Any]]]] = field(default_factory=dict)
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)


class RefusedError(Exception):
    """An error that the client is to see: HTTP status and canonical code."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status, self.code = status, code


Query = dict[str, list[str]]


class GoogleServices:
    """The services.

    Attributes:
        world: What they tell about; a test may put another.
        refused: APIs that answer 403; of "pull-token" nobody gets a token of the image registry without a password.
        hanging: APIs that do not answer until the block of `serve` ends, or what else stands first in a path.
        calls: Method, path and body of what was asked, in order.
        unknown_requests: What was answered 501.
        url: Address of all of them.
    """

    def __init__(self) -> None:
        self.world = World()
        self.refused: set[str] = set()
        self.hanging: set[str] = set()
        self.calls: list[str] = []
        self.unknown_requests: list[str] = []
        self.url = ""
        self._tokens: set[str] = set()
        self._pull_tokens: set[str] = set()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._ended = threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead clients here."""
        return {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"{self.url}/{api}" for api in APIS}

    def write_credentials(self, file: Path) -> Path:
        """Writes the key file of the caller's service account."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": self.world.project,
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": CALLER,
            "token_uri": f"{self.url}/token",
        }
        file.write_text(json.dumps(content))
        return file

    def token(self, body: bytes) -> dict[str, Any]:
        """A token for a request that the caller's key signed."""
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        try:
            claims = jwt.decode(parse_qs(body.decode())["assertion"][0], certs=public, audience=AUDIENCE)
        except Exception as error:
            raise RefusedError(400, "invalid_grant") from error
        assert claims["iss"] == CALLER
        self._tokens.add(token := f"ya29.{secrets.token_hex(16)}")
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    def answer(self, method: str, host: str, path: str, query: Query, authorization: str, body: bytes) -> Any:
        """The JSON of an answer; None for none."""
        first = path.split("/")[1]
        if first in self.hanging:
            self._ended.wait()
        if first == "token":
            return self.token(body)
        if first == "v2":
            return self._image(host, path, authorization)
        if first == "pull-token" and first not in self.refused:
            self._pull_tokens.add(token := secrets.token_hex(16))
            return {"token": token}
        if authorization.removeprefix("Bearer ") not in self._tokens:
            raise RefusedError(401, "UNAUTHENTICATED")
        if first in self.refused:
            raise RefusedError(403, "PERMISSION_DENIED", f"{first} refuses")
        for verb, pattern, handler in ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)):
                content = json.loads(body) if body else {}
                return handler(self.world, query, content, *map(unquote, found.groups()))
        self.unknown_requests.append(f"{method} {path}")
        raise RefusedError(501, "UNIMPLEMENTED")

    def _image(self, host: str, path: str, authorization: str) -> None:
        tokens = self._tokens if host.endswith(".pkg.dev") else self._pull_tokens
        if authorization.removeprefix("Bearer ") not in tokens:
            raise RefusedError(401, "UNAUTHORIZED")
        name, _, tag = path.removeprefix("/v2/").partition("/manifests/")
        if f"{name}:{tag}" not in self.world.images:
            raise RefusedError(404, "MANIFEST_UNKNOWN")

    @contextlib.contextmanager
    def also_over_tls(self, certificate: Path, key: Path) -> Iterator[int]:
        """Serves over TLS, too, while the block runs; gives the port."""
        server = _Server(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @contextlib.contextmanager
    def serve(self) -> Iterator["GoogleServices"]:
        """Serves in threads, on a free port, while the block runs."""
        server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # threads may hang on purpose
    request_queue_size = 64  # of a shorter queue the system drops connections, which are tried again a second later


def _handler(services: GoogleServices) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            services.calls.append(f"{self.command} {self.path} {body.decode()}")
            headers = {}
            try:
                authorization = self.headers.get("Authorization", "")
                query = parse_qs(parts.query)
                host = self.headers.get("Host", "")
                status, content = 200, services.answer(self.command, host, parts.path, query, authorization, body)
            except RefusedError as error:
                status = error.status
                content = {"error": {"code": error.status, "message": str(error), "status": error.code}}
                if parts.path == "/token":
                    content = {"error": error.code, "error_description": str(error)}
                if parts.path.startswith("/v2/"):
                    headers["WWW-Authenticate"] = f'Bearer realm="{services.url}/pull-token",service="loopback"'
            self.send_response(status)
            data = b"" if self.command == "HEAD" else json.dumps(content).encode()
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(data)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a client that has given up
                self.wfile.write(data)

        do_POST = do_HEAD = do_GET

        def log_message(self, *arguments: Any) -> None:
            """Keeps quiet."""

    return Handler


def _found(table: dict[str, Any], name: str) -> Any:
    if name not in table:
        raise RefusedError(404, "NOT_FOUND", f"{name} was not found")
    return table[name]


def _in_project(world: World, project: str) -> None:
    if project != world.project:
        raise RefusedError(403, "PERMISSION_DENIED", f"no access to {project} (or it may not exist)")


def _project(world: World, query: Query, content: Any, project: str) -> Any:
    _in_project(world, project)
    return {"name": "projects/123456", "projectId": project, "state": world.state}


def _project_permissions(world: World, query: Query, content: Any, project: str) -> Any:
    _in_project(world, project)
    return {"permissions": [name for name in content["permissions"] if name in world.permissions]}


def _services(world: World, query: Query, content: Any, project: str) -> Any:
    _in_project(world, project)
    states = {True: "ENABLED", False: "DISABLED"}
    return {
        "services": [{"name": name, "state": states[name.split("/")[-1] in world.enabled]} for name in query["names"]]
    }


def _quota(world: World, query: Query, content: Any, project: str, metric: str) -> Any:
    _in_project(world, project)
    buckets = []
    for region, limit in sorted(_found(world.limits, metric.split("/")[-1]).items()):
        bucket: dict[str, Any] = {"effectiveLimit": str(limit)} if limit else {}  # as JSON of protobuf leaves a 0 out
        buckets.append({**bucket, "dimensions": {"region": region}} if region else bucket)
    limits = [{"metric": metric, "unit": "1/{project}/{region}", "quotaBuckets": buckets}]
    return {"metric": metric, "consumerQuotaLimits": limits}


def _locations(world: World, query: Query, content: Any, project: str) -> Any:
    _in_project(world, project)
    return {"locations": [{"locationId": region} for region in sorted(world.regions)]}


def _job(world: World, query: Query, content: Any, project: str, job: str) -> Any:
    _in_project(world, project)
    return {"name": job, "state": _found(world.jobs, job)}


def _endpoint(world: World, query: Query, content: Any, project: str, name: str) -> Any:
    _in_project(world, project)
    return {"name": name, **_found(world.endpoints, name)}


def _account(world: World, query: Query, content: Any, email: str) -> Any:
    account = _found(world.accounts, email)
    return {"email": email, "disabled": True} if account.disabled else {"email": email}


def _account_permissions(world: World, query: Query, content: Any, email: str) -> Any:
    may = _found(world.accounts, email).may_be_acted_as
    return {"permissions": content["permissions"]} if may else {}


def _bucket(world: World, query: Query, content: Any, name: str) -> Any:
    return {"name": name, **_found(world.buckets, name).about}


def _bucket_permissions(world: World, query: Query, content: Any, name: str) -> Any:
    held = _found(world.buckets, name).permissions
    return {"permissions": [permission for permission in query["permissions"] if permission in held]}


def _objects(world: World, query: Query, content: Any, name: str) -> Any:
    found = sorted(key for key in _found(world.buckets, name).objects if key.startswith(query.get("prefix", [""])[0]))
    return {"items": [{"name": key} for key in found[: int(query["maxResults"][0])]]} if found else {}


def _object(world: World, query: Query, content: Any, name: str, key: str) -> Any:
    return {"name": _found({key: key for key in _found(world.buckets, name).objects}, key)}


def _troubleshoot(world: World, query: Query, content: Any) -> Any:
    asked = content["accessTuple"]
    kind, _, project = asked["fullResourceName"].partition("/projects/")
    if kind == "//cloudresourcemanager.googleapis.com" and project != world.project:
        return {"access": "UNKNOWN_INFO_DENIED"}  # its policy cannot be read
    held = (asked["principal"], asked["permission"], asked["fullResourceName"]) in world.granted
    return {"access": "GRANTED" if held else "NOT_GRANTED"}


def _aggregated(world: World, query: Query, content: Any, project: str, kind: str) -> Any:
    """One page for each type that the filter names."""
    _in_project(world, project)
    names = re.findall(r'name = "([^"]+)"', query["filter"][0])
    number = int(query.get("pageToken", ["0"])[0])
    zones, about = world.types[kind].get(names[number], ([], {}))
    items = {f"zones/{zone}": {kind: [{"name": names[number], **about}]} for zone in zones}
    return {"items": items, **({"nextPageToken": str(number + 1)} if number + 1 < len(names) else {})}


def _resource(world: World, query: Query, content: Any, name: str) -> Any:
    return _found(world.resources, name)


ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", r"/cloudresourcemanager/v3/projects/([^/:]+)", _project),
    ("POST", r"/cloudresourcemanager/v3/projects/([^/:]+):testIamPermissions", _project_permissions),
    ("GET", r"/serviceusage/v1/projects/([^/]+)/services:batchGet", _services),
    ("GET", r"/serviceusage/v1beta1/projects/([^/]+)/services/[^/]+/consumerQuotaMetrics/([^/]+)", _quota),
    ("GET", r"/aiplatform/v1/projects/([^/]+)/locations", _locations),
    ("GET", r"/aiplatform/v1/projects/([^/]+)/locations/[^/]+/pipelineJobs/([^/]+)", _job),
    ("GET", r"/aiplatform/v1/projects/([^/]+)/locations/[^/]+/endpoints/([^/]+)", _endpoint),
    ("GET", r"/iam/v1/projects/[^/]+/serviceAccounts/([^/:]+)", _account),
    ("POST", r"/iam/v1/projects/[^/]+/serviceAccounts/([^/:]+):testIamPermissions", _account_permissions),
    ("GET", r"/storage/storage/v1/b/([^/]+)", _bucket),
    ("GET", r"/storage/storage/v1/b/([^/]+)/iam/testPermissions", _bucket_permissions),
    ("GET", r"/storage/storage/v1/b/([^/]+)/o", _objects),
    ("GET", r"/storage/storage/v1/b/([^/]+)/o/([^/]+)", _object),
    ("POST", r"/policytroubleshooter/v1/iam:troubleshoot", _troubleshoot),
    ("GET", r"/compute/compute/v1/projects/([^/]+)/aggregated/(\w+)", _aggregated),
    ("GET", r"/compute/compute/v1/(projects/[^/]+/global/networks/[^/]+)", _resource),
    ("GET", r"/cloudkms/v1/(projects/.+/cryptoKeys/[^/]+)", _resource),
]
"""HTTP method, pattern of the path, and what answers it."""
