"""Progress of training where there is no terminal: a line every half minute, as a log file can hold it."""

import math
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar

from pdt_lightning.core.terminal import SECONDS_A_LINE, clock, print_line


class ProgressLines(ProgressBar):
    """Prints epoch, update, loss, pace and the time that the rest of training will take; on the first rank alone.

    Epochs are counted from 0 to the last, as Lightning's own bars and the files of a run count them.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = SECONDS_A_LINE) -> None:
        super().__init__()
        self.every = every
        self._enabled = True
        self._said = 0.0
        self._clock = (0, 0.0)  # update and time when the pace was last begun to be taken

    def enable(self) -> None:
        """Print from now on."""
        self._enabled = True

    def disable(self) -> None:
        """Print no more."""
        self._enabled = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The first line comes after `every` seconds, or at the end of the first epoch."""
        self._said = time.monotonic()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Validation and tuning are not training time."""
        self._clock = (trainer.global_step, time.monotonic())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A line, where one is due; always at the end of an epoch."""
        now = time.monotonic()
        over = batch_idx + 1 >= trainer.num_training_batches
        if not self._enabled or not (over or now - self._said >= self.every):
            return
        self._said = now
        done, total = trainer.global_step, trainer.estimated_stepping_batches
        pace = (done - self._clock[0]) / max(now - self._clock[1], 1e-9)
        last = trainer.max_epochs - 1 if trainer.max_epochs is not None and trainer.max_epochs > 0 else None
        words = [
            f"epoch {trainer.current_epoch}" + ("" if last is None else f"/{last}"),
            f"update {done}" + (f"/{int(total)}" if math.isfinite(total) else ""),
        ]
        if "train/loss" in trainer.progress_bar_metrics:
            words.append(f"loss {trainer.progress_bar_metrics['train/loss']:.4g}")
        words.append(f"{pace:.1f} updates/s")
        if math.isfinite(total) and pace > 0 and done < total:
            words.append(f"{clock((total - done) / pace)} left")
        print_line(", ".join(words))
