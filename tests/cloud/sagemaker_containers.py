"""How the SageMaker on loopback asks the servers that stand for containers."""

import httpx

_CLIENT = httpx.Client(timeout=60, trust_env=False, limits=httpx.Limits(keepalive_expiry=1.0))
"""One for all requests: making one takes longer than most answers."""


def ping(address: str) -> bool:
    """Whether a container is healthy."""
    try:
        return bool(address) and _CLIENT.get(f"{address}/ping").is_success
    except httpx.TransportError:
        return False


def invoke(address: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """What a container answers."""
    return _CLIENT.post(f"{address}/invocations", content=content, headers=headers)
