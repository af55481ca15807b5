"""Vertex AI on loopback, for the official clients: gRPC and REST over TLS.

A method of the API is a method of `Vertex` of the same name, from the SDK's own request to its response. Any other
request is answered UNIMPLEMENTED and kept, so that a client that starts to need more is noticed. Models are served
by this project's own server, in processes of their own. `faults` lets any call go wrong.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.cloud.vertex_batches import Batches
from tests.cloud.vertex_endpoints import PARENT
from tests.cloud.vertex_pipelines import Pipelines
from tests.cloud.vertex_wire import VertexError, served

__all__ = ["PARENT", "Vertex", "VertexError"]


class Vertex(Batches, Pipelines):
    """All services together.

    Attributes:
        address: Host and port of REST, for `api_endpoint` behind `https://`.
        grpc_address: Host and port of gRPC.
    """

    def __init__(self) -> None:
        super().__init__()
        self.grpc_address = ""

    @contextlib.contextmanager
    def serve(self, certificate: Path, key: Path) -> Iterator["Vertex"]:
        """Serves in threads, on free ports, while the block runs."""
        try:
            with served(self, certificate, key) as (self.grpc_address, self.address):
                yield self
        finally:
            self.containers.close()
