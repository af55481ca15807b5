"""Every contract and probe that a server answers."""

from typing import TypeVar

from hfpc.serving.contracts import (
    Contract,
    Probe,
    azure,
    health,
    hub,
    kserve,
    open_inference,
    openai,
    sagemaker,
    vertex,
)
from hfpc.serving.hosting import Hosting

_Route = TypeVar("_Route", Contract, Probe)


def contracts(hosting: Hosting) -> list[Contract]:
    """Ways to ask for predictions, each at a path of its own.

    Where Vertex AI was told a path that is another's, the path is Vertex AI's: nobody else asks there.
    """
    return _first_of_each_path(
        [
            vertex.contract(hosting.predict_route),
            hub.CONTRACT,
            sagemaker.CONTRACT,
            azure.CONTRACT,
            kserve.CONTRACT,
            *open_inference.CONTRACTS,
            *openai.CONTRACTS,
        ]
    )


def probes(hosting: Hosting) -> list[Probe]:
    """Ways to ask about the server, each at a path of its own."""
    return _first_of_each_path([*health.probes(hosting), *kserve.probes(), *open_inference.probes(), *openai.PROBES])


def _first_of_each_path(routes: list[_Route]) -> list[_Route]:
    found: dict[str, _Route] = {}
    for route in routes:
        found.setdefault(route.path, route)
    return list(found.values())
