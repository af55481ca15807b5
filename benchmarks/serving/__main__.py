"""Runs the benchmark: `python -m benchmarks.serving [--model FOLDER] [--optimized FOLDER] …`."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving import batch, models, official_stack
from benchmarks.serving.comparison import Settings, compare
from hfpc.errors import HfpcError


def main() -> int:
    """Measures, prints and writes what was found; returns 1 when it could not be measured."""
    arguments = _arguments()
    # Told to stop, it still ends the servers: they are process groups of their own.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    settings = Settings(
        clients=arguments.clients,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        official_threads=arguments.official_threads,
    )
    found: dict[str, Any] = {}
    try:
        official_stack.find_java()
        models.FOLDER.mkdir(parents=True, exist_ok=True)
        subject = models.subject(arguments.model, arguments.optimized)
        found["serving"] = compare(subject, settings)
        found["batch_predict"] = batch.compare(subject)
    except HfpcError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--model", type=_model, help="model folder; by default MiniLM is fine-tuned and optimized")
    parser.add_argument("--optimized", type=_model, help="what `optimize` made of it, for ours; by default the same")
    parser.add_argument("--clients", type=_positive(int), nargs="+", default=[1, 8, 32], help="clients at once")
    parser.add_argument("--rounds", type=_positive(int), default=2, help="measured starts of each side (2)")
    parser.add_argument("--seconds", type=_positive(float), default=10.0, help="length of each measurement (10)")
    parser.add_argument(
        "--official-threads",
        type=_positive(int),
        default=1,
        help="torch's threads in each of the official stack's two workers. One (the default) suits it best on two "
        "cores; without being told, each worker takes as many as there are cores, and they wait for each other",
    )
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    arguments = parser.parse_args()
    if arguments.optimized and not arguments.model:
        parser.error("--optimized needs --model, the model that it was made of")
    return arguments


def _model(text: str) -> Path:
    folder = Path(text).absolute()
    if not (folder / "hfpc.json").exists():
        raise argparse.ArgumentTypeError(f"{text} is not a model folder: it has no hfpc.json")
    return folder


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if not (value := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text}: give more than 0")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
