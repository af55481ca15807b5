"""A proxy that leads HTTPS for any host to one server of this machine, for clients that know their hosts by name."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from socketserver import StreamRequestHandler, ThreadingTCPServer


@contextlib.contextmanager
def tunnel(port: int) -> Iterator[tuple[str, list[str]]]:
    """Tunnels to a port while the block runs.

    Args:
        port: Port of a server that speaks TLS.

    Yields:
        Address for `HTTPS_PROXY`, and the list that the asked hosts are written to.
    """
    hosts: list[str] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            hosts.append(self.rfile.readline().decode().split()[1])
            while self.rfile.readline().strip():
                pass
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(server, self.request), daemon=True)
                back.start()
                _pump(self.request, server)
                back.join()

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}", hosts
        finally:
            proxy.shutdown()
            thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
