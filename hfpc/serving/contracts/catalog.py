"""Every contract and probe that a server answers."""

from hfpc.serving.contracts import Contract, Probe, health, hub
from hfpc.serving.hosting import Hosting


def contracts(hosting: Hosting) -> list[Contract]:
    """Ways to ask for predictions; the first with a path is the one that answers there."""
    return [hub.CONTRACT]


def probes(hosting: Hosting) -> list[Probe]:
    """Ways to ask about the server; the first with a path is the one that answers there."""
    return health.probes(hosting)
