"""Contexts of the loopback Vertex AI: experiments, and the records of runs that belong to them."""

import re

from google.cloud import aiplatform_v1 as v1

from tests.cloud.vertex_resources import Resources
from tests.cloud.vertex_wire import VertexError

_STORE = re.compile(r"projects/[a-z0-9-]+/locations/[a-z0-9-]+/metadataStores/default")
_CONTEXT_ID = re.compile("[a-z0-9][a-z0-9-]{0,127}")


class Metadata(Resources):
    """MetadataService, as far as experiments need it."""

    def GetContext(self, request: v1.GetContextRequest) -> v1.Context:
        return self.get(request.name, "Context")

    def CreateContext(self, request: v1.CreateContextRequest) -> v1.Context:
        if not _STORE.fullmatch(request.parent):
            raise VertexError("NOT_FOUND", f"MetadataStore {request.parent} is not found.")
        if not _CONTEXT_ID.fullmatch(request.context_id):
            raise VertexError("INVALID_ARGUMENT", f"Invalid context_id {request.context_id!r}")
        context = v1.Context(request.context)
        context.name = f"{request.parent}/contexts/{request.context_id}"
        if context.name in self.objects:
            raise VertexError("ALREADY_EXISTS", f"Context {context.name} already exists.")
        return self.add(context)

    def AddContextChildren(self, request: v1.AddContextChildrenRequest) -> v1.AddContextChildrenResponse:
        context = self.get(request.context, "Context")
        for name in request.child_contexts:
            child = self.get(name, "Context")
            if context.name not in child.parent_contexts:
                child.parent_contexts.append(context.name)
        return v1.AddContextChildrenResponse()
