"""Trainer with exact resuming: row order by seed and epoch, checkpoints that are whole or not there."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback
from transformers.integrations.integration_utils import rewrite_logs

from hfpc.errors import ModelError
from hfpc.progress import Reporter
from hfpc.training.checkpoints import Checkpoints
from hfpc.training.processes import gather
from hfpc.training.sampler import LengthGroupedSampler

SECONDS_BETWEEN_CHECKPOINTS = 300.0
"""Work a killed training loses at most, as long as writing a checkpoint is quick: five minutes are
little against the minutes that a new machine takes to start."""

MOST_SAVING = 0.05
"""Share of the time that writing checkpoints may take; where they take long, there are fewer."""

STEPS_BETWEEN_AGREEMENTS = 10
"""Steps after which processes that train together agree on whether it is time for a checkpoint."""


class FinetuneTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that ends with the same weights whether or not it was killed on the way.

    Args:
        checkpoints: Where checkpoints go.
        save_by_steps: Whether checkpoints go by `save_steps`, and not by time.
        **options: As for `transformers.Trainer`. Data sets have a `length` column.
    """

    def __init__(self, *, checkpoints: Checkpoints, save_by_steps: bool, **options: Any) -> None:
        super().__init__(**options)
        self._checkpoints = checkpoints
        self._schedule = SaveSchedule(save_by_steps)
        self.add_callback(self._schedule)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        group = self._train_batch_size * self.args.world_size
        sampler = LengthGroupedSampler(_lengths(self.train_dataset), group, self.args.seed)
        self.add_callback(EpochOrder(sampler))
        return sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> Sequence[int]:
        """Longest rows first: little padding, and running out of memory shows at once."""
        return np.argsort(-_lengths(self.eval_dataset), kind="stable").tolist()

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the count walks over all parameters at every step."""
        return 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.control.should_training_stop:
            # Only writing the model remains, which is quicker than a checkpoint. And resumed from the
            # very last step, Trainer could train one more.
            return
        started = time.monotonic()
        super()._save_checkpoint(model, trial)
        if self.state.best_global_step:
            # In every process alike: Trainer looks for a folder, which other nodes need not have.
            self.state.best_model_checkpoint = str(self._checkpoints.path(self.state.best_global_step))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self._checkpoints.complete(self.state.global_step, self.state.best_global_step)
        self._schedule.saved(self.state.global_step, time.monotonic() - started)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Under the names that the model has in memory.

        `save_pretrained` by default gives weights the names of the file they came from, in BERT's
        case `gamma` and `beta`; Trainer reads a checkpoint without renaming, and leaves such weights out.
        """
        model = self.accelerator.unwrap_model(self.model)
        model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)

    def _save_rng_state(self, output_dir: str) -> None:
        """Rank 0 writes the states of all processes: those of other nodes may not reach its disk."""
        with tempfile.TemporaryDirectory(prefix="hfpc-rng-") as own:
            super()._save_rng_state(own)
            mine = {file.name: file.read_bytes() for file in Path(own).iterdir()}
        for states in gather(mine):
            if self.args.should_save:
                for name, content in states.items():
                    Path(output_dir, name).write_bytes(content)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """A checkpoint that does not hold exactly the model's weights must not be trained on."""
        weights = self.model.state_dict()
        loaded = {weights[name].data_ptr() for name in weights.keys() - set(load_result.missing_keys)}
        missing = [name for name in load_result.missing_keys if weights[name].data_ptr() not in loaded]
        if missing or load_result.unexpected_keys:
            wrong = ", ".join([*missing, *load_result.unexpected_keys])
            raise ModelError(f"a checkpoint in {self.args.output_dir} does not fit the model ({wrong}): remove it")

    def _load_best_model(self) -> None:
        """Rank 0 reads them and sends them to the others: other nodes may not have the checkpoint on their disks."""
        if self.state.best_global_step == self.state.global_step:
            return
        # By its step, as the path that is kept in the state may be another machine's.
        self.state.best_model_checkpoint = str(self._checkpoints.path(self.state.best_global_step))
        if self.args.should_save:
            super()._load_best_model()
        if self.args.world_size > 1:
            for weights in self.model.state_dict().values():
                torch.distributed.broadcast(weights, src=0)


class SaveSchedule(TrainerCallback):  # type: ignore[misc]
    """Asks for a checkpoint when one is due.

    Args:
        by_steps: Whether to go by `save_steps`, and not by time.
    """

    def __init__(self, by_steps: bool) -> None:
        self._by_steps = by_steps
        self._seconds = SECONDS_BETWEEN_CHECKPOINTS
        self._last_step = 0
        self._last_time = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Counts from the start, or from the checkpoint that training goes on from."""
        self.saved(state.global_step, 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leaves an epoch's last step to `on_epoch_end`: its evaluation belongs into the checkpoint."""
        if not state.epoch.is_integer():
            control.should_save |= self._due(args, state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See `on_step_end`."""
        control.should_save |= self._due(args, state)

    def saved(self, step: int, seconds: float) -> None:
        """Tells that a checkpoint was written at `step`, and how long that took."""
        self._last_step, self._last_time = step, time.monotonic()
        self._seconds = max(SECONDS_BETWEEN_CHECKPOINTS, seconds / MOST_SAVING)

    def _due(self, args: Any, state: Any) -> bool:
        if self._by_steps:
            return bool(state.global_step - self._last_step >= state.save_steps)
        due = time.monotonic() - self._last_time >= self._seconds
        if args.world_size == 1:
            return due
        if state.global_step % STEPS_BETWEEN_AGREEMENTS:
            return False
        agreed = torch.tensor(int(due), device=args.device)
        torch.distributed.broadcast(agreed, src=0)
        return bool(agreed.item())


class EpochOrder(TrainerCallback):  # type: ignore[misc]
    """Gives each epoch its own order of rows, also the one that training goes on in after a restart."""

    def __init__(self, sampler: LengthGroupedSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The epoch that begins, or goes on, is the whole part of the epochs done."""
        self._sampler.set_epoch(int(state.epoch or 0))


class ProgressLines(TrainerCallback):  # type: ignore[misc]
    """Prints the step, the loss and the speed.

    Args:
        rows: Training rows.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock."""
        self._reporter = Reporter("training", state.max_steps)
        self._started, self._epoch = time.monotonic(), state.epoch or 0.0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Keeps the newest loss."""
        if "loss" in logs:
            self._loss = f"loss {logs['loss']:.3f}, "

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Reports."""
        if state.is_world_process_zero:
            speed = (state.epoch - self._epoch) * self._rows / (time.monotonic() - self._started)
            self._reporter.update(state.global_step, f"{self._loss}{speed:.1f} examples/s")


class TensorBoardEvents(TrainerCallback):  # type: ignore[misc]
    """Writes what is logged as TensorBoard events; after a restart, what was logged before it too.

    Args:
        folder: Folder of the events.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts with what the checkpoint remembers."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder))
        for entry in state.log_history:
            self._add(entry, entry["step"])

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Adds the newest entry."""
        self._add(logs, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Closes the file."""
        self._writer.close()

    def _add(self, entry: dict[str, Any], step: int) -> None:
        for name, value in rewrite_logs({key: entry[key] for key in entry if key != "step"}).items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)


def weighted_cross_entropy(weights: Sequence[float], label_smoothing: float) -> Callable[..., Any]:
    """Cross entropy over the last dimension of the logits, in which labels count unequally.

    Args:
        weights: Weight of each label id.
        label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        A `compute_loss_func` of Trainer: divided by the number of labels and not by their weights,
        so that a batch of rare labels counts for more.
    """

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        logits = outputs["logits"].float()
        total = torch.nn.functional.cross_entropy(
            logits.view(-1, logits.shape[-1]),
            labels.view(-1),
            weight=torch.tensor(weights, device=logits.device),
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return total / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)

    return loss


def _lengths(dataset: Any) -> np.ndarray:
    return np.asarray(dataset.data.column("length").to_numpy())
