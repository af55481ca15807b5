"""The application in this process, as `hfpc.serving.server` makes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from starlette.applications import Starlette
from starlette.testclient import TestClient

from hfpc.inference.predictor import Predictor
from hfpc.serving import hosting
from hfpc.serving.app import Slot, create_app
from hfpc.serving.contracts import catalog
from hfpc.serving.engine import Engine, PredictionEngine, ServedModel
from hfpc.serving.limits import Limits
from hfpc.serving.telemetry import Telemetry

NAME, VERSION, FINGERPRINT = "tweets@champion", "3", "ab"


def application(
    predictor: Predictor | None,
    *,
    engine: Engine | None = None,
    limits: Limits | None = None,
    environment: dict[str, str] | None = None,
    slot: Slot | None = None,
    log: IO[str] | None = None,
    log_inputs: bool = False,
) -> Starlette:
    """An application that serves a predictor, or an engine, or nothing yet."""
    limits, slot = limits or Limits(), slot or Slot()
    telemetry = Telemetry(
        waiting=lambda: slot.model.engine.waiting if slot.model else 0, log=log, log_inputs=log_inputs
    )
    platform = hosting.from_environment(environment or {})
    if predictor is not None:
        engine = PredictionEngine(predictor, limits, telemetry.count_batch)
    if engine is not None:
        slot.model = ServedModel(engine=engine, name=NAME, version=VERSION, fingerprint=FINGERPRINT)
    return create_app(
        slot,
        contracts=catalog.contracts(platform),
        probes=catalog.probes(platform),
        limits=limits,
        telemetry=telemetry,
    )


@contextmanager
def serving(folder: Path, **options) -> Iterator[TestClient]:
    """A client of an application that serves a model folder; one event loop for all its requests."""
    with TestClient(application(Predictor(folder), **options), raise_server_exceptions=False) as client:
        yield client
