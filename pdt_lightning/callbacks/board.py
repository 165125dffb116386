"""What TensorBoard shows of a run beside its curves: configuration, a row in the table of hyper-parameters, a layout of charts."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pdt_lightning.tuning.result import TaskResult

# What a run is compared by. TensorBoard takes the last value of each curve; one without a curve stays empty.
METRICS = (
    *(f"tuning/{kind}_{key}" for kind in ("tuned", "untuned", "oracle") for key in ("return", "success")),
    "val/action_error",
    "epoch",
)
LAYOUT = {
    "Prompts of the held-out tasks": {
        "success: untuned, tuned, oracle": ["Multiline", [f"^tuning/{kind}_success$" for kind in ("untuned", "tuned", "oracle")]],
        "return: untuned, tuned, oracle": ["Multiline", [f"^tuning/{kind}_return$" for kind in ("untuned", "tuned", "oracle")]],
    },
    "Training": {
        "loss": ["Multiline", ["^train/loss$"]],
        "action error: validation, held-out tasks": ["Multiline", ["^val/action_error$", "^heldout/action_error$"]],
    },
}
# Of the trainer's many options, those that change results. The length of a run is not among them: it may be another when the run is
# taken up again, and TensorBoard keeps what it read first. The epoch reached is a metric instead.
TRAINER = ("precision", "accumulate_grad_batches", "gradient_clip_val")
# Of other groups, those that change none, or follow from others.
NO_MATTER = ("seed", "progress", "workers", "collection_workers", "tuned_training_tasks")


class SaveAndShowConfig(SaveConfigCallback):
    """Saves the configuration into the run's folder, as it was used, and shows it in TensorBoard."""

    folder: Path | None = None  # of the run

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """As it was given, before anything can go wrong."""
        if trainer.is_global_zero and self.folder:
            self.parser.save(self.config, str(self.folder / self.config_filename), skip_none=False, overwrite=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """As it is used: a finder of Lightning's may have changed what was given."""
        data = trainer.datamodule  # type: ignore[attr-defined]  # the trainer has it, its stub has not
        self.config.model.learning_rate = float(pl_module.hparams["learning_rate"])
        self.config.data.batch_size = int(data.hparams["batch_size"])
        self.setup(trainer, pl_module, "fit")
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, TensorBoardLogger):
                describe(logger.experiment, self.config.as_dict(), self.parser.dump(self.config, skip_none=False))


def describe(board: SummaryWriter, config: Mapping[str, Any], text: str) -> None:
    """Write everything into the run's own event file, so that the curves of its phases are no runs of their own in the tables.

    Args:
        board: of the run.
        config: with the groups `data`, `model`, `tuning` and `trainer`, and `seed`.
        text: the same as YAML.
    """
    board.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), 0)
    board.add_custom_scalars(LAYOUT)
    # Not by `add_hparams`, which makes a run of its own, and without values, which would be points on the curves.
    for summary in hparams(dict(plain_options(config)), dict.fromkeys(METRICS, 0.0)):
        board._get_file_writer().add_summary(summary, 0)


def plain_options(config: Mapping[str, Any]) -> Iterator[tuple[str, str | float]]:
    """Options that decide the results, by their dotted names, without those that are null."""
    trainer = {name: config["trainer"][name] for name in TRAINER}
    groups = {
        group: {name: value for name, value in config[group].items() if name not in NO_MATTER}
        for group in ("data", "model", "tuning")
    }
    yield from _flat({"seed": config["seed"], **groups, "trainer": trainer}, "")


def _flat(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str | float]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def show_phase(
    boards: Sequence[SummaryWriter], images: Mapping[str, np.ndarray], results: Sequence[TaskResult], curves: Path, update: int
) -> None:
    """Show a phase of tuning: its figures in the run itself, its curves as a run of their own.

    Args:
        boards: of the run; where there is none, nothing is written.
        images: `(height, width, 3)` uint8, by name.
        results: of all tasks.
        curves: folder of the phase's own run.
        update: number of updates made.
    """
    for board in boards:
        for name, image in images.items():
            # The step under which Lightning logs a validation, before which a resumed run hides nothing.
            board.add_image(f"figures/{name}", image, max(0, update - 1), dataformats="HWC")
    if boards:
        write_curves(curves, results)


def write_curves(folder: Path, results: Sequence[TaskResult]) -> None:
    """A TensorBoard run of a phase: by round, the value seen and the value of what would be recommended, task by task."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed in or after this phase, and resumed
    with SummaryWriter(str(folder)) as writer:
        for result in results:
            known = result.record is not None and result.record.objective == "success"
            untuned = result.yardstick.successes if known else result.yardstick.returns
            for trial in result.trials:
                if trial.outcome.failed is None:
                    seen = trial.outcome.success if known else trial.outcome.total
                    writer.add_scalar(f"round_{'success' if known else 'return'}/{result.task}", seen, trial.round)
                writer.add_scalar(f"round_recommended_value/{result.task}", trial.recommended_value, trial.round)
                writer.add_scalar(f"round_untuned/{result.task}", sum(untuned) / len(untuned), trial.round)
