"""One node of a fine-tuning whose data and outputs lie in a store: what the pods of a TrainJob run.

`python -m hfpc.training.node TOKENIZED OUT SETTINGS PROCESSES`: URIs of the tokenized data set and of where the outputs
go, the settings of `FinetuneConfig` as JSON, and how many processes must train together; `--check SETTINGS` only looks
whether the settings can be used. Node 0 writes the outputs:
`model`, `curves.html`, `tensorboard`. A node that cannot train leaves its reason beside them, in `failures`, and takes
it away when it is started again.
"""

import json
import os
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from hfpc import storage
from hfpc.errors import ArgumentError, HfpcError
from hfpc.training.finetune import FinetuneConfig
from hfpc.training.launch import launch, read_cluster


def train(tokenized: str, out: str, settings: str, processes: int) -> None:
    """Trains with the other nodes that the environment tells of, and writes the outputs if this is node 0.

    Args:
        tokenized: URI or path of a tokenized data set.
        out: URI or path below which outputs are written.
        settings: Settings of `FinetuneConfig`, as JSON.
        processes: Processes that must train together, on all nodes; 0 takes what there are.

    Raises:
        HfpcError: Training failed; the reason is in `failures` too.
    """
    rank = 0
    try:
        rank = read_cluster(os.environ).rank
        _remove(_failure(out, rank))
        with tempfile.TemporaryDirectory(prefix="hfpc-node-") as scratch:
            _train(Path(scratch), tokenized, out, _config(settings), processes, rank)
    except HfpcError as error:
        _write(_failure(out, rank), str(error))
        raise


def _config(settings: str) -> FinetuneConfig:
    """The settings, with whole numbers as such: pipelines pass fractions only."""
    given = json.loads(settings)
    known = {each.name: each.type for each in fields(FinetuneConfig)}
    if unknown := sorted(given.keys() - known.keys()):
        raise ArgumentError("training", unknown, f"give some of {', '.join(known)}")
    for name, value in given.items():
        if known[name] in (int, "int") and isinstance(value, float) and value.is_integer():
            given[name] = int(value)
    return FinetuneConfig(**given)


def _train(scratch: Path, tokenized: str, out: str, config: FinetuneConfig, processes: int, rank: int) -> None:
    made = scratch / "made"
    data = storage.local_folder(tokenized, scratch / "tokenized", "tokenized")
    launch(config, data, made / "model", made / "curves.html", made / "tensorboard", processes=processes)
    if rank:
        return
    _write(f"{out}/curves.html", (made / "curves.html").read_text(encoding="utf-8"))
    if (made / "tensorboard").is_dir():
        storage.upload(made / "tensorboard", f"{out}/tensorboard", "output_uri")
    storage.upload(made / "model", f"{out}/model", "output_uri")  # the last: who waits looks for its hfpc.json


def _failure(out: str, rank: int) -> str:
    return f"{out}/failures/node-{rank}.txt"


def _remove(uri: str) -> None:
    """Removes a file if it is there: what a node said before it was started again no longer holds."""
    with storage.reaching(uri, "output_uri"):
        store, path = storage.filesystem(uri, "output_uri")
        if store.exists(path):
            store.rm_file(path)


def _write(uri: str, text: str) -> None:
    with storage.reaching(uri, "output_uri"):
        store, path = storage.filesystem(uri, "output_uri")
        storage.make_folder(store, path.rpartition("/")[0])
        store.pipe_file(path, text.encode())


if __name__ == "__main__":
    try:
        if sys.argv[1] == "--check":
            _config(sys.argv[2])
        else:
            train(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
    except HfpcError as problem:
        raise SystemExit(str(problem)) from problem
