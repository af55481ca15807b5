"""Is the server alive, is it ready, what does it serve?"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hfpc.serving.contracts import Probe
from hfpc.serving.hosting import Hosting

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel


def probes(hosting: Hosting) -> list[Probe]:
    """Liveness, readiness, and what is served."""
    ready = [
        Probe(path=path, summary="200 once the model is warm", content=_ok)
        for path in dict.fromkeys((hosting.health_route, "/health", "/ping", "/ready"))
    ]
    alive = Probe(path="/live", summary="200 while the process runs", content=_ok, needs_model=False)
    return [*ready, alive, Probe(path="/", summary="What is served", content=_describe)]


def _ok(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    return {"status": "ok"}


def _describe(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    assert model is not None
    return {
        "status": "alive",  # what KServe's client looks for
        "model": model.name,
        "version": model.version,
        "task": model.engine.task,
        "fingerprint": model.fingerprint,
    }
