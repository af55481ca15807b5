"""An S3 that counts what is uploaded to it, checks every checksum, and keeps nothing: for models of gigabytes."""

import base64
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BLOCK = 1 << 20
XML = '<?xml version="1.0" encoding="UTF-8"?>'


class S3Drain:
    """What was uploaded.

    Attributes:
        received: Bytes.
        checked: How many bodies had the checksum they were sent with.
        wrong: Paths of those that had not.
        completed: Paths of the objects that were completed, in order.
        url: Address for `AWS_ENDPOINT_URL`.
    """

    def __init__(self) -> None:
        self.received = self.checked = 0
        self.wrong: list[str] = []
        self.completed: list[str] = []
        self.url = ""
        self._lock = threading.Lock()

    def took(self, path: str, size: int, correct: bool) -> None:
        """Counts a body."""
        with self._lock:
            self.received += size
            self.checked += correct
            self.wrong += [] if correct else [path]

    @contextmanager
    def serve(self) -> Iterator["S3Drain"]:
        """Serves in threads, on a free port, while the block runs."""
        drain = self

        class Handler(_Handler):
            taker = drain

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the second half of an answer waits for 40 ms
    taker: S3Drain

    def do_HEAD(self) -> None:
        self._send("", **{"x-amz-bucket-region": "us-east-1"})

    def do_GET(self) -> None:
        self._send(f"{XML}<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    def do_PUT(self) -> None:
        size = left = int(self.headers["Content-Length"])
        checksum = 0
        while left:
            block = self.rfile.read(min(BLOCK, left))
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        encoded = base64.b64encode(checksum.to_bytes(4, "big")).decode()
        self.taker.took(self.path, size, self.headers.get("x-amz-checksum-crc32") == encoded)
        if "partNumber" not in self.path:
            self.taker.completed.append(urlsplit(self.path).path)
        self._send("", **{"ETag": '"1"', "x-amz-checksum-crc32": encoded})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if "uploads" in parse_qs(urlsplit(self.path).query, keep_blank_values=True):
            begun = "<UploadId>1</UploadId>"
            self._send(f"{XML}<InitiateMultipartUploadResult>{begun}</InitiateMultipartUploadResult>")
            return
        numbers = [int(number) for number in re.findall(r"<PartNumber>(\d+)<", body)]
        if numbers == list(range(1, len(numbers) + 1)):
            self.taker.completed.append(urlsplit(self.path).path)
        ended = '<ETag>"1"</ETag>'
        self._send(f"{XML}<CompleteMultipartUploadResult>{ended}</CompleteMultipartUploadResult>")

    def _send(self, text: str, **headers: str) -> None:
        content = text.encode()
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass
