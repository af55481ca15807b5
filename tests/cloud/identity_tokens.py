"""A Google service account whose identity tokens are given out on loopback."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "trainer@test.iam.gserviceaccount.com"
UNIQUE_ID = "112233445566778899001"


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        audience = _claims(asked["assertion"][0])["target_audience"]
        given = token(iss="https://accounts.google.com", aud=audience, sub=UNIQUE_ID, exp=int(time.time()) + 3600)
        content = json.dumps({"id_token": given}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def token(**claims: Any) -> str:
    """A token with these claims, and a signature that is none."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims, "signature")
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


@contextmanager
def service_account(folder: Path) -> Iterator[Path]:
    """Writes a file for `GOOGLE_APPLICATION_CREDENTIALS`, whose tokens are given out while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }
    file = folder / "service-account.json"
    file.write_text(json.dumps(content))
    try:
        yield file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
