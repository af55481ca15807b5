"""Who calls: a service account with a real key, and the server that gives it tokens."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "caller@test.iam.gserviceaccount.com"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""What a request for a token is addressed to, wherever it is sent."""


@dataclass(frozen=True)
class Identity:
    """A service account.

    Attributes:
        file: For `GOOGLE_APPLICATION_CREDENTIALS`.
        public_key: PEM of its public key.
        token: What it is given on a signed request.
    """

    file: Path
    public_key: bytes
    token: str

    def admits(self, authorization: str) -> bool:
        """Whether a header bears a token given out here, or one that the account signed itself, as gRPC clients do."""
        from google.auth import jwt

        token = authorization.removeprefix("Bearer ")
        if token == self.token:
            return True
        try:
            return jwt.decode(token, certs=self.public_key)["iss"] == EMAIL
        except (ValueError, KeyError):
            return False

    def may_have_token(self, assertion: str) -> bool:
        """Whether a request for a token is one that the account signed."""
        from google.auth import jwt

        try:
            return jwt.decode(assertion, certs=self.public_key, audience=AUDIENCE)["iss"] == EMAIL
        except (ValueError, KeyError):
            return False


class _Server(ThreadingHTTPServer):
    identity: Identity


class _Tokens(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        identity = self.server.identity
        signed = identity.may_have_token(parse_qs(self.rfile.read(length).decode()).get("assertion", [""])[0])
        given = {"access_token": identity.token, "expires_in": 3600, "token_type": "Bearer"}
        content = json.dumps(given if signed else {"error": "invalid_grant"}).encode()
        self.send_response(200 if signed else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def service_account(folder: Path) -> Iterator[Identity]:
    """Writes an account's file, whose tokens are given out while the block runs."""
    server = _Server(("127.0.0.1", 0), _Tokens)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    content = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": EMAIL,
        "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }
    file = folder / "service-account.json"
    file.write_text(json.dumps(content))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    server.identity = Identity(file, public, secrets.token_urlsafe())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.identity
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
