"""What TensorBoard shows of a run beside its curves.

That is its configuration, a row in the table of hyper-parameters and a layout of charts.
"""

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

from pdt_lightning.results import report
from pdt_lightning.results.markdown import markdown_table
from pdt_lightning.tuning.result import TaskResult

# What a run is compared by. TensorBoard takes the last value of each curve; one without a curve stays empty.
METRICS = (
    *(f"tuning/{kind}_{key}" for kind in ("tuned", "untuned", "oracle") for key in ("return", "success")),
    "val/action_error",
    "epoch",
)
# TensorBoard colours by run and sorts by tag: so tuned, untuned and oracle are runs of their own that share two charts,
# whose names sort before those of all tasks. As neighbours in the list of runs they never get the same colour.
KINDS = ("oracle", "tuned", "untuned")
SHARED = "all held-out tasks"
LAYOUT = {
    "Prompts of the held-out tasks": {
        "success: untuned, tuned, oracle": ["Multiline", [f"^{SHARED}/success$"]],
        "return: untuned, tuned, oracle": ["Multiline", [f"^{SHARED}/return$"]],
    },
    "Training": {
        "loss": ["Multiline", ["^train/loss$"]],
        "action error: validation, held-out tasks": ["Multiline", ["^val/action_error$", "^heldout/action_error$"]],
    },
}
# Of the trainer's many options, those that change results. The length of a run is not among them: it may be another
# when the run is taken up again, and TensorBoard keeps what it read first. The epoch reached is a metric instead.
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
    """Write everything into the run's own event file.

    So the curves of its phases are not runs of their own in the tables.

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
    boards: Sequence[SummaryWriter],
    images: Mapping[str, np.ndarray],
    results: Sequence[TaskResult],
    curves: Path,
    update: int,
) -> None:
    """Show a phase of tuning: figures and a table in the run itself, its curves as runs of their own.

    Args:
        boards: of the run; where there is none, nothing is written.
        images: `(height, width, 3)` uint8, by name.
        results: of all tasks.
        curves: folder of the phase's own run, beside those of tuned, untuned and oracle.
        update: number of updates made.
    """
    step = max(0, update - 1)  # under which Lightning logs a validation, before which a resumed run hides nothing
    held_out = [result for result in results if result.held_out]
    for board in boards:
        for name, image in images.items():
            board.add_image(f"figures/{name}", image, step, dataformats="HWC")
        if held_out:
            board.add_text("held-out tasks", markdown(held_out), step)
    if boards:
        write_curves(curves, results)
        write_kinds(curves.parent, held_out, step)


def markdown(results: Sequence[TaskResult]) -> str:
    """The table that a run prints after a phase, as TensorBoard shows one."""
    summary = report.summarise(results)
    rows = [*summary["tasks"].items(), ("all", summary["aggregate"])]
    cells = (
        [name, *(report.cell(figures[kind]).replace("\n", "<br>") for kind in report.KINDS)] for name, figures in rows
    )
    return markdown_table(["task", *report.KINDS], cells) + "\n"


def write_kinds(folder: Path, results: Sequence[TaskResult], step: int) -> None:
    """Add the means of a phase to the TensorBoard runs `tuned`, `untuned` and `oracle` in a folder.

    Args:
        folder: of these runs.
        results: of the held-out tasks.
        step: of the phase; what a run that was killed and resumed has left from there on is hidden.
    """
    aggregate = report.summarise(results)["aggregate"]
    for kind in KINDS:
        means = {key: value for key in ("return", "success") if (value := (aggregate[kind] or {}).get(key)) is not None}
        if means:
            with SummaryWriter(str(folder / kind), purge_step=step) as writer:
                for key, value in means.items():
                    writer.add_scalar(f"{SHARED}/{key}", value, step)


def write_curves(folder: Path, results: Sequence[TaskResult]) -> None:
    """A TensorBoard run of a phase: by round and task, the value seen and the value of what would be recommended."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed in or after this phase, and resumed
    with SummaryWriter(str(folder)) as writer:
        for result in results:
            by_success = result.record is not None and result.record.objective == "success"
            untuned = result.yardstick.successes if by_success else result.yardstick.returns
            for name, values in result.curves.items():
                for step, value in enumerate(values.tolist()):
                    writer.add_scalar(f"{name.replace(' ', '_')}/{result.task}", value, step)
            for trial in result.trials:
                if trial.outcome.failed is None:
                    seen = (trial.outcome.success or 0.0) if by_success else trial.outcome.total
                    writer.add_scalar(
                        f"round_{'success' if by_success else 'return'}/{result.task}", seen, trial.candidate.id
                    )
                writer.add_scalar(f"round_recommended_value/{result.task}", trial.recommended_value, trial.candidate.id)
                writer.add_scalar(f"round_untuned/{result.task}", sum(untuned) / len(untuned), trial.candidate.id)
