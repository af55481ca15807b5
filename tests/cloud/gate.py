"""A proxy in front of a loopback store that holds back the content of one file until it is told to let it pass."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

NOT_FORWARDED = ("connection", "content-length", "date", "host", "server", "transfer-encoding")


class Gate:
    """Forwards each request to a store.

    Args:
        store: Address of the store.
        file: End of the path of the file that is held back.

    Attributes:
        opened: Is set to let the file pass.
        asked: How often the file was asked for.
        url: Address of the proxy.
    """

    def __init__(self, store: str, file: str) -> None:
        self.store = store
        self.file = file
        self.opened = threading.Event()
        self.asked = 0
        self.url = ""

    @contextlib.contextmanager
    def serve(self) -> Iterator["Gate"]:
        """Serves in threads, on a free port, while the block runs."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.opened.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or the second half of an answer waits for 40 ms

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.command == "GET" and unquote(urlsplit(self.path).path).endswith(gate.file):
                    gate.asked += 1
                    gate.opened.wait()
                status, headers, content = gate.answer(self.command, self.path, body, dict(self.headers))
                with contextlib.suppress(ConnectionError):  # the client may have ended meanwhile
                    self.send_response(status)
                    for name, value in headers:
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = forward

            def log_message(self, *arguments) -> None:
                pass

        return Handler

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, list, bytes]:
        """Status, headers and body of the store's answer."""
        connection = http.client.HTTPConnection(urlsplit(self.store).netloc)
        passed = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
        try:
            connection.request(method, path, body or None, passed)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        kept = [pair for pair in response.getheaders() if pair[0].lower() not in NOT_FORWARDED]
        length = response.getheader("Content-Length") if method == "HEAD" else str(len(content))
        return response.status, [*kept, ("Content-Length", length or "0")], content
