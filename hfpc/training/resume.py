"""Where a fine-tuning goes on: at the newest checkpoint that every node can have."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc.training.checkpoints import Checkpoints
from hfpc.training.processes import together

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumption:
    """What a process starts from.

    Attributes:
        checkpoint: Folder of the checkpoint to go on from, on this node; None to begin anew.
        keeps_disk: Whether this process looks after the checkpoints on its node's disk: one process
            of each disk does, rank 0 and the first of each node with a disk of its own.
    """

    checkpoint: Path | None
    keeps_disk: bool


def resume(checkpoints: Checkpoints, arguments: Any) -> Resumption:
    """Brings the newest checkpoint that every node can have to the disk of each.

    A node with a disk of its own fetches it from the checkpoint URI. Without a URI, training on such
    nodes always begins anew, and says so.

    Args:
        checkpoints: Those of this process's node.
        arguments: The `TrainingArguments`, which know the ranks.

    Raises:
        ArgumentError: On this node, the checkpoint URI cannot be read or, on rank 0, be written.
        HfpcError: That is so on another node.
    """
    first = arguments.process_index == 0
    run = together(lambda: checkpoints.claim() if first else "")[0]
    shares = together(lambda: checkpoints.is_disk_of(run))[arguments.process_index]
    keeps_disk = first or (arguments.local_process_index == 0 and not shares)
    disks = [steps for steps in together(lambda: checkpoints.available() if keeps_disk else None) if steps is not None]
    common = set.intersection(*disks)
    if first:
        _explain(disks, common, checkpoints.copied)
    together(lambda: checkpoints.restore(common) if keeps_disk else None)
    return Resumption(checkpoints.path(max(common)) if common else None, keeps_disk)


def _explain(disks: list[set[int]], common: set[int], copied: bool) -> None:
    """Tells why the newest checkpoint is not gone on from, or will not be."""
    if len(disks) > 1 and not copied:
        _log.warning(
            "%d nodes have disks of their own and checkpoint_uri is empty: started again, this training begins anew",
            len(disks),
        )
    newest, usable = max(set.union(*disks), default=-1), max(common, default=-1)
    if newest > usable:
        start = f"training goes on from step {usable}" if common else "training begins anew"
        _log.warning("the checkpoint of step %d is not on every node's disk or at checkpoint_uri: %s", newest, start)
