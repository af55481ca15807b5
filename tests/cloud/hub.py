"""A Hugging Face Hub on loopback: what downloading models and data sets needs, and nothing else.

Repositories are folders given as `{path: bytes}` commits. Any other request is answered 501, so that a
client that starts to need more is noticed. Point clients at it with `HF_ENDPOINT`.
"""

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CREATED = "2026-01-01T00:00:00.000Z"


@dataclass
class Repository:
    """Commits (SHA to files), the commit that each branch or tag means, and the token without which files are gated."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    token: str = ""

    def commit(self, files: dict[str, bytes], *tags: str) -> str:
        """Adds a commit on `main` with exactly these files; returns its SHA."""
        content = b"".join(path.encode() + data for path, data in sorted(files.items()))
        sha = hashlib.sha1(f"{len(self.commits)}".encode() + content).hexdigest()
        self.commits[sha] = files
        self.references.update(dict.fromkeys(("main", *tags), sha))
        return sha

    def resolve(self, revision: str) -> str | None:
        """The SHA that a branch, a tag or a SHA means."""
        sha = self.references.get(revision, revision)
        return sha if sha in self.commits else None


class Hub:
    """The repositories, by "models" or "datasets" and their id."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.unknown_requests: list[str] = []
        self.endpoint = ""

    def repository(self, kind: str, name: str, licence: str = "") -> Repository:
        """The repository `name` ("owner/name") of a kind, made where it is new."""
        return self.repositories.setdefault((kind, name), Repository(licence=licence))

    def app(self) -> Starlette:
        api, file = "/api/{kind}/{owner}/{name}", "resolve/{revision}/{path:path}"
        return Starlette(
            routes=[
                Route(api, self._info),
                Route(api + "/revision/{revision:path}", self._info),
                Route(api + "/tree/{revision}", self._tree),
                Route(api + "/tree/{revision}/{path:path}", self._tree),
                Route(api + "/paths-info/{revision}", self._paths_info, methods=["POST"]),
                Route("/datasets/{owner}/{name}/" + file, self._file, methods=["GET", "HEAD"]),
                Route("/{owner}/{name}/" + file, self._file, methods=["GET", "HEAD"]),
                Route("/{rest:path}", self._unknown, methods=["GET", "HEAD", "POST", "PUT", "DELETE"]),
            ]
        )

    @contextlib.contextmanager
    def serve(self) -> Iterator["Hub"]:
        """Serves in a thread, on a free port, while the block runs."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self.app(), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield self
        finally:
            server.should_exit = True
            thread.join()
            listener.close()

    def _find(self, request: Request) -> tuple[str, Repository, str] | Response:
        """Repository id, repository and SHA, or the Hub's answer for what is missing."""
        parameters = request.path_params
        kind = parameters.get("kind") or ("datasets" if request.url.path.startswith("/datasets/") else "models")
        name = f"{parameters['owner']}/{parameters['name']}"
        repository = self.repositories.get((kind, name))
        if repository is None:
            return _missing("RepoNotFound", "Repository not found")
        sha = repository.resolve(parameters.get("revision", "main"))
        if sha is None:
            return _missing("RevisionNotFound", f"Invalid rev id: {parameters['revision']}")
        return name, repository, sha

    async def _info(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        name, repository, sha = found
        return JSONResponse(
            {
                "_id": name,
                "id": name,
                "author": name.partition("/")[0],
                "sha": sha,
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "cardData": {"license": repository.licence} if repository.licence else {},
                "siblings": [{"rfilename": path} for path in sorted(repository.commits[sha])],
                "createdAt": CREATED,
                "lastModified": CREATED,
            }
        )

    async def _tree(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        _, repository, sha = found
        folder = request.path_params.get("path", "")
        prefix = f"{folder}/" if folder else ""
        files = {path: data for path, data in repository.commits[sha].items() if path.startswith(prefix)}
        if folder and not files:
            return _missing("EntryNotFound", f"{folder} does not exist")
        entries = [_entry(path, data) for path, data in files.items()]
        parents = {path.rpartition("/")[0] for path in files}
        folders = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
            for path in parents
            if path != folder and path
        ]
        every = sorted(entries + folders, key=lambda entry: entry["path"])
        if request.query_params.get("recursive", "").lower() != "true":
            every = [entry for entry in every if "/" not in entry["path"].removeprefix(prefix)]
        return JSONResponse(every)

    async def _paths_info(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        _, repository, sha = found
        files = repository.commits[sha]
        if "json" in request.headers.get("content-type", ""):
            paths = (await request.json())["paths"]
        else:
            paths = (await request.form()).getlist("paths")
        return JSONResponse([_entry(path, files[path]) for path in paths if path in files])

    async def _file(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        _, repository, sha = found
        authorization = request.headers.get("authorization", "")
        if repository.token and authorization != f"Bearer {repository.token}":
            message = "Access to this model is restricted"
            return JSONResponse({"error": message}, 403 if authorization else 401, {"X-Error-Code": "GatedRepo"})
        data = repository.commits[sha].get(request.path_params["path"])
        if data is None:
            return _missing("EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        asked = request.headers.get("range", "")
        if asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return Response(data[start : end + 1], 206, headers, "application/octet-stream")
        return Response(data, headers=headers, media_type="application/octet-stream")

    async def _unknown(self, request: Request) -> Response:
        self.unknown_requests.append(f"{request.method} {request.url.path}")
        return JSONResponse({"error": "this test Hub does not know that request"}, 501)


def _entry(path: str, data: bytes) -> dict:
    return {"type": "file", "oid": _oid(data), "size": len(data), "path": path}


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _missing(code: str, message: str) -> Response:
    return JSONResponse({"error": message}, 404, {"X-Error-Code": code, "X-Error-Message": message})
