"""Registering and deploying models: one file a platform.

Every platform offers `register` -> `RegisteredModel`, `deploy` -> `Endpoint`, `predict` and
`undeploy`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model that a registry keeps.

    Attributes:
        uri: Where its files are.
        registry: The registry: a folder, or what the platform calls it.
        name: Name of the model in it.
        version: Its version, as the registry counts.
        fingerprint: SHA-256 of weights, configuration and tokenizer files.
    """

    uri: str
    registry: str
    name: str
    version: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A registered model that serves.

    Attributes:
        uri: Where the endpoint is kept.
        registry: The registry that the model is in.
        name: Name of the model.
        version: The version that serves.
        alias: The alias that serves it.
        previous_version: The version that served before; "" for none.
        moved: Whether deploying moved the alias; False where the version served already.
    """

    uri: str
    registry: str
    name: str
    version: str
    alias: str
    previous_version: str
    moved: bool
